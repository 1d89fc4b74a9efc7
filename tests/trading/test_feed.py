"""What a feed tells when its stream loses, repeats, reorders or stops, and when REST fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.feed_world import MARKET, MINUTE_MS, World, at, minute
from trading.candles import Candle, Hole
from trading.events import Heal
from trading.feed import BUFFER, FeedState
from trading.feed_events import Anomaly, Fetched, Final, Forget, Found, Garbage, Refetch, Resume


def state(**options: object) -> FeedState:
    return FeedState(MARKET, lambda: 0.5, **options)  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    """A feed that has told minutes 0 and 1 and is at rest."""
    made = World(state())
    made.resume(high=0)
    made.answer()
    made.connect()
    made.answer()
    made.close_minute()
    made.close_minute()
    assert [item.open_time_ms for item in made.items if isinstance(item, Candle)] == [at(0), at(1)]
    return made


def kinds(world: World, since: int = 2) -> list[tuple[str, int, int]]:
    """(kind, first minute, minute after the last) of every item after the first ``since``."""
    out = []
    for item in world.items[since:]:
        if isinstance(item, Candle):
            out.append(("candle", item.open_time_ms, item.close_time_ms))
        elif isinstance(item, Hole):
            out.append((str(item.reason), item.from_ms, item.to_ms))
        elif isinstance(item, Heal):
            out.append(("heal", item.from_ms, item.to_ms))
    return [(kind, (start - at(0)) // MINUTE_MS, (end - at(0)) // MINUTE_MS) for kind, start, end in out]


def test_a_jump_in_the_stream_is_filled_before_the_newer_candle(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    assert kinds(world) == []
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]


def test_minutes_that_rest_does_not_have_between_others_are_absent() -> None:
    world = World(state(), absent=frozenset({1, 2}))
    world.resume(high=0)
    world.connect()
    world.answer()
    for _ in range(4):
        world.close_minute()
    world.settle()
    assert kinds(world, 0) == [("candle", 0, 1), ("absent", 1, 3), ("candle", 3, 4)]


def test_a_minute_is_not_absent_before_rest_shows_a_later_row(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    asked = world.fetches.pop()
    world.tell(Fetched(world.mono, asked.from_ms, (), asked.from_ms))
    assert kinds(world) == []
    world.tick()
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]


def test_rest_that_stays_behind_the_stream_makes_the_minutes_missing_then_healed(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    for _ in range(3):
        asked = world.fetches.pop()
        world.tell(Fetched(world.mono, asked.from_ms, (), asked.from_ms))
        world.tick(5)
    assert kinds(world) == [("missing", 2, 3), ("candle", 3, 4)]
    world.settle()
    assert kinds(world)[2:] == [("heal", 2, 3)]


def test_when_rest_fails_newer_candles_follow_the_missing_ones_at_once_and_the_heal_comes_later(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    world.answer(error="HTTP 503")
    assert kinds(world) == [("missing", 2, 3), ("candle", 3, 4)]
    world.close_minute(streamed=False)
    world.close_minute()
    assert kinds(world)[2:] == [("missing", 4, 5), ("candle", 5, 6)], "REST is known to be down: nothing to wait for"
    world.settle()
    assert kinds(world)[4:] == [("heal", 2, 3), ("heal", 4, 5)]
    assert world.state.counters.healed == 2


def test_rest_is_asked_again_no_sooner_than_it_wants(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    world.answer(error="HTTP 429", retry_after_s=90)
    world.tick(89)
    assert world.fetches == []
    world.tick(2)
    assert world.fetches


@pytest.mark.conforms("BN-04")
def test_a_candle_that_never_closed_in_the_stream_is_fetched_after_the_grace_time(world: World) -> None:
    world.close_minute(streamed=False)
    world.tick(1, clock=True)
    world.answer()
    assert kinds(world) == [("candle", 2, 3)]


def test_nothing_is_fetched_within_the_grace_time(world: World) -> None:
    world.close_minute(streamed=False)
    world.state.handle(Resume(world.mono, at(2)))
    world.fetches.clear()
    world = World(state(grace_ms=40_000))
    world.resume(high=0)
    world.answer()
    world.now = 1
    world.tick(1, clock=True)
    assert world.fetches == []


def test_minutes_go_on_by_rest_while_the_socket_cannot_be_opened(world: World) -> None:
    world.lose_socket()
    for _ in range(3):
        world.close_minute(streamed=False)
        world.tick(60, clock=True)
        world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4), ("candle", 4, 5)]


@pytest.mark.covers("W19")
def test_after_a_reconnect_what_closed_in_between_comes_from_rest(world: World) -> None:
    world.lose_socket()
    for _ in range(5):
        world.close_minute(streamed=False)
    world.connect()
    world.answer()
    world.close_minute()
    assert kinds(world) == [("candle", i, i + 1) for i in range(2, 8)]
    assert {item.source for item in world.items[2:7]} == {"rest"}


@pytest.mark.conforms("BN-01", "BN-08")
def test_a_repeated_candle_is_told_once_and_without_noise(world: World) -> None:
    world.frame(1)
    world.frame(1)
    assert kinds(world) == []
    assert world.notes == []
    assert world.state.counters.duplicates == 2


@pytest.mark.conforms("BN-08")
def test_a_repeated_candle_that_differs_is_an_anomaly_and_changes_nothing(world: World) -> None:
    world.frame(1, close=100_00000003)
    assert kinds(world) == []
    assert [(note.reason, note.from_ms) for note in world.notes] == [("revised", at(1))]


def test_a_repeat_that_differs_is_an_anomaly_while_the_first_still_waits_for_rest(world: World) -> None:
    world.now += 2
    world.frame(3)
    world.frame(3)
    assert world.notes == []
    world.frame(3, close=100_00000005)
    assert [note.reason for note in world.notes] == ["revised"]
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]
    assert world.items[-1] == minute(3), "what came first stays"


def test_a_failed_catch_up_is_tried_again_even_if_nothing_new_comes(world: World) -> None:
    world.lose_socket()
    world.close_minute(streamed=False)
    world.connect()
    world.answer(error="HTTP 503")
    world.tick(2)
    world.answer()
    assert kinds(world) == [("candle", 2, 3)]


def test_two_candles_in_the_wrong_order_are_told_in_the_right_one(world: World) -> None:
    world.now += 2
    world.frame(3)
    world.frame(2)
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]
    assert world.notes == []


def test_a_closed_candle_that_was_given_up_is_noted_when_the_stream_brings_it_late(world: World) -> None:
    world.close_minute(streamed=False)
    world.close_minute()
    world.answer(error="HTTP 503")
    world.frame(2)
    assert [note.reason for note in world.notes] == ["out_of_order"]
    world.settle()
    assert kinds(world)[2:] == [("heal", 2, 3)]


def test_a_candle_from_the_future_is_refused(world: World) -> None:
    world.tell(Final(world.mono, world.conn, minute(9_999_999), venue_ms=at(3)))
    assert [note.reason for note in world.notes] == ["future"]
    world.close_minute()
    assert kinds(world) == [("candle", 2, 3)]


def test_garbage_is_noted_and_the_minute_it_hid_is_fetched(world: World) -> None:
    world.tell(Garbage(world.mono, Anomaly(MARKET, "malformed", "half a frame")))
    world.close_minute(streamed=False)
    world.close_minute()
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4)]
    assert world.state.counters.anomalies == {"malformed": 1}


def test_first_history_comes_in_pages_and_candles_of_the_stream_wait_for_it() -> None:
    world = World(state(), page_rows=3)
    world.now = 7
    world.resume(warmup=0)
    world.connect()
    world.close_minute()
    assert world.items == []
    world.answer()
    assert [len(world.items), world.state.warming] == [3, True]
    world.settle()
    assert kinds(world, 0) == [("candle", i, i + 1) for i in range(8)]
    assert not world.state.warming


def test_first_history_is_never_told_as_missing() -> None:
    world = World(state())
    world.now = 5
    world.resume(warmup=0)
    world.connect()
    world.answer(error="HTTP 503")
    world.close_minute()
    assert world.items == []
    world.settle()
    assert kinds(world, 0) == [("candle", i, i + 1) for i in range(6)]


def test_history_that_begins_later_than_asked_is_no_hole() -> None:
    world = World(state(), absent=frozenset(range(4)))
    world.now = 6
    world.resume(warmup=0)
    world.answer()
    assert kinds(world, 0) == [("candle", 4, 5), ("candle", 5, 6)]


def test_without_any_wish_the_first_candle_of_the_stream_is_the_first() -> None:
    world = World(state())
    world.now = 5
    world.resume()
    world.connect()
    world.close_minute()
    assert kinds(world, 0) == [("candle", 5, 6)]


def test_a_restart_goes_on_from_the_stored_high_water_and_heals_stored_holes() -> None:
    world = World(state())
    world.now = 9
    world.tell(Resume(world.mono, at(6), missing=((at(2), at(4)),)))
    world.settle()
    assert kinds(world, 0) == [("candle", 6, 7), ("candle", 7, 8), ("candle", 8, 9), ("heal", 2, 4)]


def test_going_back_to_an_older_high_water_tells_everything_since_again(world: World) -> None:
    world.close_minute()
    world.resume(high=1)
    world.answer()
    assert kinds(world, 3) == [("candle", 1, 2), ("candle", 2, 3)]


def test_minutes_that_storage_lost_come_again_as_a_heal(world: World) -> None:
    world.tell(Refetch(world.mono, at(0), at(2)))
    world.answer()
    assert kinds(world) == [("heal", 0, 2)]


def far(index: int, *, source: str = "live") -> Candle:
    """Minute ``index`` at ten times its prices."""
    candle = minute(index, source=source)
    return candle._replace(open=candle.open * 10, high=candle.high * 10, low=candle.low * 10, close=candle.close * 10)


def rows(*candles: Candle) -> tuple[Candle, ...]:
    return tuple(candle._replace(source="rest") for candle in candles)


def test_a_price_that_jumps_is_not_told_but_asked_from_rest(world: World) -> None:
    world.now = 4
    world.tell(Final(world.mono, world.conn, far(2)))
    world.frame(3)
    assert kinds(world) == []
    assert [note.reason for note in world.notes] == ["jump"]
    world.answer()
    assert world.items[-2:] == [minute(2, source="rest"), minute(3)]


def test_a_price_that_jumps_away_from_a_held_candle_is_not_told_either() -> None:
    """Before the first answer nothing is told yet, and what the stream brings is held."""
    world = World(state())
    world.resume(high=0)
    world.connect()
    world.close_minute(streamed=False)
    world.now = 4
    world.frame(1)
    world.tell(Final(world.mono, world.conn, far(2)))
    world.frame(3)
    world.settle()
    assert [item._replace(source="live") for item in world.items] == [minute(index) for index in range(4)]
    assert [note.reason for note in world.notes] == ["jump"]


def test_a_spoiled_row_holds_up_what_follows_it_until_rest_is_right(world: World) -> None:
    world.lose_socket()
    world.now = 6
    world.connect()
    asked = world.fetches.pop()
    spoiled = rows(minute(2), far(3), minute(4), minute(5))
    world.tell(Fetched(world.mono, asked.from_ms, spoiled, at(6)))
    assert kinds(world) == [("candle", 2, 3)]
    assert [(note.reason, note.from_ms) for note in world.notes] == [("jump", at(3))]
    world.tick(5)
    world.answer()
    assert kinds(world) == [("candle", 2, 3), ("candle", 3, 4), ("candle", 4, 5), ("candle", 5, 6)]


def test_a_price_that_really_moved_is_told_when_the_next_candle_bears_it_out(world: World) -> None:
    world.tell(Final(world.mono, world.conn, far(2)))
    asked = world.fetches.pop()
    world.tell(Fetched(world.mono, asked.from_ms, rows(far(2)), at(3)))
    assert kinds(world) == []
    world.tell(Final(world.mono, world.conn, far(3)))
    world.tick(5)
    asked = world.fetches.pop()
    world.tell(Fetched(world.mono, asked.from_ms, rows(far(2), far(3)), at(4)))
    assert world.items[-2:] == [*rows(far(2), far(3))]
    world.tell(Final(world.mono, world.conn, far(4)))
    assert world.items[-1] == far(4)
    assert {note.reason for note in world.notes} == {"jump"}


def test_a_price_that_nothing_follows_is_believed_when_rest_insists(world: World) -> None:
    world.tell(Final(world.mono, world.conn, far(2)))
    for _ in range(6):
        assert kinds(world) == []
        asked = world.fetches.pop()
        world.tell(Fetched(world.mono, asked.from_ms, rows(far(2)), at(3)))
        world.tick(60)
    assert kinds(world) == [("candle", 2, 3)]
    assert len(world.notes) == 2


def test_after_a_day_without_a_candle_any_price_is_possible(world: World) -> None:
    world.tell(Final(world.mono, world.conn, far(2 + 2 * 1440)))
    assert world.notes == []


@pytest.mark.parametrize("wrong", [3, 4])
def test_a_heal_takes_no_price_that_jumps(world: World, wrong: int) -> None:
    world.now = 9
    world.tell(Resume(world.mono, at(9), missing=((at(3), at(5)),)))
    world.answer()
    world.tick()
    asked = world.fetches.pop()
    spoiled = [far(index) if index == wrong else minute(index) for index in (3, 4, 5)]
    world.tell(Fetched(world.mono, asked.from_ms, rows(*spoiled), at(6)))
    world.settle()
    healed = [candle for item in world.items if isinstance(item, Heal) for candle in item.candles]
    assert sorted(healed) == [*rows(minute(3), minute(4))]
    assert [note.reason for note in world.notes] == ["jump"]


def test_a_row_without_a_usable_candle_is_missing_and_not_absent(world: World) -> None:
    world.lose_socket()
    world.now = 5
    world.connect()
    asked = world.fetches.pop()
    rows = (minute(2, source="rest"), minute(4, source="rest"))
    world.tell(Fetched(world.mono, asked.from_ms, rows, at(5), unusable=(at(3),)))
    assert kinds(world) == [("candle", 2, 3), ("missing", 3, 4), ("candle", 4, 5)]


def test_minutes_that_the_venue_keeps_no_more_are_one_hole(world: World) -> None:
    world.lose_socket()
    world.now = 7
    world.connect()
    asked = world.fetches.pop()
    rows = (minute(5, source="rest"), minute(6, source="rest"))
    world.tell(Fetched(world.mono, asked.from_ms, rows, at(7), unusable=(at(2), at(3), at(4))))
    assert kinds(world) == [("missing", 2, 5), ("candle", 5, 6), ("candle", 6, 7)]


def test_minutes_that_the_venue_keeps_no_more_cost_one_question_before_others_are_healed(world: World) -> None:
    world.now = 20
    world.tell(Resume(world.mono, at(20), missing=((at(2), at(5)), (at(6), at(7)))))
    world.answer()
    world.tick()
    asked = world.fetches.pop()
    assert (asked.from_ms, asked.to_ms) == (at(2), at(5))
    world.tell(Fetched(world.mono, at(2), (), at(5), unusable=(at(2), at(3), at(4))))
    world.tick(60)
    assert [(fetch.from_ms, fetch.to_ms) for fetch in world.fetches] == [(at(6), at(7))]


def test_unusable_rows_do_not_keep_other_minutes_from_being_healed(world: World) -> None:
    world.now = 9
    world.tell(Resume(world.mono, at(9), missing=((at(3), at(4)), (at(6), at(7)))))
    world.answer()
    world.tick()
    asked = world.fetches.pop()
    assert asked.from_ms == at(3)
    world.tell(Fetched(world.mono, at(3), (minute(4, source="rest"),), at(5), unusable=(at(3),)))
    world.tick(5)
    world.answer()
    assert kinds(world) == [("heal", 6, 7)]
    assert world.state.missing == ((at(3), at(4)),)


def test_a_long_wait_for_rest_keeps_a_bounded_number_of_candles_and_loses_none() -> None:
    world = World(state())
    world.resume(high=0)
    world.connect()
    world.now = 1
    for _ in range(BUFFER + 200):
        world.close_minute()
    assert [note.reason for note in world.notes] == ["overflow"]
    assert world.state.counters.overflowed == 200
    world.settle()
    assert world.told() == dict.fromkeys(range(BUFFER + 201), "candle")


class TestWhateverHappens:
    """Random loss, repetition, reordering, disconnects and REST failures over a known series."""

    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    @pytest.mark.covers("S1-4", "W15", "W19")
    def test_every_minute_is_told_once_in_order_and_in_the_end_correctly(self, data: st.DataObject) -> None:
        absent = data.draw(st.frozensets(st.integers(1, 38), max_size=12), "absent")
        world = World(state(), absent, page_rows=data.draw(st.integers(2, 12), "rows of a page"))
        warmup = data.draw(st.booleans(), "first start")
        world.now = data.draw(st.integers(1, 6), "history") if warmup else 0
        world.resume(**({"warmup": 0} if warmup else {"high": 0}))
        steps = st.sampled_from(
            ["close", "close", "close", "lose", "repeat", "swap", "drop", "connect", "answer", "fail", "tick", "late"]
        )
        held: list[int] = []
        for step in data.draw(st.lists(steps, max_size=60), "steps"):
            if world.now < 38:
                self._play(world, step, held)
        while world.now in absent or world.now < 3:
            world.close_minute(streamed=False)
        world.close_minute(streamed=False)
        world.settle()
        expected = {i: "absent" if i in absent else "candle" for i in range(world.now)}
        told = world.told()
        first = min(told)
        assert set(range(first)) <= absent
        assert told == {i: kind for i, kind in expected.items() if i >= first}
        assert not [note for note in world.notes if note.reason == "revised"]

    def _play(self, world: World, step: str, held: list[int]) -> None:
        if step in ("close", "lose", "late"):
            world.close_minute(streamed=step == "close")
            if step == "late":
                held.append(world.now - 1)
                world.frame(held[len(held) // 2])
        elif step == "swap":
            world.now += 2
            world.frame(world.now - 1)
            world.frame(world.now - 2)
        elif step == "repeat" and world.now:
            world.frame(world.now - 1)
        elif step == "tick":
            world.tick(2.0, clock=True)
        elif step in ("drop", "connect"):
            self._connection(world, step)
        elif world.fetches:
            world.answer(error="HTTP 503" if step == "fail" else None)

    @staticmethod
    def _connection(world: World, step: str) -> None:
        if step == "drop" and world.sockets:
            world.lose_socket()
        elif step == "connect" and world.opening:
            world.connect()


def test_minutes_that_come_by_another_way_heal_run_by_run_and_are_asked_for_no_more(world: World) -> None:
    world.tell(Refetch(world.mono, at(0), at(2)))
    lent = tuple(minute(n)._replace(origin="other:BTC") for n in (0, 1, 7))
    world.tell(Found(world.mono, lent))
    heals = [item for item in world.items if isinstance(item, Heal)]
    assert [(heal.from_ms, heal.to_ms, heal.candles) for heal in heals] == [(at(0), at(2), lent[:2])], (
        "7 is not told yet"
    )
    assert world.state.missing == ()


def test_what_the_venue_will_never_show_is_asked_for_no_more(world: World) -> None:
    world.tell(Refetch(world.mono, at(0), at(2)))
    world.tell(Forget(world.mono, at(0), at(1)))
    assert world.state.missing == ((at(1), at(2)),)
