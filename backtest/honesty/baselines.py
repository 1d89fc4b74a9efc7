"""What anybody could have had: the market held, and trades of the same number, length and sides at random times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.metrics.series import Floats
from trading.accounts.score import sharpe

__all__ = ["BuyAndHold", "RandomEntry", "buy_and_hold", "random_entry"]


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """``total_return`` and ``max_drawdown`` are shares of one, both of daily values after the costs of one purchase."""

    total_return: float
    sharpe: float | None
    max_drawdown: float


@dataclass(frozen=True, slots=True)
class RandomEntry:
    """``p_value`` is the share of random runs that did at least as well as ``total_return``, the trades compounded.

    The quantiles are those of the random runs' total return.
    """

    trades: int
    samples: int
    total_return: float
    p_value: float
    return_05: float
    return_50: float
    return_95: float


def buy_and_hold(closes: Sequence[float], cost: float) -> BuyAndHold | None:
    """Buy all at ``closes[0]``, paying the share ``cost``, and hold; None without a price after it."""
    if len(closes) < 2:
        return None
    values = np.array([1.0, *(np.asarray(closes[1:]) / closes[0] * (1 - cost))])
    returns = [float(x) for x in values[1:] / values[:-1] - 1]
    deepest = float((1 - values / np.maximum.accumulate(values)).max())
    return BuyAndHold(float(values[-1]) - 1, sharpe(returns), deepest)


def random_entry(
    prices: Floats,
    durations: Sequence[int],
    sides: Sequence[int],
    returns: Sequence[float],
    *,
    cost: float,
    weights: Sequence[float] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> RandomEntry | None:
    """Compare trades with others of the same lengths and sides whose times are drawn at random.

    ``prices`` is one price a step, ``durations`` are in steps, ``sides`` 1 or -1, ``returns`` what the real trades
    made of the equity, costs included. Each random trade puts in the share ``weights`` of the equity (default all) and
    pays ``cost``, a share of its value, twice. Trades overlap only if there is no room for them otherwise. None
    without a trade.
    """
    count, steps = len(durations), len(prices) - 1
    lengths = np.minimum(np.asarray(durations, dtype=np.int64), steps)
    if not count or steps < 1:
        return None
    random = np.random.default_rng(seed)
    signs = np.asarray(sides, dtype=np.float64)
    shares = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    idle = steps - int(lengths.sum())
    ends = np.empty(samples)
    for sample in range(samples):
        order = random.permutation(count)
        own = lengths[order]
        if idle >= 0:
            begins = np.sort(random.integers(0, idle + 1, count)) + np.concatenate(([0], own[:-1].cumsum()))
        else:
            begins = random.integers(0, steps - own + 1)
        moves = shares[order] * (signs[order] * (prices[begins + own] / prices[begins] - 1) - 2 * cost)
        ends[sample] = np.maximum(1 + moves, 0.0).prod() - 1
    real = float(np.maximum(1 + np.asarray(returns, dtype=np.float64), 0.0).prod() - 1)
    low, middle, high = (float(x) for x in np.quantile(ends, (0.05, 0.5, 0.95)))
    reached = float((1 + (ends >= real).sum()) / (1 + samples))
    return RandomEntry(count, samples, real, reached, low, middle, high)
