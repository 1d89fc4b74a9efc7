"""Compares two series of candles of one market and interval: prices to the bit, sums to 1e-12 (I3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers
from trading.candles import UNIT

__all__ = ["SHOWN", "Check", "Difference", "compare"]

SHOWN = 20
"""Differences that a check keeps; it counts all."""

_PRICES = ("open", "high", "low", "close")
_SUMS = ("volume", "quote_volume", "taker_buy_volume")
_RELATIVE = 1e-12
# A sum as float, and an integer made of it, are off by a unit at most.
_UNITS = 1.5


class Difference(NamedTuple):
    """One field of one candle. ``missing``: only the second series has it; ``extra``: only the first."""

    open_time_ms: int
    field: str
    found: float | None
    expected: float | None


@dataclass(slots=True)
class Check:
    """What came of one comparison. ``candles`` were compared; ``count`` fields or candles differ without an
    explanation; ``explained`` candles differ over a hole, where two answers of a venue need not agree.
    """

    market: str
    interval: str
    found: str
    expected: str
    candles: int = 0
    count: int = 0
    explained: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(
        self, times: Sequence[int], what: str, found: Sequence[float | None], expected: Sequence[float | None]
    ) -> None:
        """Note that ``what`` differs in the candles that open at ``times``."""
        self.count += len(times)
        room = SHOWN - len(self.differences)
        for row in list(zip(times, found, expected, strict=True))[: max(0, room)]:
            self.differences.append(Difference(row[0], what, row[1], row[2]))


def compare(
    found: CandleColumns,
    expected: CandleColumns,
    names: tuple[str, str],
    *,
    skip: NDArray[np.bool_] | None = None,
    holes: NDArray[np.bool_] | None = None,
    flags: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None,
    span: tuple[int, int] | None = None,
) -> Check:
    """How ``found`` differs from ``expected``, called ``names`` in the result.

    Compared is what both histories hold, or what opens in ``span``. ``skip`` marks those of ``expected`` that say
    nothing, ``holes`` those that lie over a hole. ``flags`` are further columns of both that must be equal. A column
    that one of them lacks is not compared. Columns are int64 at 10⁻⁸ on both sides, or floats on both.
    """
    check = Check(expected.market, expected.interval.name, *names)
    if not len(found) and not len(expected):
        return check
    first, last = span or _common(found, expected)
    told = (expected.open_time_ms >= first) & (expected.open_time_ms < last)
    ours = (found.open_time_ms >= first) & (found.open_time_ms < last)
    unknown = expected.open_time_ms[told & skip] if skip is not None else expected.open_time_ms[:0]
    if skip is not None:
        told &= ~skip
    wanted, have = expected.open_time_ms[told], found.open_time_ms[ours]
    missing = np.setdiff1d(wanted, have).tolist()
    extra = np.setdiff1d(have, np.union1d(wanted, unknown)).tolist()
    check.add(missing, "missing", [None] * len(missing), [None] * len(missing))
    check.add(extra, "extra", [None] * len(extra), [None] * len(extra))
    both, left, right = np.intersect1d(have, wanted, assume_unique=True, return_indices=True)
    check.candles = len(both)
    at, of = np.flatnonzero(ours)[left], np.flatnonzero(told)[right]
    excused = np.zeros(len(both), np.bool_)
    for name in (*_PRICES, *_SUMS, "trade_count"):
        a, b = getattr(found, name), getattr(expected, name)
        if a is None or b is None:
            continue
        wrong = _wrong(a[at], b[of], exact=name not in _SUMS)
        if holes is not None:
            excused |= wrong & holes[of]
            wrong &= ~holes[of]
        scale = UNIT if np.issubdtype(a.dtype, np.integer) and name != "trade_count" else 1
        check.add(both[wrong].tolist(), name, (a[at][wrong] / scale).tolist(), (b[of][wrong] / scale).tolist())
    check.explained = int(excused.sum())
    for name, (mine, theirs) in (flags or {}).items():
        wrong = mine[at] != theirs[of]
        check.add(both[wrong].tolist(), name, mine[at][wrong].tolist(), theirs[of][wrong].tolist())
    check.differences.sort(key=lambda each: each[:2])
    return check


def _common(found: CandleColumns, expected: CandleColumns) -> tuple[int, int]:
    if not len(found) or not len(expected):
        return (0, 0)
    return max(found.start_ms, expected.start_ms), min(found.end_ms, expected.end_ms)


def _wrong(a: Integers, b: Integers, *, exact: bool) -> NDArray[np.bool_]:
    """Where two columns contradict each other; NaN tells nothing."""
    told: NDArray[np.bool_] = ~(np.isnan(a) | np.isnan(b))
    if exact:
        told &= a != b
        return told
    least = _UNITS if np.issubdtype(a.dtype, np.integer) else _UNITS / UNIT
    off = np.abs(a.astype(np.float64) - b.astype(np.float64))
    told &= off > np.maximum(np.abs(b.astype(np.float64)) * _RELATIVE, least)
    return told
