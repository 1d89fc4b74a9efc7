"""A strategy that reads features of other intervals sees what was known at the close of its own candle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.series import MARKET, Item, at, end_of, histories, hole, random_minutes, start_of, told
from trading.brain import BrainState
from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.config.model import Config
from trading.errors import BadInput
from trading.events import Signal, StreamItem
from trading.features.sma import sma
from trading.fold import fold
from trading.instances import history_ms, resolve_instances
from trading.intervals import MINUTE_MS
from trading.timeframe import Refold, TimeframeState

START = at("2025-06-02 00:00")
SOURCE = """
from typing import NamedTuple
from trading.features.averages import ema
from trading.features.sma import sma
from trading.parameters import Range
from trading.strategies.contract import LONG, SHORT

class Params(NamedTuple):
    period: int = 2

RANGES = {"period": Range(1, 100)}

class Row(NamedTuple):
    close: float
    own: float
    wide: float
    minute: float

def features(p):
    return {"own": sma(2), "wide": sma(p.period).on("15m"), "minute": sma(1).on("1m")}

def warmup(p):
    return 2

def rule(now, prev, p):
    return LONG if now.wide > prev.wide or now.close > now.own else SHORT
"""
INTERVALS = ("1m", "3m", "5m", "15m")


def config(intervals: Iterable[str] = ("5m",), source: str = SOURCE) -> Config:
    mine: dict[str, Any] = {"name": "a", "strategy": "mine", "source": source, "intervals": tuple(intervals)}
    return Config.model_validate({"markets": [MARKET], "strategies": [{**mine, "profile": "perp"}]})


def make(
    intervals: Iterable[str] = ("5m",), positions: dict[str, int] | None = None, *, source: str = SOURCE
) -> BrainState:
    settings_ = config(intervals, source)
    return BrainState(resolve_instances(settings_, 0), (), [MARKET], positions)


def stream(items: Iterable[Item]) -> list[StreamItem]:
    state = TimeframeState(MARKET, INTERVALS, heal_wait_minutes=0)
    out: list[StreamItem] = []
    for item in items:
        for told_item in state.handle(item):
            assert not isinstance(told_item, Refold)
            out.append(told_item)
    return out


def run(brain: BrainState, items: Iterable[StreamItem]) -> list[Signal]:
    out = [signal for item in items for signal in brain.handle(item) if isinstance(signal, Signal)]
    brain.validate()
    return out


@pytest.mark.covers("S1-14", "S1-16")
def test_a_longer_candle_is_seen_at_its_close_and_not_before() -> None:
    minutes = random_minutes(START, 200, 4)
    wide = fold(minutes, "15m")
    signals = run(make(), stream(told(minutes)))
    assert len(signals) == 40
    for signal in signals:
        known = [candle.close for candle in wide if candle.close_time_ms <= signal.close_time_ms][-2:]
        expected = sum(known) / (2 * UNIT) if len(known) == 2 else None
        assert signal.features["wide"] == expected
        assert signal.features["minute"] == signal.price / UNIT
    first_ready = next(signal for signal in signals if signal.status == "ready")
    assert first_ready.close_time_ms == START + 30 * MINUTE_MS
    assert [(item.status, item.warm_have, item.warm_need) for item in signals[1:3]] == [
        ("warming", 0, 2), ("warming", 1, 2),
    ]  # fmt: skip


def test_a_strategy_on_minutes_sees_the_longer_candle_that_closes_with_its_minute() -> None:
    minutes = random_minutes(START, 45, 5)
    signals = run(make(["1m"]), stream(told(minutes)))
    assert [signal.close_time_ms for signal in signals] == [minute.close_time_ms for minute in minutes]
    wide = fold(minutes, "15m")
    assert signals[29].features["wide"] == (wide[0].close + wide[1].close) / (2 * UNIT)
    assert signals[28].features["wide"] is None
    assert signals[43].features["wide"] == signals[29].features["wide"] != signals[44].features["wide"]


def test_after_a_missing_minute_it_holds_until_the_longer_candles_are_whole_again() -> None:
    before, after = random_minutes(START, 62, 6), random_minutes(START + 63 * MINUTE_MS, 120, 7)
    items = [*before, hole(START + 62 * MINUTE_MS, 1, HoleReason.MISSING), *after]
    ready = {signal.close_time_ms: signal.status for signal in run(make(), stream(items))}
    assert ready[START + 60 * MINUTE_MS] == "ready"
    assert {ready[START + minute * MINUTE_MS] for minute in range(65, 105, 5)} == {"hole"}
    assert ready[START + 105 * MINUTE_MS] == "ready"


def test_the_longer_interval_is_made_and_its_history_kept() -> None:
    mine = config()
    assert "15m" in mine.all_intervals()
    assert {need.interval: need.candles for need in make().needs(MARKET)} == {"5m": 3, "15m": 2, "1m": 1}
    wide = mine.model_copy(update={"history": mine.history.model_copy(update={"min_days": 0})})
    assert history_ms(wide) == 3 * 15 * MINUTE_MS


def test_what_waited_for_a_longer_candle_that_never_came_is_told_at_the_end_of_the_batch() -> None:
    minutes = random_minutes(START, 15, 8)
    brain = make()
    items = [item for item in stream(told(minutes)) if isinstance(item, Candle) and item.interval != "15m"]
    assert len(run(brain, items)) == 2
    late = brain.advance(MARKET, START + 15 * MINUTE_MS)
    assert [signal.close_time_ms for signal in late] == [START + 15 * MINUTE_MS]


@settings(max_examples=60, deadline=None)
@given(histories(longest=148, most=8), st.data())
def test_cut_anywhere_and_seeded_it_goes_on_as_if_never_stopped(items: list[Item], data: st.DataObject) -> None:
    intervals = ("1m", "5m", "15m")
    cut = data.draw(st.integers(0, len(items)))
    position_ms = end_of(items[cut - 1]) if cut else start_of(items[0])
    past = stream(items[:cut])
    future = stream(items)[len(past) :]
    whole = make(intervals)
    run(whole, past)
    whole.advance(MARKET, position_ms)

    again = make(intervals, {MARKET: position_ms})
    holes = [item for item in items if isinstance(item, Hole)]
    for need in data.draw(st.permutations(again.needs(MARKET))):
        stored = [item for item in past if isinstance(item, Candle) and item.interval == need.interval]
        again.seed(MARKET, need.interval, stored[-need.candles :], holes)
    again.validate()
    assert run(again, future) == run(whole, future)


MULTIPLE = SOURCE.replace('sma(p.period).on("15m")', "sma(p.period).on_multiple(3)")


def test_a_multiple_is_that_of_each_interval_that_it_decides_on() -> None:
    assert {need.interval for need in make(["1m", "5m"], source=MULTIPLE).needs(MARKET)} == {"1m", "3m", "5m", "15m"}
    assert {"3m", "5m", "15m"} <= {*config(["1m", "5m"], MULTIPLE).all_intervals()}
    minutes = random_minutes(START, 60, 9)
    signals = run(make(["1m", "5m"], source=MULTIPLE), stream(told(minutes)))
    wide = {"1m": fold(minutes, "3m"), "5m": fold(minutes, "15m")}
    for signal in signals:
        known = [item.close for item in wide[signal.interval] if item.close_time_ms <= signal.close_time_ms][-2:]
        assert signal.features["wide"] == (sum(known) / (2 * UNIT) if len(known) == 2 else None)
    assert {signal.interval for signal in signals if signal.status == "ready"} == {"1m", "5m"}


def test_a_multiple_that_no_interval_is_long_enough_for_is_refused() -> None:
    with pytest.raises(BadInput, match="No interval is 3 times as long as 1M") as caught:
        config(["1M"], MULTIPLE).all_intervals()
    assert caught.value.field == "interval"
    for times in (0, 1.5, True, 1_001):
        with pytest.raises(BadInput, match="whole number from 1 to 1000"):
            sma(2).on_multiple(times)  # type: ignore[arg-type]


def test_a_multiple_of_one_is_the_own_interval() -> None:
    assert sma(2).on_multiple(1) == sma(2)
    assert sma(2).on("4h").on_multiple(5).for_interval("1m") == sma(2).on("5m")
