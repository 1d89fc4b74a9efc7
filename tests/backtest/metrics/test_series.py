"""Figures of daily series: by hand, and None wherever one is not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backtest.metrics import series


@pytest.mark.covers("S1-42")
def test_growth_a_year_compounds_over_365_days() -> None:
    doubled = [100.0 * 2 ** (n / 365) for n in range(366)]
    assert series.cagr(doubled) == pytest.approx(1.0, rel=1e-12)
    assert series.cagr(doubled[:31]) == pytest.approx(1.0, rel=1e-12)


def test_growth_a_year_of_few_days_or_of_ruin_is_not_told() -> None:
    assert series.cagr([100.0, 110.0]) is None
    assert series.cagr([100.0] * 29 + [110.0]) is None
    assert series.cagr([100.0] * 40 + [0.0]) is None
    assert series.cagr([100.0] * 40 + [-1.0]) is None


def test_omega_and_volatility_by_hand() -> None:
    assert series.omega([0.1, -0.05, 0.02, -0.03]) == pytest.approx(0.12 / 0.08)
    assert series.omega([0.1, 0.0]) is None
    assert series.omega([]) is None
    assert series.omega([-0.1]) == 0.0
    assert series.volatility([0.1, 0.3]) == pytest.approx(math.sqrt(0.02 * 365))
    assert series.volatility([0.1]) is None


def test_ulcer_index_by_hand() -> None:
    # Drawdowns at the ends of the days: 10 %, 0, 50 %, 25 %.
    assert series.ulcer_index([100, 90, 120, 60, 90]) == pytest.approx(math.sqrt((0.01 + 0 + 0.25 + 0.0625) / 4))
    assert series.ulcer_index([100]) is None
    assert series.ulcer_index([100, 110]) == 0.0


def test_calmar_needs_a_drawdown_and_a_growth() -> None:
    assert series.calmar(0.3, 0.1) == pytest.approx(3)
    assert series.calmar(0.3, 0.0) is None
    assert series.calmar(None, 0.1) is None


def test_moments_by_hand() -> None:
    # -1 three times and 3 once: mean 0, deviation sqrt(3), third moment 6, fourth 21.
    values = [-1.0, -1.0, -1.0, 3.0]
    assert series.skewness(values) == pytest.approx(6 / 3**1.5)
    assert series.excess_kurtosis(values) == pytest.approx(21 / 9 - 3)
    for unknown in ([], [1.0], [2.0, 2.0, 2.0]):
        assert series.skewness(unknown) is series.excess_kurtosis(unknown) is None


def test_alpha_and_beta_of_a_levered_market_with_a_bonus() -> None:
    market = [0.01, -0.02, 0.03, 0.0]
    alpha, beta = series.alpha_beta([2 * x + 0.001 for x in market], market)
    assert beta == pytest.approx(2)
    assert alpha == pytest.approx(0.365)
    assert series.alpha_beta([0.1, 0.2], [0.0, 0.0]) == (None, None)
    assert series.alpha_beta([0.1], [0.1]) == (None, None)
    with pytest.raises(ValueError, match="2 returns"):
        series.alpha_beta([0.1, 0.2], [0.1])


@given(st.lists(st.floats(-0.5, 0.5), min_size=0, max_size=40))
@example([0.5, -2.225073858507203e-309])
def test_nothing_is_ever_infinite(returns: list[float]) -> None:
    values = np.cumprod([100.0, *(1 + x for x in returns)])
    market = [x * x - 0.01 for x in returns]
    for figure in (
        series.cagr(values), series.volatility(returns), series.omega(returns), series.ulcer_index(values),
        series.skewness(returns), series.excess_kurtosis(returns), *series.alpha_beta(returns, market),
    ):  # fmt: skip
        assert figure is None or math.isfinite(figure)
