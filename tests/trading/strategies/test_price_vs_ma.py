"""The MA rule on scalars, as a specification."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.strategies.contract import HOLD, LONG, SHORT
from trading.strategies.price_vs_ma import Params, Row, confidence, rule

P = Params(44)
BEFORE = Row(nan, nan)


@pytest.mark.covers("S1-19", "S1-20")
def test_long_above_short_below_hold_when_equal() -> None:
    assert rule(Row(101.0, 100.0), BEFORE, P) == LONG
    assert rule(Row(99.0, 100.0), BEFORE, P) == SHORT
    assert rule(Row(100.0, 100.0), BEFORE, P) == HOLD


@pytest.mark.parametrize(
    ("close", "expected"),
    [(100.0, 0.0), (101.0, 0.5), (99.0, 0.5), (102.0, 1.0), (98.0, 1.0), (150.0, 1.0), (1.0, 1.0)],
)
def test_confidence_is_full_two_percent_away(close: float, expected: float) -> None:
    assert confidence(Row(close, 100.0), P) == expected


@given(st.floats(1e-8, 1e9), st.floats(1e-8, 1e9))
def test_confidence_is_between_zero_and_one(close: float, ma: float) -> None:
    assert 0.0 <= confidence(Row(close, ma), P) <= 1.0
