"""One message when something has gone wrong for long enough, one when it is over, whoever restarts in between."""

import pytest

from trading.notify.routing import dedupe_key
from trading.notify.trouble import Condition, Restarts, Told, TroubleWatch

HOLE = Condition("hole:binance:BTCUSDT", "Minutes of BTCUSDT are missing", "Since noon.", "binance:BTCUSDT", 60)


def at(watch: TroubleWatch, second: float, *conditions: Condition) -> Told:
    return watch.see(second, round(second * 1000), conditions)


def titles(told: Told) -> list[str]:
    return [event.payload["title"] for event in told.events]


def test_a_moment_s_hitch_is_no_message() -> None:
    watch = TroubleWatch(quiet_s=100)
    assert [at(watch, second, *seen).events for second, seen in ((0, [HOLE]), (50, [HOLE]), (55, []), (500, []))] == [
        ()
    ] * 4


@pytest.mark.covers("W24")
def test_what_lasts_is_told_once_and_once_more_when_it_is_over() -> None:
    watch = TroubleWatch(quiet_s=100)
    told = [at(watch, second, HOLE) for second in range(0, 600, 30)] + [
        at(watch, second) for second in range(600, 900, 30)
    ]
    assert [title for each in told for title in titles(each)] == [
        "Minutes of BTCUSDT are missing", "Over: Minutes of BTCUSDT are missing",
    ]  # fmt: skip
    began, ended = (event for each in told for event in each.events)
    assert (began.event_time_ms, began.payload["message"], began.stream) == (0, "Since noon.", "binance:BTCUSDT")
    assert (began.payload["over"], ended.payload["over"]) == (False, True)
    assert dedupe_key(began) != dedupe_key(ended)


def test_what_comes_and_goes_is_one_occurrence() -> None:
    watch = TroubleWatch(quiet_s=100)
    told = [at(watch, second, *([HOLE] if second // 90 % 2 == 0 else [])) for second in range(0, 1200, 30)]
    assert [title for each in told for title in titles(each)] == ["Minutes of BTCUSDT are missing"]


def test_the_next_occurrence_is_a_message_of_its_own() -> None:
    watch = TroubleWatch(quiet_s=10)
    first = [event for second in (0, 60, 80) for event in at(watch, second, *([HOLE] if second < 70 else [])).events]
    later = [event for second in (1000, 1060) for event in at(watch, second, HOLE).events]
    assert len({dedupe_key(event) for event in (*first, *later)}) == 3


def test_after_a_restart_the_end_is_still_told_and_the_beginning_not_again() -> None:
    watch = TroubleWatch(quiet_s=100)
    at(watch, 0, HOLE)
    (trouble,) = at(watch, 60, HOLE).opened
    successor = TroubleWatch([trouble], quiet_s=100)
    assert at(successor, 5000, HOLE).events == ()
    told = [at(successor, second) for second in (5030, 5090, 5130)]
    assert [each.closed for each in told] == [(), (), (HOLE.name,)]
    assert dedupe_key(told[-1].events[0]) == f"alert:{HOLE.name}:0:over"


def test_a_condition_without_patience_is_told_at_once() -> None:
    told = at(TroubleWatch(), 5, Condition("silent:brain", "brain does not answer", "", "system"))
    assert titles(told) == ["brain does not answer"]


def test_replacements_are_many_only_within_their_time() -> None:
    restarts = Restarts(many=3, within_s=100)
    seen = [restarts.see(second, {"brain": epoch}) for second, epoch in ((0, 7), (10, 8), (20, 10), (130, 10))]
    assert seen == [{}, {}, {"brain": 3}, {}]


def test_a_process_id_that_differs_is_one_replacement() -> None:
    restarts = Restarts(many=2, within_s=100)
    assert [restarts.see(second, {"feed": pid}) for second, pid in enumerate((4242, 917, 917, 30_000))] == [
        {}, {}, {}, {"feed": 2},
    ]  # fmt: skip
