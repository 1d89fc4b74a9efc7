"""A run that was stopped and replayed its history has the bits of one that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.features.samples import KINDS, real, sample
from trading.candles import UNIT
from trading.features.averages import ema, rma
from trading.features.contract import Feature, FeatureTrack
from trading.features.extremes import highest, lowest
from trading.features.momentum import macd, rsi
from trading.features.price_gap import price_gap
from trading.features.ranges import atr, bollinger, returns, trange, volatility
from trading.features.registry import FEATURES
from trading.features.sma import sma
from trading.features.stochastic import stochastic
from trading.features.ta_lib import ta_lib
from trading.features.trend import adx
from trading.features.volume import obv, volume_mean, volume_spike
from trading.features.vwap import vwap
from trading.intervals import MINUTE_MS

SMALL: list[Feature] = [
    sma(7), ema(9), rma(5), rsi(6), macd(3, 8, 4)["histogram"], trange(), atr(6), bollinger(11)["upper"], lowest(9),
    bollinger(11)["percent"], returns(3), volatility(5), volume_mean(6), volume_spike(6), obv(12), highest(9),
    stochastic(9, 3, 4)["d"], adx(5), adx(5)["minus_di"], price_gap("strict", 0.01, 60)["low"],
    price_gap(memory=40)["side"], ta_lib("RSI", timeperiod=4), ta_lib("OBV", window=30),
    ta_lib("AROON", "aroonup", timeperiod=9),
    vwap()["upper"], vwap(1.0, "04:30", "America/New_York"),
]  # fmt: skip


def _name(feature: Feature) -> str:
    return f"{feature.kind} {feature.output}".strip()


def test_every_kind_is_here() -> None:
    assert {feature.kind for feature in SMALL} == {*FEATURES, "talib:RSI", "talib:OBV", "talib:AROON"}


@pytest.mark.covers("S1-14")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feature", SMALL, ids=_name)
def test_replayed_history_gives_the_bits_of_an_unbroken_run(shared_data: Path, kind: str, feature: Feature) -> None:
    candles = real(shared_data)[:3000] if kind == "real" else sample(kind)
    history = feature.history_of(MINUTE_MS)
    unbroken = FeatureTrack(feature)
    values = [unbroken.update(candle) for candle in candles]
    stops = [at for at in range(0, len(candles) - 40, 173) if at >= min(history, len(candles) - 200)]
    for stop in stops:
        again = FeatureTrack(feature)
        for candle in candles[max(0, stop - history) : stop]:
            again.update(candle)
        told = [again.update(candle) for candle in candles[stop : stop + 40]]
        assert told == values[stop : stop + 40], stop


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 2500), st.integers(0, 60))
def test_reset_is_the_beginning(feature: Feature, start: int, length: int) -> None:
    candles = sample("random")[start : start + length]
    used, fresh = FeatureTrack(feature), FeatureTrack(feature)
    for candle in sample("trending")[:50]:
        used.update(candle)
    used.reset()
    assert (used.have, used.value) == (0, None)
    assert [used.update(candle) for candle in candles] == [fresh.update(candle) for candle in candles]
    used.validate()


@pytest.mark.parametrize("feature", SMALL, ids=_name)
def test_nothing_is_told_before_it_is_due(feature: Feature) -> None:
    track = FeatureTrack(feature)
    for number, candle in enumerate(sample("random")[:400], 1):
        value = track.update(candle)
        assert track.have == min(number, feature.need)
        assert value is None or number >= feature.need
        if feature.kind not in ("vwap", "volume_spike"):
            assert (value is not None) == (number >= feature.need)


@pytest.mark.covers("S1-14", "W18")
@pytest.mark.parametrize(
    "feature", [rsi(4), atr(4), rma(4), adx(4), ema(9), macd(3, 8, 4)["signal"], macd(3, 8, 9)], ids=_name
)
@pytest.mark.parametrize("scale", [1, UNIT // 10**5], ids=["high prices", "low prices"])
def test_a_restart_within_a_flat_stretch_of_any_length_gives_the_same_bits(feature: Feature, scale: int) -> None:
    """As many moves as the history holds, then as long a stand-still, then moves again: stopped everywhere in it."""
    history = feature.history_of(MINUTE_MS)
    moves, after = sample("random")[: history + 50], sample("random")[500:520]
    still = moves[-1].close
    flat = [moves[0]._replace(open=still, high=still, low=still, close=still, volume=0)] * (history + 30)
    series = [
        candle._replace(
            open_time_ms=n * MINUTE_MS, close_time_ms=(n + 1) * MINUTE_MS,
            **{name: max(1, getattr(candle, name) // scale) for name in ("open", "high", "low", "close")},
        )
        for n, candle in enumerate([*moves, *flat, *after])
    ]  # fmt: skip
    unbroken = FeatureTrack(feature)
    values = [unbroken.update(candle) for candle in series]
    for stop in range(len(moves), len(moves) + len(flat), 7):
        again = FeatureTrack(feature)
        for candle in series[stop - history : stop]:
            again.update(candle)
        told = [again.update(candle) for candle in series[stop : stop + 40]]
        assert told == values[stop : stop + 40], stop
