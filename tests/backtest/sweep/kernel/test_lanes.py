"""Averages of many periods in one vector have the bits that the step of their kind gives each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from backtest.sweep.kernel import lanes
from backtest.sweep.kernel.columns import Bar, Kind
from trading.candles import UNIT
from trading.features.averages import EMA, RMA
from trading.features.contract import FeatureDef
from trading.features.momentum import RSI
from trading.features.ranges import ATR

CANDLES = 700
BASE = 3


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize("kind", [EMA, RMA, RSI, ATR], ids=lambda kind: str(kind.kind))
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**16),
    periods=st.lists(st.integers(2, 120), min_size=1, max_size=lanes.LANES, unique=True),
    still=st.tuples(st.integers(0, CANDLES), st.integers(0, CANDLES)),
    falls=st.booleans(),
)
def test_every_lane_is_the_step(
    kind: FeatureDef, seed: int, periods: list[int], still: tuple[int, int], falls: bool
) -> None:
    bars = _bars(seed, still, falls=falls)
    first, count = max(kind.need(kind.params(period)) for period in periods), len(periods)
    wanted = np.full((count, CANDLES + 1), np.nan)
    table = _table(kind, periods)
    ended = table.state_real.copy()
    for row, period in enumerate(periods):
        state, k = kind.start, kind.params(period)
        for i in range(CANDLES):
            if i == first:
                table.state_real[row] = state
            state, value = kind.step(state, Bar(*(int(number) for number in bars[:, i])), None, k)
            if i >= first:
                wanted[row, i - BASE + 1] = value
        ended[row] = state
    found = np.full_like(wanted, np.nan)
    together: Callable[..., None] = getattr(lanes, lanes.TOGETHER[kind.kind])
    middle = (first + CANDLES) // 2
    for a, b in ((first, middle), (middle, CANDLES)):
        together(bars, table, 0, count, a, b, BASE, UNIT, found)
    assert found.tobytes() == wanted.tobytes()
    # ``seen`` and sums of whole numbers stay with the step, which has the series until then.
    floats = [place for place, value in enumerate(kind.start) if isinstance(value, float)]
    assert table.state_real[:, floats].tobytes() == ended[:, floats].tobytes()


def _bars(seed: int, still: tuple[int, int], *, falls: bool) -> NDArray[np.int64]:
    """Prices at 10**-8 that wander or fall, and stand still between two places."""
    random = np.random.default_rng(seed)
    moves = random.integers(-(10**6), 1 if falls else 10**6, CANDLES)
    reach = random.integers(0, 10**5, CANDLES)
    moves[min(still) : max(still)] = reach[min(still) : max(still)] = 0
    closes = 10**9 + np.cumsum(moves)
    return np.array([closes, closes + reach, closes - reach, closes, reach], np.int64)


def _table(kind: FeatureDef, periods: list[int]) -> Kind:
    shape = len(periods), len(kind.start)
    none: Any = np.zeros(shape, np.int64)
    return Kind(
        np.array(periods, np.int64).reshape(-1, 1), np.zeros((len(periods), 1)), none, np.zeros(shape), none,
        np.zeros(shape), none[:, 0], none[:, 0], np.arange(len(periods)), 1,
    )  # fmt: skip
