"""Features of other intervals, of sessions, with words or with more than numbers: recorded, and the reference's own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.minutes import Minutes
from backtest.requests import BacktestRequest
from backtest.run import simulate
from backtest.sources import Source, load_file
from backtest.sweep.engines import engine_on
from backtest.sweep.kernel import KernelEvaluator, lane_columns
from backtest.sweep.kernel.gap_columns import takes
from backtest.sweep.kernel.recording import Recordings
from backtest.sweep.kernel.tape import Tape, missing_ends, starts_of, told_on
from tests.backtest.sweep.kernel.test_equals_reference import CRASH, SPARSE, agree, days, request, source_of
from tests.trading.series import MARKET, random_minutes
from tests.trading.test_other_intervals import SOURCE
from trading.candle_series import CandleSeries
from trading.candles import UNIT, Candle
from trading.config.rules import Entries
from trading.errors import DataHole
from trading.features.averages import ema
from trading.features.contract import Feature, FeatureTrack
from trading.features.extremes import highest
from trading.features.price_gap import price_gap
from trading.gaps.detector import GapMode
from trading.strategies.registry import load_strategy

pytestmark = pytest.mark.long(5)

BEGIN = 1_748_907_000_000
# Loose enough for many signals on half a day of minutes.
LOOSE: dict[str, int | float] = {
    "ema_fast": 2, "ema_slow": 4, "ema_trend": 2, "atr_period": 3, "rsi_period": 2, "rsi_min": 0.0, "rsi_max": 100.0,
    "volume_ma_period": 3, "volume_spike_threshold": 0.5,
}  # fmt: skip
SCALPS: list[dict[str, int | float]] = [
    {"require_htf": 0},
    {"trend_multiple": 1, "duplicate_candles": 0},
    {"trend_multiple": 15, "ema_trend": 3, "stop_loss_atr_multiplier": 4.0},
    {"ema_slow": 7, "require_htf": 0, "take_profit_atr_multiplier": 5.0},
]
GAPS: list[dict[str, int | float]] = [{"min_percent": 0.0}, {"min_percent": 0.2, "follow": 0}, {"stop_heights": 0.3}]
OWN = SOURCE.replace("sma(1)", "stochastic(p.period, 2, 2)").replace(
    "from trading.features.sma", "from trading.features.stochastic import stochastic\nfrom trading.features.sma"
)
PERIODS: list[dict[str, int | float]] = [{"period": 2}, {"period": 3}, {"period": 5}]


def agree_or_lack(asked: BacktestRequest, source: Source, combos: Sequence[dict[str, int | float]]) -> None:
    try:
        agree(asked, source, combos)
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source)


@pytest.mark.covers("S1-42", "W6")
@settings(max_examples=6)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "1m", "5m")),
    opens=st.builds(Entries, long_only=st.booleans(), cooldown_candles=st.sampled_from((0, 3))),
)
def test_scalps(items: list[Any], interval: str, opens: Entries) -> None:
    asked = request("scalper", interval, profile="perp", entries=opens, params=LOOSE)
    agree_or_lack(asked, source_of(items), SCALPS)


@pytest.mark.covers("S1-42", "W6")
@settings(max_examples=6)
@given(
    items=days(), interval=st.sampled_from(("1m", "5m")), profile=st.sampled_from(("spot", "perp")),
    long_only=st.booleans(),
)  # fmt: skip
def test_price_gaps(items: list[Any], interval: str, profile: str, long_only: bool) -> None:
    asked = request("price_gap", interval, profile=profile, entries=Entries(long_only=long_only), params=GAPS[0])
    agree_or_lack(asked, source_of(items), GAPS)


@settings(max_examples=4)
@given(items=days(), interval=st.sampled_from(("3m", "5m")))
def test_a_rule_that_compares_longer_and_shorter_candles(items: list[Any], interval: str) -> None:
    agree_or_lack(request("mine", interval, source=OWN, profile="perp"), source_of(items), PERIODS)


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize(
    ("strategy", "file", "interval", "combos"),
    [
        ("scalper", CRASH, "1m", SCALPS),
        ("scalper", SPARSE, "5m", SCALPS),
        ("price_gap", CRASH, "5m", GAPS),
        ("price_gap", SPARSE, "1m", GAPS),
    ],
)
def test_real_minutes(
    shared_data: Path, strategy: str, file: str, interval: str, combos: list[dict[str, int | float]]
) -> None:
    asked = request(strategy, interval, profile="perp", params=LOOSE if strategy == "scalper" else {})
    whole = load_file(shared_data / "candles_1m" / file, MARKET, asked)
    scores = agree(asked, replace(whole, candles=whole.candles[:5_000]), combos)
    assert sum(score.trades for score in scores) > 50


@settings(max_examples=25)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "1m", "5m")),
    mode=st.sampled_from([mode.value for mode in GapMode]),
    least=st.sampled_from((0.0, 0.1, 0.25)),
    memory=st.sampled_from((1, 2, 7, 500)),
    # Dear enough that a float does not hold a hundred times the price: then they go candle by candle.
    times=st.sampled_from((1, 1, 1, 10_000)),
)
def test_gaps_of_all_candles_at_once(
    items: list[Any], interval: str, mode: str, least: float, memory: int, times: int
) -> None:
    """Of every mode, each output has the bits of the step that goes candle by candle."""
    lived = source_of(jumping(items, times))
    assert takes(lived.series) is (times == 1)
    candles = told_on(lived, Minutes(lived.candles), interval)
    if not candles:
        return
    close_ms = np.array([candle.close_time_ms for candle in candles])
    starts = starts_of(close_ms, np.array([candle.complete for candle in candles]), missing_ends(lived))
    feature = price_gap(mode, least, memory)
    recordings = Recordings(lived, interval, close_ms)
    held = recordings.hold(feature[name] for name in feature.definition.outputs)
    alone = Recordings(lived, interval, close_ms).hold([feature])
    track = FeatureTrack(feature)
    for place, candle in enumerate(candles):
        if place in starts:
            track.reset()
        if candle.complete:
            track.update(candle)
        told = [recordings.pool[slot, place] for slot in held.values()]
        wanted = [nan] * 5 if track.raw is None or not candle.complete else track.raw
        assert np.array_equal(told, wanted, equal_nan=True), (place, told, wanted)
    assert alone == {feature: 0}


@pytest.mark.parametrize("feature", [ema(5), highest(3)], ids=["a state", "a window"])
def test_a_step_over_a_whole_interval(feature: Feature) -> None:
    """Compiled, it has the bits of the step that goes candle by candle, on both sides of what is not known."""
    minutes = random_minutes(BEGIN, 200, 3, extras=False)
    series, starts = CandleSeries.of(minutes), np.array([0, 57, 61, 120])
    whole = np.ones(200, np.bool_)
    whole[[60, 119]] = False
    assert lane_columns.takes(feature, series)
    [found] = lane_columns.lane_columns(feature, series, whole, starts)
    track = FeatureTrack(feature)
    for place, minute in enumerate(minutes):
        if place in starts:
            track.reset()
        value = track.update(minute)
        assert np.array_equal(found[place], nan if value is None or not whole[place] else value, equal_nan=True), place


def jumping(items: Sequence[Any], times: int) -> list[Any]:
    """The minutes at so many times the price, every third moved up or down: gaps of every mode come and go."""
    moves = random.Random(len(items))
    found = []
    for place, item in enumerate(items):
        by = moves.randint(-8, 8) * UNIT // 8 if place % 3 == 0 else 0
        if isinstance(item, Candle):
            prices = {name: (getattr(item, name) + by) * times for name in ("open", "high", "low", "close")}
            found.append(item._replace(**prices))
        else:
            found.append(item)
    return found


@settings(max_examples=20)
@given(items=days(), interval=st.sampled_from(("1m", "2m", "5m")))
def test_columns_are_what_the_reference_reads(items: list[Any], interval: str) -> None:
    """At each candle, to the bit, with absent and missing minutes and where a value is not known."""
    for strategy, params, source in (("scalper", LOOSE, ""), ("mine", {}, OWN)):
        asked = request(strategy, interval, source=source, params=params)
        lived = source_of(items)
        try:
            signals = simulate(asked, [lived], "reference", twin=False).records.signals
        except DataHole:
            continue
        tape = Tape.of(asked, lived)
        features = load_strategy(strategy, params, source).features_on(interval)
        recordings = Recordings(lived, interval, tape.bar_close_ms)
        held = recordings.hold(features.values())
        places = np.searchsorted(tape.bar_close_ms, [signal.close_time_ms for signal in signals])
        for name, feature in features.items():
            read = [nan if (value := signal.features[name]) is None else value for signal in signals]
            assert np.array_equal(recordings.pool[held[feature], places], np.array(read), equal_nan=True), name


def test_little_memory_changes_nothing() -> None:
    """Room for a column or two: what was recorded first is recorded again when it is read again."""
    source = source_of(random_minutes(BEGIN, 900, 5, extras=False))
    asked = request("price_gap", profile="perp")
    grid: list[dict[str, int | float]] = [
        {"min_percent": least, "follow": follow} for follow in (0, 1) for least in (0.0, 0.1, 0.2, 0.3)
    ]
    kernel = KernelEvaluator(asked, source, recorded_bytes=2 * 8 * 900)
    found = kernel.evaluate(grid)
    assert kernel.evaluate(grid) == found == KernelEvaluator(asked, source).evaluate(grid)
    assert len({score.metrics["final_equity"] for score in found}) == len(grid)


@pytest.mark.parametrize("strategy", ["scalper", "price_gap"])
def test_a_sweep_of_it_is_compiled(strategy: str) -> None:
    source = source_of(random_minutes(BEGIN, 900, 3, extras=False))
    assert engine_on(request(strategy, profile="perp"), source)[0] == "kernel"
