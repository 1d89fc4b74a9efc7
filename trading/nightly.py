"""When the reference replays which day: a pure function of how far each book has come in event time.

No clock is asked. A day is due when the book has committed everything up to some minutes after its end, whether that
takes a night or, in a replay, a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trading.intervals import DAY_MS

__all__ = ["MOST_DAYS", "BookReach", "DueDay", "NightlyPlan"]

MOST_DAYS = 7
"""How many past days are caught up with."""

_MOST_TRIES = 3


class BookReach(NamedTuple):
    """A running book: since when it decides, and how far it has committed each market it has begun with (epoch ms)."""

    book: str
    live_from_ms: int
    reached: Mapping[str, int]


class DueDay(NamedTuple):
    """One UTC day of one book, by its midnight."""

    book: str
    day_ms: int


class NightlyPlan:
    """Chooses the next day to check.

    A day is checked once; again only if it was not complete then, or if the check failed, and a few times at most as
    long as this plan lives. A market that stands still holds its book's days up for a day, not for ever.
    """

    def __init__(self, at_ms: int) -> None:
        """``at_ms`` is the time of day, after midnight, at which the day before is due."""
        self._at_ms = at_ms
        self._tries: Counter[DueDay] = Counter()

    def next(self, reaches: Iterable[BookReach], checked: Mapping[DueDay, str]) -> DueDay | None:
        """The oldest day that is due, None when there is none; ``checked`` are the results there are."""
        due = [day for reach in reaches for day in self._days(reach) if self._wanted(reach, day, checked.get(day))]
        return min(due, key=lambda day: (day.day_ms, day.book), default=None)

    def tried(self, day: DueDay) -> None:
        """Count a try of ``day``."""
        self._tries[day] += 1

    def _days(self, reach: BookReach) -> list[DueDay]:
        if not reach.reached:
            return []
        come_ms = max(min(reach.reached.values()), max(reach.reached.values()) - DAY_MS)
        end_ms = (come_ms - self._at_ms) // DAY_MS * DAY_MS
        first_ms = max(reach.live_from_ms // DAY_MS * DAY_MS, end_ms - MOST_DAYS * DAY_MS)
        return [DueDay(reach.book, day_ms) for day_ms in range(first_ms, end_ms, DAY_MS)]

    def _wanted(self, reach: BookReach, day: DueDay, status: str | None) -> bool:
        if self._tries[day] >= _MOST_TRIES:
            return False
        if status == "partial":
            return min(reach.reached.values()) >= day.day_ms + DAY_MS + self._at_ms
        return status in (None, "failed")
