"""White's reality check: is the best of all trials better than a benchmark by more than luck?

White, "A Reality Check for Data Snooping" (2000), with the stationary bootstrap of Politis and Romano (1994).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtest.metrics.series import Floats

__all__ = ["reality_check", "stationary_bootstrap"]


def stationary_bootstrap(days: int, samples: int, mean_block: float, random: np.random.Generator) -> NDArray[np.int64]:
    """``samples`` rows of ``days`` indices: blocks of geometric length, ``mean_block`` days in the mean, wrapped."""
    if days < 1 or mean_block < 1:
        raise ValueError(f"days is {days} and mean_block {mean_block}: both must be at least 1")
    starts = random.integers(0, days, (samples, days))
    new = random.random((samples, days)) < 1 / mean_block
    new[:, 0] = True
    places = np.arange(days)
    began = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    drawn = np.take_along_axis(starts, began, axis=1) + (places - began)
    return np.asarray(drawn % days, dtype=np.int64)


def reality_check(
    returns: Floats,
    benchmark: Floats | None = None,
    *,
    samples: int = 2000,
    mean_block: float | None = None,
    seed: int = 0,
) -> float | None:
    """The p-value of "no trial beats the benchmark": small says that the best one is not luck.

    ``returns`` has a row a day and a column a trial, ``benchmark`` a number a day (default 0, holding cash).
    ``mean_block`` is the mean length of the bootstrap's blocks, by default the cube root of the days. None for less
    than ten days.
    """
    days = len(returns)
    if days < 10 or not returns.shape[1]:
        return None
    excess = returns - (benchmark[:, None] if benchmark is not None else 0.0)
    means = excess.mean(axis=0)
    observed = float(means.max())
    random = np.random.default_rng(seed)
    drawn = stationary_bootstrap(days, samples, mean_block or max(1.0, days ** (1 / 3)), random)
    # How often each day was drawn is all that a mean needs: one matrix product instead of a copy for each sample.
    weights = np.zeros((samples, days))
    np.add.at(weights, (np.arange(samples)[:, None], drawn), 1.0)
    maxima = (weights @ excess / days - means).max(axis=1)
    return float((1 + (maxima >= observed).sum()) / (1 + samples))
