"""The probability of backtest overfitting, by combinatorially symmetric cross-validation.

Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest Overfitting" (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from backtest.metrics.series import Floats

__all__ = ["Overfitting", "overfitting"]

_NO_VARIATION = 1e-12
_FIGURES = 1_000_000


@dataclass(frozen=True, slots=True)
class Overfitting:
    """``pbo``: in how many splits the best of one half is at or below the median of the other.

    ``loss`` is the share of splits in which it loses money there, ``slope`` that of its Sharpe ratio in the other half
    against that in its own: below 0, the better it looked the worse it did. ``splits`` is how many there were.
    """

    pbo: float
    loss: float
    slope: float | None
    splits: int
    blocks: int
    trials: int


def overfitting(returns: Floats, blocks: int = 16) -> Overfitting | None:
    """Judge ``returns``, one row a day and one column a trial, cut into ``blocks`` (even) of equal length.

    Every half of the blocks chooses, by Sharpe ratio, and the other half judges. Days that do not fill a block at the
    beginning are left out. Fewer blocks are used where one would have less than five days; None for less than twenty
    days or two trials.
    """
    days, trials = returns.shape
    blocks = min(blocks, days // 5) // 2 * 2
    if blocks < 4 or trials < 2:
        return None
    size = days // blocks
    cut = returns[days - size * blocks :].reshape(blocks, size, trials)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    chosen = np.zeros((len(list(combinations(range(blocks), blocks // 2))), blocks))
    for row, half in enumerate(combinations(range(blocks), blocks // 2)):
        chosen[row, list(half)] = 1
    # So many splits at a time that the figures of all trials in them take no more than a few dozen megabytes.
    together = max(1, _FIGURES // trials)
    parts = [
        _judged(chosen[first : first + together], sums, squares, size * blocks // 2)
        for first in range(0, len(chosen), together)
    ]
    picked, judged, rank, lost = (np.concatenate(part) for part in zip(*parts, strict=True))
    slope = float(np.polyfit(picked, judged, 1)[0]) if float(picked.std()) > _NO_VARIATION else None
    return Overfitting(
        pbo=float((rank <= 0.5).mean()),
        loss=float((lost < 0).mean()),
        slope=slope,
        splits=len(chosen),
        blocks=blocks,
        trials=trials,
    )


def _judged(chosen: Floats, sums: Floats, squares: Floats, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each split: the best one's Sharpe ratio in the half that chose it and in the other, its relative rank there,
    and the sum of its returns there.
    """
    inside = _sharpe(chosen @ sums, chosen @ squares, count)
    outside_sums = (1 - chosen) @ sums
    outside = _sharpe(outside_sums, (1 - chosen) @ squares, count)
    rows = np.arange(len(chosen))
    best = inside.argmax(axis=1)
    judged = outside[rows, best]
    # Equal ones share the middle of their ranks, so that trials that are all alike are no evidence of either.
    below = (outside < judged[:, None]).sum(axis=1)
    alike = (outside == judged[:, None]).sum(axis=1)
    rank = (below + (alike + 1) / 2) / (sums.shape[1] + 1)
    return inside[rows, best], judged, rank, outside_sums[rows, best]


def _sharpe(sums: Floats, squares: Floats, count: int) -> Floats:
    """Sharpe ratios from sums and sums of squares; 0 where nothing varies, which is a trial that never traded."""
    mean = sums / count
    variance = np.maximum(squares / count - mean**2, 0) * count / (count - 1)
    flat = variance <= _NO_VARIATION**2
    return np.where(flat, 0.0, mean / np.sqrt(np.where(flat, 1.0, variance)))
