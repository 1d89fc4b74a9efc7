"""Several markets in one run, each passed over by itself, and then put together as if they had been run side by side.

No sleeve depends on another market: what the book does on one is the same whichever markets are beside it. Only the
order of the records, the curve of all money together, and the moment at which that is too little are of all markets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.minutes import Minutes
from backtest.run_records import RunRecords
from trading.accounts.books import MONEY
from trading.accounts.score import EquityCurve
from trading.candles import UNIT, from_units
from trading.intervals import DAY_MS, HOUR_MS

__all__ = ["Course", "add_together", "put_together"]

_ZERO = Decimal(0)
_LISTS = ("signals", "features", "decisions", "fills", "transfers")
# How much of the money that moves floats may be wrong by, many times over.
_MARGIN = 1e-11


@dataclass(slots=True)
class Course:
    """What one account on one market did, and when: ``notes`` has the lengths of its lists after each time (ms), and of
    its money the stretches of minutes, by the place of their first, in which it held ``positions`` beside ``cash``.
    """

    minutes: Minutes
    first: int
    deposit: Decimal
    records: RunRecords
    notes: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    stretches: list[tuple[Decimal, list[Decimal]]] = field(default_factory=list)

    def note(self, time_ms: int) -> None:
        """What was written since the last note was written at ``time_ms``."""
        lengths = (*(len(getattr(self.records, name)) for name in _LISTS), len(self.records.orders))
        if not self.notes or self.notes[-1][1] != lengths:
            self.notes.append((time_ms, lengths))

    def hold(self, first: int, cash: Decimal, positions: list[Decimal]) -> None:
        """From the minute at ``first`` on, until the next call."""
        self.begins.append(first)
        self.stretches.append((cash, positions))

    def worth(self, place: int) -> Decimal:
        """What it has after the minute at ``place``; exactly what its equity mark says. Within ``MONEY``."""
        if place < self.first:
            return self.deposit
        cash, positions = self.stretches[bisect_right(self.begins, place) - 1]
        price = from_units(int(self.minutes.close[place]))
        return cash + sum((position * price for position in positions), _ZERO)


def put_together(courses: Sequence[Course]) -> RunRecords:
    """The records of all courses in the order in which they would have been written side by side."""
    whole = RunRecords()
    for column, name in enumerate((*_LISTS, "orders")):
        parts: list[tuple[int, int, Sequence[Any]]] = []
        for number, course in enumerate(courses):
            written: Any = getattr(course.records, name)
            rows, at = list(written.items()) if name == "orders" else written, 0
            for time_ms, lengths in course.notes:
                if lengths[column] > at:
                    parts.append((time_ms, number, rows[at : lengths[column]]))
                    at = lengths[column]
        parts.sort(key=lambda part: part[:2])
        joined = [row for *_, rows in parts for row in rows]
        setattr(whole, name, dict(joined) if name == "orders" else joined)
    marks = [mark for course in courses for mark in course.records.equity]
    # Sorting is stable: those of one hour stay in the order of the markets. Of each market the last comes at the end.
    whole.equity = sorted((mark for mark in marks if not mark.time_ms % HOUR_MS), key=lambda mark: mark.time_ms)
    whole.equity += [mark for mark in marks if mark.time_ms % HOUR_MS]
    whole.positions = [position for course in courses for position in course.records.positions]
    return whole


def add_together(curve: EquityCurve, courses: Sequence[Course], least: Decimal | None) -> bool:
    """Add to ``curve`` what all ``courses`` are worth together at each close of any; False, and nothing added, if that
    may ever be below ``least``.
    """
    times = np.unique(np.concatenate([course.minutes.close_ms[course.first :] for course in courses]))
    if not len(times):
        return True
    total, scale = np.zeros(len(times)), 0.0
    is_held, is_same = np.zeros(len(times), np.bool_), np.ones(len(times), np.bool_)
    places = []
    for course in courses:
        seen = np.searchsorted(course.minutes.close_ms, times, side="right") - 1
        places.append(seen)
        # Stretch 0 is what was there before the first.
        number = np.searchsorted(np.array(course.begins, np.int64), seen, side="right")
        cash = np.array([float(course.deposit), *(float(money) for money, _ in course.stretches)])
        units = np.array([0.0, *(float(sum(held, _ZERO)) for _, held in course.stretches)])
        holds = np.array([False, *(bool(held) for _, held in course.stretches)])
        value = units[number] * (course.minutes.close[seen] / UNIT)
        total += cash[number] + value
        scale = max(scale, float(np.abs(cash).max() + np.abs(value).max()))
        is_held |= holds[number]
        is_same[1:] &= number[1:] == number[:-1]
    margin = scale * len(courses) * _MARGIN
    if least is not None and bool((total <= float(max(least, _ZERO)) + margin).any()):
        return False
    turns = _turns(times, total, is_same & ~is_held, float(curve.peak), margin)
    with localcontext(MONEY):
        told = [
            (
                int(times[turn]),
                sum((course.worth(int(seen[turn])) for course, seen in zip(courses, places, strict=True)), _ZERO),
            )
            for turn in turns
        ]
    held = int(is_held.sum())
    curve.add_turns(told, len(times) - held, False)
    curve.add_turns([], held, True)
    return True


def _turns(
    times: NDArray[np.int64], total: NDArray[np.float64], is_flat: NDArray[np.bool_], peak: float, margin: float
) -> list[int]:
    """The places that ``EquityCurve.add_turns`` has to know, and few others. Those that are ``is_flat`` are worth the
    same as the one before.
    """
    count = len(times)
    before = np.maximum.accumulate(np.concatenate(([peak], total)))[:-1]
    wanted = total >= before - margin
    highs = np.concatenate(([-1], np.flatnonzero(wanted), [count]))
    for gap in np.flatnonzero(np.diff(highs) > 1).tolist():
        part = slice(int(highs[gap]) + 1, int(highs[gap + 1]))
        wanted[part] = total[part] <= total[part].min() + margin
    # Of a stretch that is worth the same throughout the first and the last.
    wanted &= ~(is_flat & np.append(is_flat[1:], False))
    wanted[:-1] |= np.diff((times - 1) // DAY_MS) != 0
    wanted[-1] = True
    found: list[int] = np.flatnonzero(wanted).tolist()
    return found
