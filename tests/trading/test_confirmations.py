"""What REST confirms, and corrects, of minutes that a stream told which does not say when one is closed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.feed_world import MARKET, World, at, minute
from trading.candles import Candle
from trading.confirmations import CONFIRM_AFTER_MS, MOST_WAITING, Confirmations
from trading.events import Heal
from trading.feed import FeedState
from trading.feed_events import Fetch, Fetched, Resume
from trading.intervals import MINUTE_MS

AFTER = CONFIRM_AFTER_MS // MINUTE_MS


def world(*, proves_close: bool = False, **options: Any) -> World:
    """A feed at rest that has told nothing yet."""
    made = World(FeedState(MARKET, lambda: 0.5, proves_close=proves_close), **options)
    made.resume(high=0)
    made.answer()
    made.connect()
    made.answer()
    return made


def close(made: World, count: int, false: tuple[int, ...] = ()) -> None:
    """``count`` minutes close; of the ``false`` ones the stream leaves out the end."""
    for _ in range(count):
        index, made.now = made.now, made.now + 1
        made.frame(index, **({"close": 100_00000000 + index - 3} if index in false else {}))


def heals(made: World) -> list[Heal]:
    return [item for item in made.items if isinstance(item, Heal)]


def final(made: World) -> list[Candle]:
    """Every minute as it was told last."""
    told: dict[int, Candle] = {}
    for item in made.items:
        candles = item.candles if isinstance(item, Heal) else (item,)
        told |= {each.open_time_ms: each for each in candles if isinstance(each, Candle)}
    return [candle for _, candle in sorted(told.items())]


def test_a_minute_whose_end_the_stream_left_out_is_corrected_when_five_later_ones_are_told() -> None:
    made = world()
    close(made, 2 + AFTER, false=(1,))
    assert made.fetches == [Fetch(at(0), at(AFTER - 1), confirms=True)], "asked for once the oldest is old enough"
    made.answer()
    (heal,) = heals(made)
    assert (heal.from_ms, heal.to_ms, heal.candles) == (at(1), at(2), (minute(1, source="rest"),))
    assert heal.why == "REST tells it otherwise than the stream did"
    assert (made.state.counters.confirmed, made.state.counters.corrected) == (AFTER - 2, 1)
    assert made.notes == []


def test_all_that_waits_is_asked_for_at_once_and_each_minute_once() -> None:
    made = world()
    asked: list[Fetch] = []
    for _ in range(60):
        close(made, 1)
        asked += made.fetches
        while made.fetches:
            made.answer()
    assert [fetch.confirms for fetch in asked] == [True] * len(asked)
    assert [fetch.from_ms for fetch in asked[1:]] == [fetch.to_ms for fetch in asked[:-1]], "none left out, none twice"
    assert len(asked) <= 60 // (AFTER - 1)
    assert heals(made) == []
    assert made.state.unconfirmed <= AFTER


def test_where_the_venue_says_closed_nothing_is_asked_for() -> None:
    made = world(proves_close=True)
    close(made, 100, false=(1,))
    assert made.fetches == []
    assert made.state.unconfirmed == 0


def test_what_rest_told_itself_is_not_asked_for_again() -> None:
    made = world()
    made.lose_socket()
    close(made, 50)
    made.tick(5.0)
    made.connect()
    made.answer()
    assert made.state.high_water_ms == at(50)
    assert made.state.unconfirmed == 0


@pytest.mark.parametrize("error", [True, False], ids=["no answer", "no later row yet"])
def test_without_an_answer_it_is_asked_again_with_pauses_and_what_comes_next_comes_first(error: bool) -> None:
    made = world()
    close(made, 1 + AFTER, false=(0,))
    if error:
        made.answer(error="503")
    else:
        asked = made.fetches.pop()
        made.tell(Fetched(made.mono, asked.from_ms, (), asked.from_ms))
    assert made.fetches == []
    made.close_minute(streamed=False)
    made.tick(10.0, clock=True)
    assert [fetch.confirms for fetch in made.fetches] == [False]
    made.answer()
    made.tick(60.0)
    made.answer()
    assert [heal.from_ms for heal in heals(made)] == [at(0)]


def test_a_price_that_jumps_away_in_one_answer_is_not_believed() -> None:
    made = world()
    close(made, 1 + AFTER)
    asked = made.fetches.pop()
    rows = [minute(index, source="rest") for index in range(made.now)]
    spoiled = rows[2]._replace(open=rows[2].open * 10, high=rows[2].high * 10, close=rows[2].close * 10)
    made.tell(Fetched(made.mono, asked.from_ms, (*rows[:2], spoiled, *rows[3:]), at(made.now)))
    assert [note.reason for note in made.notes] == ["jump"]
    close(made, 3)
    made.answer()
    assert made.state.unconfirmed < AFTER
    assert heals(made) == []


def test_what_rest_cannot_tell_is_noted_and_keeps_nothing_waiting() -> None:
    made = world()
    close(made, 2 + AFTER, false=(1,))
    for _ in range(20):
        if not made.fetches:
            made.tick(120.0)
        if heals(made):
            break
        asked = made.fetches.pop()
        rows = tuple(minute(index, source="rest") for index in range(1, made.now) if at(index) >= asked.from_ms)
        made.tell(Fetched(made.mono, asked.from_ms, rows, at(made.now), unusable=(at(0),)))
    assert [heal.from_ms for heal in heals(made)] == [at(1)]
    assert [(note.reason, note.from_ms) for note in made.notes] == [("unconfirmed", at(0))]


def test_a_minute_that_rest_does_not_show_stays_and_is_noted() -> None:
    made = world()
    close(made, 1 + AFTER)
    made.absent = frozenset({1})
    made.answer()
    assert [(note.reason, note.from_ms) for note in made.notes] == [("unconfirmed", at(1))]
    assert heals(made) == []


def test_after_a_restart_what_storage_has_of_the_stream_is_confirmed_too() -> None:
    made = World(FeedState(MARKET, lambda: 0.5, proves_close=False))
    made.now = 30
    stored = tuple(minute(index, close=100_00000000 + index - 3 * (index == 12)) for index in range(10, 20))
    made.tell(Resume(made.mono, at(20), unconfirmed=stored))
    made.answer()
    made.connect()
    made.answer()
    made.answer()
    assert [(heal.from_ms, heal.candles) for heal in heals(made)] == [(at(12), (minute(12, source="rest"),))]


def test_what_the_recorder_lost_is_told_again_by_rest_and_waits_no_more() -> None:
    made = world()
    close(made, 4)
    made.resume(high=2)
    assert made.state.unconfirmed == 2


def test_what_waits_is_bounded_and_the_oldest_gives_way() -> None:
    waiting = Confirmations(MARKET, needed=True)
    for index in range(MOST_WAITING + 5):
        waiting.wait_for(minute(index))
    assert len(waiting) == MOST_WAITING
    assert waiting.due(at(2 * MOST_WAITING)) == (at(5), at(MOST_WAITING + 5))


def test_values_that_storage_keeps_as_the_same_float_agree() -> None:
    waiting = Confirmations(MARKET, needed=True)
    large = minute(0)._replace(volume=2**60)
    waiting.wait_for(large)
    row = large._replace(volume=2**60 + 1, source="rest")
    assert waiting.answered({at(0): row}, at(1)) == ([], [])


@given(
    false=st.sets(st.integers(0, 79)),
    steps=st.lists(st.sampled_from(["minute", "minute", "minute", "skip", "answer", "error", "tick"]), max_size=80),
)
def test_whatever_happens_every_minute_is_in_the_end_what_rest_tells(false: set[int], steps: list[str]) -> None:
    made = world()
    for step in steps:
        if step == "minute":
            close(made, 1, tuple(false))
        elif step == "skip":
            made.close_minute(streamed=False)
        elif step == "tick":
            made.tick(7.0, clock=True)
        elif made.fetches:
            made.answer(error="503" if step == "error" else None)
    for _ in range(4 * AFTER):
        made.settle()
        close(made, 1)
        made.tick(10.0)
    assert [each._replace(source="live") for each in final(made)][: made.now - AFTER] == [
        minute(index) for index in range(made.now - AFTER)
    ]
