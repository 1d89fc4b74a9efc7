"""Monte Carlo over trades: what the same trades in another order, or others like them, could have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.metrics.series import Floats

__all__ = ["MonteCarlo", "monte_carlo"]


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """``drawdown_*``: quantiles of the deepest fall over shuffled orders, at trade ends; ``drawdown_seen`` is the real.

    ``return_*``: quantiles of the total return over trades drawn with replacement, and ``loss`` how often it is below
    zero. All are shares of one.
    """

    trades: int
    samples: int
    drawdown_seen: float
    drawdown_50: float
    drawdown_95: float
    return_05: float
    return_50: float
    return_95: float
    loss: float


def monte_carlo(returns: Sequence[float], *, samples: int = 2000, seed: int = 0) -> MonteCarlo | None:
    """Shuffle and redraw trades, each a ``return`` on the whole equity; None for fewer than two trades."""
    if len(returns) < 2:
        return None
    growth = np.maximum(1 + np.asarray(returns, dtype=np.float64), 0.0)
    random = np.random.default_rng(seed)
    shuffled = np.array([_deepest(random.permutation(growth)) for _ in range(samples)])
    ends = np.array([random.choice(growth, len(growth)).prod() for _ in range(samples)]) - 1
    low, middle, high = (float(x) for x in np.quantile(ends, (0.05, 0.5, 0.95)))
    half, most = (float(x) for x in np.quantile(shuffled, (0.5, 0.95)))
    seen = _deepest(growth)
    return MonteCarlo(len(growth), samples, seen, half, most, low, middle, high, float((ends < 0).mean()))


def _deepest(growth: Floats) -> float:
    equity = np.concatenate(([1.0], growth.cumprod()))
    return float((1 - equity / np.maximum.accumulate(equity)).max())
