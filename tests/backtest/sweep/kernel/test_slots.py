"""Columns that are read by the same rules, or made before others are done with, have places of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backtest.sweep.kernel.arranging import slots_of


@given(
    read=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), min_size=1, max_size=30),
    lanes=st.sampled_from((1, 2, 4)),
)
def test_places_are_shared_by_what_is_never_alive_at_once(read: list[list[int]], lanes: int) -> None:
    numbers: dict[int, int] = {}
    rows = [[numbers.setdefault(name, len(numbers)) for name in row] for row in read]
    slots = slots_of(rows, lanes)
    made = 0
    holds: dict[int, int] = {}
    for place, row in enumerate(rows):
        for column in row:
            while made <= column or (made % lanes and made < len(numbers)):
                before = holds.get(slots[made])
                assert before is None or not any(before in later for later in rows[place:])
                holds[slots[made]] = made
                made += 1
        assert all(holds[slots[column]] == column for column in row)


def test_a_column_that_only_one_reads_takes_the_place_of_the_one_before() -> None:
    assert slots_of([[0], [1], [2]], 1) == [0, 0, 0]
    assert slots_of([[0, 1], [0, 2], [3]], 1) == [0, 1, 1, 1]
