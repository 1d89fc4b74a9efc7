"""A day of a book is checked when the book has come past its end, in whatever time that is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.series import at
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.nightly import MOST_DAYS, BookReach, DueDay, NightlyPlan

MONDAY = at("2025-06-02 00:00")
QUARTER = 15 * MINUTE_MS


def reach(*reached: int, live_from: int = MONDAY + HOUR_MS, book: str = "paper") -> BookReach:
    return BookReach(book, live_from, {f"binance:M{n}": ms for n, ms in enumerate(reached)})


def due(plan: NightlyPlan, *reaches: BookReach, checked: dict[DueDay, str] | None = None) -> DueDay | None:
    return plan.next(reaches, checked or {})


@pytest.mark.parametrize(
    ("come_ms", "expected"),
    [
        (MONDAY + 23 * HOUR_MS, None),
        (MONDAY + DAY_MS + QUARTER - MINUTE_MS, None),
        (MONDAY + DAY_MS + QUARTER, MONDAY),
        (MONDAY + 3 * DAY_MS, MONDAY),
    ],
)
def test_a_day_is_due_when_the_book_came_past_its_end(come_ms: int, expected: int | None) -> None:
    found = due(NightlyPlan(QUARTER), reach(come_ms))
    assert (found and found.day_ms) == expected


def test_missed_days_are_caught_up_with_oldest_first_and_not_without_end() -> None:
    plan, checked = NightlyPlan(QUARTER), dict[DueDay, str]()
    far = reach(MONDAY + 30 * DAY_MS + HOUR_MS)
    while (day := due(plan, far, checked=checked)) is not None:
        checked[day] = "identical"
    assert [day.day_ms for day in checked] == [MONDAY + n * DAY_MS for n in range(30 - MOST_DAYS, 30)]


def test_a_book_that_has_not_begun_has_no_days() -> None:
    assert due(NightlyPlan(QUARTER), reach()) is None


def test_a_market_that_stands_still_holds_the_day_up_for_a_day() -> None:
    plan, stuck = NightlyPlan(QUARTER), MONDAY + 20 * HOUR_MS
    assert due(plan, reach(stuck, MONDAY + DAY_MS + HOUR_MS)) is None
    assert due(plan, reach(stuck, MONDAY + 2 * DAY_MS + HOUR_MS)) == DueDay("paper", MONDAY)


def test_a_day_that_was_not_complete_is_checked_again_when_it_is() -> None:
    plan, checked = NightlyPlan(QUARTER), {DueDay("paper", MONDAY): "partial"}
    ahead = MONDAY + 2 * DAY_MS + HOUR_MS
    assert due(plan, reach(MONDAY + 20 * HOUR_MS, ahead), checked=checked) is None
    assert due(plan, reach(MONDAY + DAY_MS + HOUR_MS, ahead), checked=checked) == DueDay("paper", MONDAY)


@pytest.mark.parametrize("status", ["identical", "explained", "different"])
def test_a_checked_day_is_not_checked_again(status: str) -> None:
    done = {DueDay("paper", MONDAY): status}
    assert due(NightlyPlan(QUARTER), reach(MONDAY + DAY_MS + HOUR_MS), checked=done) is None


def test_a_check_that_fails_is_tried_three_times_by_one_plan_and_again_by_the_next() -> None:
    plan, failed = NightlyPlan(QUARTER), {DueDay("paper", MONDAY): "failed"}
    come = reach(MONDAY + DAY_MS + HOUR_MS)
    for _ in range(3):
        day = due(plan, come, checked=failed)
        assert day is not None
        plan.tried(day)
    assert due(plan, come, checked=failed) is None
    assert due(NightlyPlan(QUARTER), come, checked=failed) is not None


@given(st.lists(st.integers(0, 20 * DAY_MS), min_size=1, max_size=30), st.sampled_from([0, QUARTER, 6 * HOUR_MS]))
def test_every_complete_day_is_checked_once_however_the_book_moves(steps: list[int], at_ms: int) -> None:
    plan, checked = NightlyPlan(at_ms), dict[DueDay, str]()
    come = MONDAY
    for step in steps:
        come = min(come + step, MONDAY + MOST_DAYS * DAY_MS)
        while (day := due(plan, reach(come), checked=checked)) is not None:
            assert day not in checked
            assert day.day_ms + DAY_MS + at_ms <= come
            plan.tried(day)
            checked[day] = "identical"
    assert len(checked) == max(0, (come - at_ms - MONDAY) // DAY_MS)
