"""A venue's own longer candles: which are lacking, which hold, and what is made of them."""

from __future__ import annotations

from tests.trading.series import MARKET, at, flat_minutes, random_minutes
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import Config
from trading.events import Heal, Rebuild, Signal
from trading.fold import fold
from trading.instances import resolve_instances, wanted_natives
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS, parse_interval
from trading.natives import holds, lacking, merge_natives
from trading.timeframe import Refold, TimeframeState

MONDAY = at("2025-06-02 00:00")
NOON = MONDAY + 12 * HOUR_MS


def day(open_ms: int, price: int = 1, **changes: object) -> Candle:
    units = price * 10**8
    candle = Candle(MARKET, "1d", open_ms, open_ms + DAY_MS, units, units, units, units, 1, source="native")
    return candle._replace(**changes)


def days(count: int, end_ms: int = MONDAY) -> list[Candle]:
    return [day(end_ms - (count - n) * DAY_MS, price=100 + n) for n in range(count)]


def config(*strategies: dict[str, object], **sections: object) -> Config:
    return Config.model_validate({"markets": [MARKET, "binance:ETHUSDT"], "strategies": list(strategies), **sections})


def test_wanted_is_what_the_longest_warm_up_of_a_market_needs_of_what_the_venue_has() -> None:
    slow = {"name": "a", "strategy": "ma125", "intervals": ["37m", "1d"]}
    quick = {"name": "b", "strategy": "ma44", "intervals": ["1d", "1w"]}
    elsewhere = {"name": "c", "strategy": "ma44", "intervals": ["4h"], "markets": ["binance:ETHUSDT"]}
    shown = {"name": "s", "kind": "sma", "params": {"period": 200}, "intervals": ["1h"]}
    wanted = wanted_natives(
        config(slow, quick, elsewhere, features=[shown]), MARKET, ("1m", "1h", "4h", "1d", "1w"), NOON
    )
    assert set(wanted) == {"1h", "1d", "1w"}, "37m is not the venue's, 4h another market's"
    assert (NOON - wanted["1h"]) // HOUR_MS == 201
    for name, needed in (("1d", 125), ("1w", 44)):
        width = parse_interval(name)
        assert width.open_of(wanted[name]) == wanted[name], "whole candles"
        assert needed <= (NOON - wanted[name]) / width.typical_ms < needed + 3


def test_only_what_opened_before_the_minutes_is_lacking() -> None:
    span = MONDAY - 4 * DAY_MS, NOON
    begins = MONDAY - 2 * DAY_MS + 1
    opens = [MONDAY - n * DAY_MS for n in (4, 3, 2)]
    assert lacking("1d", (), span, begins_ms=begins, start_ms=NOON, folded_ms=0) == opens
    assert lacking("1d", {opens[1]}, span, begins_ms=begins, start_ms=NOON, folded_ms=0) == [opens[0], opens[2]]
    assert lacking("1d", (), span, begins_ms=begins - 1, start_ms=NOON, folded_ms=0) == opens[:2]
    assert lacking("1d", (), span, begins_ms=NOON, start_ms=NOON, folded_ms=0)[-1] == MONDAY - DAY_MS, "open ones never"


def test_what_closed_live_comes_before_the_next_is_decided_on_or_never() -> None:
    """Minutes begin on Sunday, the session on Sunday too: Sunday's candle closes while Manta runs."""
    start = MONDAY - HOUR_MS
    span = MONDAY - DAY_MS, MONDAY + 3 * DAY_MS

    def found(folded_ms: int) -> list[int]:
        return lacking("1d", (), span, begins_ms=start, start_ms=start, folded_ms=folded_ms)

    assert found(MONDAY + DAY_MS - MINUTE_MS) == [MONDAY - DAY_MS]
    assert found(MONDAY + DAY_MS) == []


def test_a_complete_derived_candle_holds_then_the_venues_then_a_partial_one() -> None:
    native, whole = day(MONDAY), day(MONDAY, source="derived")
    partial = whole._replace(complete=False)
    assert [holds(a, b) for a, b in ((whole, native), (native, partial), (whole, partial))] == [True] * 3
    assert not holds(native, whole)
    assert not holds(native, native)
    later = day(MONDAY + DAY_MS, source="derived", complete=False)
    natives = [day(MONDAY - DAY_MS), native, day(MONDAY + DAY_MS, price=7)]
    assert merge_natives([whole, later], natives) == [natives[0], whole, natives[2]]


def test_minutes_that_begin_in_the_middle_leave_the_candle_to_the_venue() -> None:
    state = TimeframeState(MARKET, ("1h", "1d"), 5)
    known = day(MONDAY)
    state.know([known, day(MONDAY + DAY_MS, price=9)])
    out = [item for minute in random_minutes(NOON, 2160) for item in state.handle(minute)]
    told = [item for item in out if isinstance(item, Candle) and item.interval == "1d"]
    assert told[0] == known
    assert told[1].source == "derived", "minutes cover the second day"
    closing = out.index(known)
    assert [c.interval for c in out[closing - 2 : closing + 1] if isinstance(c, Candle)] == ["1m", "1h", "1d"]


def test_a_heal_that_makes_a_candle_whole_takes_the_venues_place() -> None:
    minutes = random_minutes(MONDAY, 1500)
    gone = Hole(MARKET, minutes[100].open_time_ms, minutes[101].open_time_ms, HoleReason.MISSING.value)
    state = TimeframeState(MARKET, ("1d",), 0)
    native = day(MONDAY)
    state.know([native])
    out = [item for each in (*minutes[:100], gone, *minutes[101:]) for item in state.handle(each)]
    assert [item for item in out if isinstance(item, Candle) and item.interval == "1d"] == [native]
    asked = state.handle(Heal(MARKET, gone.from_ms, gone.to_ms, (minutes[100],), ()))
    assert isinstance(asked[0], Refold)
    healed, rebuild = state.refolded(minutes[:1440], (), [native])[:2]
    assert healed == fold(minutes[:1440], "1d")[0]._replace(revision=1)
    assert rebuild == Rebuild(MARKET, gone.from_ms)


def test_a_native_candle_warms_up_and_is_never_decided_on() -> None:
    given = config(
        {"name": "a", "strategy": "ma44", "params": {"period": 5}, "intervals": ["1d"], "markets": [MARKET]},
        features=[{"name": "shown", "kind": "sma", "params": {"period": 5}, "intervals": ["1d"]}],
    )
    brain = BrainState(resolve_instances(given, 0), given.features, [MARKET])
    for native in days(5):
        assert brain.handle(native) == []
    out = brain.handle(day(MONDAY, price=200, source="derived"))
    signal = next(item for item in out if isinstance(item, Signal))
    assert (signal.status, signal.target) == ("ready", "LONG")
    value = next(item for item in out if isinstance(item, FeatureValue))
    assert value.value == (101 + 102 + 103 + 104 + 200) / 5


def test_streamed_and_seeded_natives_are_the_same_to_a_brain() -> None:
    given = config({"name": "a", "strategy": "ma44", "params": {"period": 5}, "intervals": ["1d"], "markets": [MARKET]})
    streamed = BrainState(resolve_instances(given, 0), (), [MARKET])
    seeded = BrainState(resolve_instances(given, 0), (), [MARKET])
    for native in days(8):
        streamed.handle(native)
    seeded.seed(MARKET, "1d", days(8))
    last = day(MONDAY, price=90, source="derived")
    assert streamed.handle(last) == seeded.handle(last) != []
    assert flat_minutes(MONDAY, [1.0])[0].source != "native"
