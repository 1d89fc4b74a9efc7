"""Figures of a series of daily equity values or returns, as pure functions.

A series is one number a day on the UTC grid, a year has 365 of them, and the risk-free rate is 0. A figure that is not
defined is None, never 0 and never infinity. ``docs/metrics.md`` gives each formula with its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from trading.accounts.score import DAYS_A_YEAR

__all__ = [
    "LEAST_DAYS",
    "Floats",
    "alpha_beta",
    "cagr",
    "calmar",
    "deepest_fall",
    "excess_kurtosis",
    "omega",
    "skewness",
    "ulcer_index",
    "volatility",
]

Floats = NDArray[np.float64]

LEAST_DAYS = 30
"""A growth rate a year is not told of fewer days: it would be a power of chance."""

_NO_VARIATION = 1e-12


def cagr(values: Sequence[float] | Floats) -> float | None:
    """Compound growth a year of ``values``, which begin with the capital and have one more number than days."""
    days = len(values) - 1
    if days < LEAST_DAYS or values[-1] <= 0 or values[0] <= 0:
        return None
    return float((values[-1] / values[0]) ** (DAYS_A_YEAR / days) - 1)


def volatility(returns: Sequence[float] | Floats) -> float | None:
    """Standard deviation (n - 1) of daily returns times sqrt(365)."""
    return float(np.std(returns, ddof=1)) * sqrt(DAYS_A_YEAR) if len(returns) >= 2 else None


def omega(returns: Sequence[float] | Floats) -> float | None:
    """Gains over losses of daily returns around 0 (Keating and Shadwick 2002); None without a loss worth the name."""
    changes = np.asarray(returns, dtype=np.float64)
    losses = float(-changes[changes < 0].sum())
    return float(changes[changes > 0].sum()) / losses if losses > _NO_VARIATION else None


def calmar(growth: float | None, max_drawdown: float) -> float | None:
    """Growth a year over the deepest drawdown (Young 1991, over the whole run); None without a drawdown."""
    return growth / max_drawdown if growth is not None and max_drawdown > _NO_VARIATION else None


def deepest_fall(values: Sequence[float] | Floats) -> float:
    """The deepest fall from a peak of ``values``, the first above 0, as a share of that peak; 0 where none falls."""
    series = np.asarray(values, np.float64)
    return float((1 - series / np.maximum.accumulate(series)).max())


def ulcer_index(values: Sequence[float] | Floats) -> float | None:
    """Root mean square of the daily drawdowns, as a share of the peak (Martin and McCann 1989)."""
    if len(values) < 2:
        return None
    series = np.asarray(values, dtype=np.float64)
    drawdowns = 1 - series / np.maximum.accumulate(series)
    return sqrt(float(np.mean(drawdowns[1:] ** 2)))


def skewness(returns: Sequence[float] | Floats) -> float | None:
    """The third standardised moment, with the population's deviation."""
    return _moment(returns, 3)


def excess_kurtosis(returns: Sequence[float] | Floats) -> float | None:
    """The fourth standardised moment less 3, which is 0 for a normal distribution."""
    moment = _moment(returns, 4)
    return moment - 3 if moment is not None else None


def alpha_beta(
    returns: Sequence[float] | Floats, market: Sequence[float] | Floats
) -> tuple[float | None, float | None]:
    """Jensen's alpha a year (365 times the daily one) and beta of ``returns`` to those of the ``market``."""
    if len(returns) != len(market):
        raise ValueError(f"{len(returns)} returns cannot be compared with {len(market)} of the market")
    if len(returns) < 2 or float(np.std(market, ddof=1)) <= _NO_VARIATION:
        return None, None
    own, other = np.asarray(returns, dtype=np.float64), np.asarray(market, dtype=np.float64)
    beta = float(np.cov(own, other, ddof=1)[0, 1] / np.var(other, ddof=1))
    return float(own.mean() - beta * other.mean()) * DAYS_A_YEAR, beta


def _moment(returns: Sequence[float] | Floats, order: int) -> float | None:
    series = np.asarray(returns, dtype=np.float64)
    deviation = float(series.std()) if len(series) >= 2 else 0.0
    if deviation <= _NO_VARIATION:
        return None
    return float(np.mean(((series - series.mean()) / deviation) ** order))
