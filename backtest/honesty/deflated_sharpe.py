"""Sharpe ratios doubted: how likely is skill, given the sample, its shape and how many trials were looked at?

Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier" (2012) and "The Deflated Sharpe Ratio" (2014). Every
Sharpe ratio here is one of single returns, not of a year.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import e, sqrt
from statistics import NormalDist

import numpy as np

from backtest.metrics.series import Floats, excess_kurtosis, skewness

__all__ = ["deflated_sharpe", "expected_max_sharpe", "plain_sharpe", "probabilistic_sharpe"]

_NORMAL = NormalDist()
_EULER = 0.5772156649015329
_NO_VARIATION = 1e-12


def plain_sharpe(returns: Sequence[float] | Floats) -> float | None:
    """Mean over standard deviation (n - 1) of single returns; None for less than two, or equal ones."""
    if len(returns) < 2:
        return None
    deviation = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / deviation if deviation > _NO_VARIATION else None


def probabilistic_sharpe(
    sharpe: float, benchmark: float, days: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float | None:
    """The probability that the true Sharpe ratio is above ``benchmark`` when ``sharpe`` was seen over ``days``.

    ``kurtosis`` is 3 for a normal distribution. None where the estimate's variance is not positive, or ``days < 2``.
    """
    variance = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if days < 2 or variance <= 0:
        return None
    return _NORMAL.cdf((sharpe - benchmark) * sqrt(days - 1) / sqrt(variance))


def expected_max_sharpe(variance: float, trials: int) -> float:
    """The highest Sharpe ratio to be expected of ``trials`` without skill, whose ratios have this ``variance``."""
    if trials < 2 or variance <= 0:
        return 0.0
    quantile = _NORMAL.inv_cdf
    return sqrt(variance) * ((1 - _EULER) * quantile(1 - 1 / trials) + _EULER * quantile(1 - 1 / (trials * e)))


def deflated_sharpe(returns: Sequence[float] | Floats, trials: Sequence[float]) -> float | None:
    """The probability that ``returns``, the best of ``trials``, have skill: above what the best of as many without it
    would show. ``trials`` are the single-return Sharpe ratios of all that were tried, the best included.
    """
    sharpe = plain_sharpe(returns)
    skew, kurtosis = skewness(returns), excess_kurtosis(returns)
    if sharpe is None or skew is None or kurtosis is None or not trials:
        return None
    variance = float(np.var(trials, ddof=1)) if len(trials) >= 2 else 0.0
    return probabilistic_sharpe(sharpe, expected_max_sharpe(variance, len(trials)), len(returns), skew, kurtosis + 3)
