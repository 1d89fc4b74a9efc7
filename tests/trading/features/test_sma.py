"""The simple moving average: its definition, its exactness, and TA-Lib's opinion of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import MARKET, at, flat_minutes
from trading.candle_files import load_candles
from trading.candles import UNIT
from trading.features.contract import FeatureTrack
from trading.features.sma import sma
from trading.fold import fold

NOON = at("2025-06-02 12:00")


def test_no_value_before_there_are_period_candles_then_the_mean_of_the_last() -> None:
    track = FeatureTrack(sma(3))
    values = [track.update(candle) for candle in flat_minutes(NOON, [1, 2, 6, 10])]
    assert values == [None, None, 3.0, 6.0]
    assert (track.have, track.need) == (3, 3)
    track.validate()


def test_reset_forgets_everything() -> None:
    track = FeatureTrack(sma(2))
    for candle in flat_minutes(NOON, [1, 2]):
        track.update(candle)
    track.reset()
    assert (track.value, track.have) == (None, 0)
    assert [track.update(candle) for candle in flat_minutes(NOON, [5, 7])] == [None, 6.0]


@given(st.lists(st.integers(1, 10**14), min_size=1, max_size=60), st.integers(1, 20))
def test_each_value_is_the_exact_mean_rounded_once(closes: list[int], period: int) -> None:
    track = FeatureTrack(sma(period))
    for n, candle in enumerate(flat_minutes(NOON, closes)):
        value = track.update(candle._replace(close=closes[n]))
        if n + 1 < period:
            assert value is None
        else:
            assert value == float(Fraction(sum(closes[n + 1 - period : n + 1]), period * UNIT))


@given(st.lists(st.integers(1, 10**12), min_size=30, max_size=80), st.integers(0, 40))
def test_a_value_does_not_depend_on_where_the_series_began(closes: list[int], start: int) -> None:
    minutes = [candle._replace(close=close) for candle, close in zip(flat_minutes(NOON, closes), closes, strict=True)]
    feature = sma(7)
    long, short = FeatureTrack(feature), FeatureTrack(feature)
    for candle in minutes:
        long.update(candle)
    for candle in minutes[min(start, len(minutes) - feature.history) :]:
        short.update(candle)
    assert short.value == long.value


@pytest.mark.covers("S1-14", "S1-16")
@pytest.mark.parametrize(
    ("name", "stored", "intervals"),
    [
        ("candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818", "1m", ["37m", "148m"]),
        ("candles_1d/binance_spot_XRPUSDT_1d_to20251031", "1d", ["1d"]),
    ],
)
def test_ma44_and_ma125_agree_with_ta_lib_on_real_candles(
    shared_data: Path, name: str, stored: str, intervals: list[str]
) -> None:
    given = load_candles(shared_data / f"{name}.csv.gz", MARKET, interval=stored)
    for interval in intervals:
        candles = given if interval == stored else fold(given, interval)
        assert len(candles) > 125
        for period in (44, 125):
            track = FeatureTrack(sma(period))
            mine = np.array([np.nan if (value := track.update(c)) is None else value for c in candles])
            theirs = talib.SMA(np.array([c.close / UNIT for c in candles]), period)
            assert np.flatnonzero(~np.isnan(mine))[0] == period - 1
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=0)
