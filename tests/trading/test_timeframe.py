"""Live folding of minutes into candles: what is told, when, in which order, and what a hole does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import (
    MARKET,
    Item,
    at,
    candle,
    end_of,
    flat_minutes,
    histories,
    hole,
    random_minutes,
    start_of,
)
from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.events import Heal, Rebuild, StreamItem
from trading.fold import fold
from trading.intervals import CANONICAL, MINUTE_MS
from trading.storage.candles import units_of
from trading.timeframe import Refold, TimeframeState

ALL = tuple(name for name in CANONICAL if name != "1m")
NOON = at("2025-06-02 12:00")


def feed(state: TimeframeState, items: Iterable[Item | Heal]) -> list[StreamItem | Refold]:
    out: list[StreamItem | Refold] = []
    for item in items:
        out += state.handle(item)
        state.validate()
    return out


def derived(out: Sequence[object], interval: str | None = None) -> list[Candle]:
    return [
        item._replace(received_ns=0)
        for item in out
        if isinstance(item, Candle) and item.interval != "1m" and interval in {None, item.interval}
    ]


def names(out: Sequence[object]) -> list[str]:
    return [item.interval if isinstance(item, Candle) else type(item).__name__ for item in out]


def minute(offset: int) -> int:
    return NOON + offset * MINUTE_MS


def missing(first: int, count: int) -> Hole:
    return hole(minute(first), count, HoleReason.MISSING)


def absent(first: int, count: int) -> Hole:
    return hole(minute(first), count, HoleReason.ABSENT)


@pytest.mark.covers("S1-13a")
def test_a_candle_is_told_with_the_minute_that_closes_it() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 3)
    assert names(feed(state, minutes[:2])) == ["1m", "1m"]

    out = state.handle(minutes[2]._replace(received_ns=77))

    assert out[0] == minutes[2]._replace(received_ns=77)
    assert out[1] == Candle(
        MARKET,
        "3m",
        NOON,
        minute(3),
        minutes[0].open,
        max(m.high for m in minutes),
        min(m.low for m in minutes),
        minutes[2].close,
        sum(m.volume for m in minutes),
        sum(m.quote_volume or 0 for m in minutes),
        sum(m.trade_count or 0 for m in minutes),
        sum(m.taker_buy_volume or 0 for m in minutes),
        source="derived",
        received_ns=77,
    )
    assert state.position_ms == minute(3)


@pytest.mark.covers("S1-12", "S2-19b")
def test_four_37m_candles_nest_in_one_148m_candle_told_after_them() -> None:
    start_ms = at("2024-12-31 22:40")
    state = TimeframeState(MARKET, ["148m", "37m"], heal_wait_minutes=0)
    out = derived(feed(state, random_minutes(start_ms, 148)))
    assert [c.interval for c in out] == ["37m"] * 4 + ["148m"]
    *parts, whole = out
    assert whole.open_time_ms == start_ms
    assert whole == fold(parts, "148m")[0]
    # The candles that hold the new year's first minute, as measured.
    assert [c.open_time_ms for c in parts if c.open_time_ms <= at("2025-01-01 00:00") < c.close_time_ms] == [
        at("2024-12-31 23:54")
    ]


@pytest.mark.covers("S1-11")
def test_candles_that_close_together_come_shortest_first() -> None:
    state = TimeframeState(MARKET, ALL, heal_wait_minutes=0)
    start_ms = at("2023-12-31 00:00")  # a Sunday: week, month and year end together
    closing = random_minutes(start_ms, 1440)
    seen = derived(feed(state, closing[:-1]))
    assert {c.interval for c in seen} == {"3m", "5m", "15m", "30m", "37m", "1h", "2h", "4h", "8h", "12h", "148m"}
    state = TimeframeState(MARKET, ALL, heal_wait_minutes=0)
    months = flat_minutes(at("2023-12-01 00:00"), [5.0] * 31 * 1440)
    last = [c for c in derived(feed(state, months)) if c.close_time_ms == at("2024-01-01 00:00")]
    assert [c.interval for c in last] == ["3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "1w", "1M"]
    assert last[-1].open_time_ms == at("2023-12-01 00:00")
    assert last[-2].open_time_ms == at("2023-12-25 00:00")
    assert last[-1].volume == 31 * 1440 * UNIT


def test_a_candle_cut_by_the_start_of_the_history_is_never_told() -> None:
    state = TimeframeState(MARKET, ["5m"], heal_wait_minutes=0)
    out = derived(feed(state, flat_minutes(minute(2), [1.0] * 13)))
    assert [c.open_time_ms for c in out] == [minute(5), minute(10)]


def test_absent_minutes_are_skipped_and_close_candles_too() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    out = feed(state, [*flat_minutes(NOON, [5.0, 7.0]), absent(2, 1)])
    assert names(out) == ["1m", "1m", "3m"]
    only = derived(out)[0]
    assert (only.open, only.close, only.complete, only.volume) == (5 * UNIT, 7 * UNIT, True, 2 * UNIT)


def test_an_interval_without_a_present_minute_has_no_candle() -> None:
    state = TimeframeState(MARKET, ["3m", "1h"], heal_wait_minutes=10)
    out = feed(state, [*flat_minutes(NOON, [5.0]), absent(1, 7), *flat_minutes(minute(8), [6.0])])
    assert [(c.interval, c.open_time_ms) for c in derived(out)] == [("3m", NOON), ("3m", minute(6))]
    assert state.position_ms == minute(9)


def test_optional_columns_are_summed_only_when_every_present_minute_has_them() -> None:
    state = TimeframeState(MARKET, ["2m"], heal_wait_minutes=0)
    minutes = [m._replace(quote_volume=5, trade_count=2) for m in flat_minutes(NOON, [1.0] * 4)]
    minutes[3] = minutes[3]._replace(trade_count=None)
    first, second = derived(feed(state, minutes))
    assert (first.quote_volume, first.trade_count, first.taker_buy_volume) == (10, 4, None)
    assert (second.quote_volume, second.trade_count) == (10, None)


def test_what_was_told_before_is_ignored() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 4)
    feed(state, minutes)
    assert feed(state, [*minutes, absent(1, 2)]) == []
    # A hole that is known in part moves on by the rest.
    assert names(feed(state, [absent(3, 3)])) == ["3m"]
    assert state.position_ms == minute(6)


def test_a_missing_minute_makes_later_ones_wait_until_it_is_healed() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 6)
    assert names(feed(state, [minutes[0], missing(1, 2), *minutes[3:]])) == ["1m"]
    assert (state.position_ms, state.told_ms, state.waiting) == (minute(1), minute(6), missing(1, 2))

    out = feed(state, [Heal(MARKET, minute(1), minute(3), tuple(minutes[1:3]), ())])

    assert out == feed(TimeframeState(MARKET, ["3m"], 10, NOON), minutes)[1:]
    assert state.position_ms == state.told_ms == minute(6)
    assert state.waiting is None


def test_a_heal_may_find_that_minutes_are_absent() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    feed(state, [*flat_minutes(NOON, [1.0]), missing(1, 3), *flat_minutes(minute(4), [2.0])])
    out = feed(state, [Heal(MARKET, minute(1), minute(4), (), (absent(1, 3),))])
    assert names(out) == ["3m", "1m"]
    assert derived(out)[0].complete


def test_a_heal_of_one_part_leaves_the_rest_waiting() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 5)
    feed(state, [minutes[0], missing(1, 3), minutes[4]])
    assert feed(state, [Heal(MARKET, minute(2), minute(3), (minutes[2],), ())]) == []
    assert state.waiting == missing(1, 1)
    assert names(feed(state, [Heal(MARKET, minute(1), minute(2), (minutes[1],), ())])) == ["1m", "1m", "3m"]
    assert state.waiting == missing(3, 1)


@pytest.mark.parametrize("why", ["REST tells it otherwise", ""])
def test_a_minute_that_is_repaired_while_it_waits_is_folded_as_it_is_then(why: str) -> None:
    """Without a reason, the candle that is stored stays, and so must the one that waits."""
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 6, extras=False)
    false = minutes[4]._replace(close=minutes[4].low, volume=0)
    feed(state, [minutes[0], missing(1, 2), minutes[3], false, minutes[5]])
    assert feed(state, [Heal(MARKET, minute(4), minute(5), (minutes[4],), (), why)] * 2) == []
    out = feed(state, [Heal(MARKET, minute(1), minute(3), tuple(minutes[1:3]), ())])
    seen = minutes[4]._replace(revision=1) if why else false
    assert [each for each in out if isinstance(each, Candle) and each.open_time_ms == minute(4)] == [seen]
    assert derived(out) == fold([*minutes[:4], seen, minutes[5]], "3m")


def test_after_the_bound_the_hole_is_told_and_its_candles_are_incomplete() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=4)
    minutes = random_minutes(NOON, 12)
    assert names(feed(state, [minutes[0], missing(1, 3), *minutes[4:7]])) == ["1m"]

    out = feed(state, minutes[7:8])

    assert out[0] == missing(1, 3)
    assert names(out[1:]) == ["3m", "1m", "1m", "3m", "1m", "1m"]
    assert [(c.open_time_ms, c.complete) for c in derived(out)] == [(NOON, False), (minute(3), False)]
    assert derived(feed(state, minutes[8:]))[0].complete


def test_a_hole_that_begins_at_a_candle_boundary_leaves_the_candle_before_whole() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=0)
    minutes = random_minutes(NOON, 9)
    out = feed(state, [*minutes[:3], missing(3, 3), *minutes[6:]])
    assert names(out) == ["1m", "1m", "1m", "3m", "Hole", "1m", "1m", "1m", "3m"]
    assert all(c.complete for c in derived(out))


def test_candles_that_close_within_a_hole_come_in_order_of_closing() -> None:
    state = TimeframeState(MARKET, ["3m", "4m", "5m"], heal_wait_minutes=0)
    minutes = random_minutes(NOON, 11)  # noon is a boundary of all three
    out = feed(state, [*minutes, absent(11, 9)])
    assert [(c.interval, c.close_time_ms) for c in derived(out)[-3:]] == [
        ("3m", minute(12)),
        ("4m", minute(12)),
        ("5m", minute(15)),
    ]
    state = TimeframeState(MARKET, ["3m", "4m"], heal_wait_minutes=0)
    out = feed(state, [*random_minutes(minute(12), 7), absent(19, 9)])
    assert [(c.interval, c.close_time_ms) for c in derived(out)[-2:]] == [("4m", minute(20)), ("3m", minute(21))]


def test_minutes_nobody_told_of_are_missing() -> None:
    state = TimeframeState(MARKET, [], heal_wait_minutes=10)
    minutes = random_minutes(NOON, 5)
    assert feed(state, [minutes[0], minutes[3]]) == [minutes[0]]
    assert state.waiting == missing(1, 2)._replace(detail="not told")


def test_a_late_heal_folds_anew_raises_the_revision_and_says_rebuild() -> None:
    minutes = random_minutes(NOON, 13)
    known = [*minutes[:4], missing(4, 1), *minutes[5:]]
    state = TimeframeState(MARKET, ["3m", "6m", "1h"], heal_wait_minutes=0)
    stored = derived(feed(state, known))

    asked = feed(state, [Heal(MARKET, minute(4), minute(5), (minutes[4],), ())])
    assert asked == [Refold(MARKET, NOON, minute(13))]
    with pytest.raises(RuntimeError, match="was not answered"):
        state.handle(minutes[0])
    out = state.refolded(minutes, (), stored)
    state.validate()

    before = {(c.interval, c.open_time_ms): c for c in stored}
    changed = [("3m", minute(3)), ("6m", NOON)]
    assert [(c.interval, c.open_time_ms) for c in derived(out)] == changed
    for c in derived(out):
        assert (before[c.interval, c.open_time_ms].complete, c.complete, c.revision) == (False, True, 1)
        assert c._replace(revision=0) in fold(minutes, c.interval)
    assert out[-1] == Rebuild(MARKET, minute(4))
    # The hour that was still open has taken the healed minute in.
    rest = random_minutes(minute(13), 47, seed=9)
    hour = derived(feed(state, rest), "1h")[0]
    assert hour == fold([*minutes, *rest], "1h")[0]


def test_a_candle_that_storage_gave_back_with_a_rounded_volume_is_not_revised() -> None:
    """A quote volume beyond 2**53 units comes back from a float8 near the integer that it was, and is the same."""
    minutes = [item._replace(quote_volume=2**53 + 1) for item in random_minutes(NOON, 12)]
    state = TimeframeState(MARKET, ["3m"], 0)
    out = feed(state, minutes)
    kept = [item._replace(quote_volume=units_of((item.quote_volume or 0) / UNIT)) for item in derived(out)]
    assert [item.quote_volume for item in kept] != [item.quote_volume for item in derived(out)]
    [asked] = feed(state, [Heal(MARKET, minute(0), minute(12), (), ())])
    assert isinstance(asked, Refold)
    assert state.refolded(minutes, [], kept) == [Rebuild(MARKET, minute(0))]


def test_a_heal_that_reaches_from_told_to_waiting_minutes_does_both() -> None:
    minutes = random_minutes(NOON, 12)
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=2)
    stored = derived(feed(state, [minutes[0], missing(1, 1), *minutes[2:6], missing(6, 1), minutes[7]]))
    assert state.position_ms == minute(6)
    asked = feed(state, [Heal(MARKET, minute(1), minute(7), (minutes[1], minutes[6]), ())])
    assert asked == [Refold(MARKET, NOON, minute(6))]
    out = state.refolded(minutes[:6], (), stored)
    assert names(out) == ["3m", "Rebuild", "1m", "1m"]
    assert state.position_ms == minute(8)


def test_an_interval_wholly_missing_appears_with_the_heal() -> None:
    minutes = random_minutes(NOON, 9)
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=0)
    stored = derived(feed(state, [*minutes[:3], missing(3, 3), *minutes[6:]]))
    feed(state, [Heal(MARKET, minute(3), minute(6), tuple(minutes[3:6]), ())])
    out = state.refolded(minutes[3:6], (), stored[1:1])
    assert out == [fold(minutes[3:6], "3m")[0], Rebuild(MARKET, minute(3))]


def test_a_state_takes_only_its_own_minutes() -> None:
    state = TimeframeState(MARKET, ["3m"], heal_wait_minutes=0)
    with pytest.raises(ValueError, match="own 1m candles"):
        state.handle(candle(NOON, 1.0)._replace(market="binance:ETHUSDT"))
    with pytest.raises(ValueError, match="own 1m candles"):
        state.handle(candle(NOON, 1.0, interval="3m"))
    with pytest.raises(TypeError):
        state.handle(Rebuild(MARKET, NOON))


@pytest.mark.covers("S1-11", "S1-12", "S1-13a")
@given(histories(), st.integers(0, 60))
def test_streaming_equals_batch_bit_for_bit(items: list[Item], wait: int) -> None:
    state = TimeframeState(MARKET, ALL, heal_wait_minutes=wait)
    out = feed(state, items)
    assert state.position_ms is not None
    upto_ms = state.position_ms
    minutes = [item for item in items if isinstance(item, Candle) and item.close_time_ms <= upto_ms]
    holes = [item for item in items if isinstance(item, Hole) and item.to_ms <= upto_ms]
    assert [item for item in out if isinstance(item, Candle) and item.interval == "1m"] == minutes
    for interval in ALL:
        batch = fold(minutes, interval, holes, start_ms=start_of(items[0]), end_ms=upto_ms)
        assert derived(out, interval) == batch, interval


@given(histories(), st.integers(0, 60), st.data())
def test_cut_anywhere_and_seeded_it_goes_on_as_if_never_stopped(
    items: list[Item], wait: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(items)))
    whole = TimeframeState(MARKET, ALL, heal_wait_minutes=wait)
    feed(whole, items[:cut])
    position_ms = whole.position_ms
    assert position_ms is not None

    again = TimeframeState(MARKET, ALL, wait, position_ms)
    seed_from_ms = again.seed_from_ms
    assert seed_from_ms is not None
    past = [item for item in items if end_of(item) > seed_from_ms and start_of(item) < position_ms]
    again.seed(
        [item for item in past if isinstance(item, Candle)],
        [item for item in past if isinstance(item, Hole)],
        first_ms=start_of(items[0]),
    )
    again.validate()
    assert feed(again, [item for item in items if end_of(item) > position_ms]) == feed(whole, items[cut:])
    assert again.position_ms == whole.position_ms


@given(histories(longest=148, most=8), st.integers(0, 60), st.integers(0, 2**16))
def test_once_everything_is_healed_the_candles_are_those_of_an_unbroken_run(
    items: list[Item], wait: int, seed: int
) -> None:
    holes = [item for item in items if isinstance(item, Hole) and item.reason == HoleReason.MISSING]
    truth = {item.open_time_ms: item for item in items if isinstance(item, Candle)}
    for lost in holes:
        truth |= {
            m.open_time_ms: m for m in random_minutes(lost.from_ms, (lost.to_ms - lost.from_ms) // MINUTE_MS, seed)
        }
    state = TimeframeState(MARKET, ALL, heal_wait_minutes=wait)
    stored = {(c.interval, c.open_time_ms): c for c in derived(feed(state, items))}
    healed: list[Hole] = []
    for lost in holes:
        healed.append(lost)
        found = tuple(m for ms, m in truth.items() if lost.from_ms <= ms < lost.to_ms)
        out = feed(state, [Heal(MARKET, lost.from_ms, lost.to_ms, found, ())])
        if out and isinstance(out[0], Refold):
            asked = out[0]
            unknown = [h for h in holes if h not in healed]
            minutes = [
                m for ms, m in sorted(truth.items())
                if asked.from_ms <= ms < asked.to_ms and not any(h.from_ms <= ms < h.to_ms for h in unknown)
            ]  # fmt: skip
            out = state.refolded(minutes, unknown, [c for c in stored.values() if asked.from_ms <= c.open_time_ms])
            state.validate()
        stored |= {(c.interval, c.open_time_ms): c for c in derived(out)}
    assert state.position_ms == state.told_ms == end_of(items[-1])
    minutes = [truth[ms] for ms in sorted(truth)]
    for interval in ALL:
        batch = fold(minutes, interval, start_ms=start_of(items[0]), end_ms=end_of(items[-1]))
        mine = sorted((c for c in stored.values() if c.interval == interval), key=start_of)
        assert [c._replace(revision=0) for c in mine] == batch, interval
