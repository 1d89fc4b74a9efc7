"""The detector of price gaps: a pure function of three consecutive, complete, closed candles.

``b1``, ``b2``, ``b3`` are the candles from old to new; every inequality is strict, every number an integer at 10**-8.
A gap is the zone of prices that the three leave between them, stamped with the open time of ``b3``. Where the three are
not known to be one piece of history, across a hole or with a candle that is not whole, the answer is *unknown*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from trading.candles import Candle, Hole, Source, from_units
from trading.errors import BadInput

__all__ = ["DEFAULT_MODE", "GapMode", "GapType", "Seams", "Verdict", "Zone", "examine", "parse_mode", "windows"]


class GapType(StrEnum):
    """Whether the price left the zone below it (up) or above it (down)."""

    UP = "up"
    DOWN = "down"


class GapMode(StrEnum):
    """Which pattern counts.

    STRICT: ``b1`` and ``b2`` overlap with their ranges, ``b3`` lies wholly beyond ``b2``. BODY: the same with bodies.
    OPEN: ``b3`` opens beyond ``b2``. B2DIR: ``b1`` and ``b3`` do not meet, and ``b2`` goes the gap's way.
    """

    STRICT = "strict"
    BODY = "body"
    OPEN = "open"
    B2DIR = "b2dir"


DEFAULT_MODE = GapMode.B2DIR


class Zone(NamedTuple):
    """What a gap leaves: prices from ``low`` to ``high``, both at 10**-8, ``low`` below ``high``."""

    type: GapType
    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low


class Verdict(NamedTuple):
    """What the detector says of a window: its zone, or why there is none; ``known`` is False across a hole."""

    zone: Zone | None
    reason: str
    known: bool = True


class Seams:
    """The times at which a hole ends or begins, or which lie within one: no trade is known right around them.

    They matter to candles made of minutes; a venue's own candle of that interval has seen every trade.
    """

    def __init__(self, holes: Iterable[Hole] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for start_ms, end_ms in sorted((hole.from_ms, hole.to_ms) for hole in holes):
            if self._spans and start_ms <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], max(self._spans[-1][1], end_ms))
            else:
                self._spans.append((start_ms, end_ms))

    def open_at(self, time_ms: int) -> bool:
        """Whether a hole touches ``time_ms``."""
        low, high = 0, len(self._spans)
        while low < high:
            middle = (low + high) // 2
            if self._spans[middle][1] < time_ms:
                low = middle + 1
            else:
                high = middle
        return low < len(self._spans) and self._spans[low][0] <= time_ms


_NO_SEAMS = Seams()


def parse_mode(text: str) -> GapMode:
    """The mode named ``text``; BadInput that names the fix."""
    try:
        return GapMode(text.lower())
    except ValueError as error:
        raise BadInput(
            f"Gap mode {text!r} is not known.", field="mode", value=text, fix=f"Use one of {', '.join(GapMode)}."
        ) from error


def examine(
    b1: Candle, b2: Candle, b3: Candle, mode: GapMode = DEFAULT_MODE, *, min_size: int = 0, seams: Seams = _NO_SEAMS
) -> Verdict:
    """The verdict on one window. A zone smaller than ``min_size`` (at 10**-8) is no gap."""
    for older, newer in pairwise((b1, b2, b3)):
        torn = newer.source == Source.DERIVED and seams.open_at(newer.open_time_ms)
        if torn or newer.open_time_ms != older.close_time_ms:
            return Verdict(None, "unknown: a hole lies between the candles", known=False)
    if not (b1.complete and b2.complete and b3.complete):
        return Verdict(None, "unknown: a candle is not whole", known=False)
    verdict = _RULES[mode](b1, b2, b3)
    if verdict.zone is not None and verdict.zone.size < min_size:
        return Verdict(None, f"none: the zone of {from_units(verdict.zone.size)} is below the minimum size")
    return verdict


def windows(candles: Sequence[Candle]) -> Iterator[tuple[Candle, Candle, Candle]]:
    """Every three neighbours of ``candles``, old to new."""
    yield from zip(candles, candles[1:], candles[2:], strict=False)


def _beyond(low: int, high: int, b3_low: int, b3_high: int, names: str) -> Verdict:
    """A zone where ``b3`` lies wholly above ``high`` or below ``low`` of an earlier candle."""
    if b3_low > high:
        return Verdict(Zone(GapType.UP, high, b3_low), "up")
    if b3_high < low:
        return Verdict(Zone(GapType.DOWN, b3_high, low), "down")
    return Verdict(None, f"none: {names} meet")


def _apart(low1: int, high1: int, low2: int, high2: int) -> bool:
    """Whether two ranges have no price in common; touching counts as meeting."""
    return low2 > high1 or high2 < low1


def _strict(b1: Candle, b2: Candle, b3: Candle) -> Verdict:
    if _apart(b1.low, b1.high, b2.low, b2.high):
        return Verdict(None, "none: b1 and b2 do not overlap")
    return _beyond(b2.low, b2.high, b3.low, b3.high, "b2 and b3")


def _body(b1: Candle, b2: Candle, b3: Candle) -> Verdict:
    (low1, high1), (low2, high2), (low3, high3) = (
        (min(bar.open, bar.close), max(bar.open, bar.close)) for bar in (b1, b2, b3)
    )
    if _apart(low1, high1, low2, high2):
        return Verdict(None, "none: the bodies of b1 and b2 do not overlap")
    return _beyond(low2, high2, low3, high3, "the bodies of b2 and b3")


def _open(_b1: Candle, b2: Candle, b3: Candle) -> Verdict:
    return _beyond(b2.low, b2.high, b3.open, b3.open, "b2 and the open of b3")


def _b2dir(b1: Candle, b2: Candle, b3: Candle) -> Verdict:
    if b2.close == b2.open:
        return Verdict(None, "none: b2 is a doji")
    verdict = _beyond(b1.low, b1.high, b3.low, b3.high, "b1 and b3")
    if verdict.zone is not None and (verdict.zone.type is GapType.UP) != (b2.close > b2.open):
        return Verdict(None, "none: b2 goes the other way")
    return verdict


_RULES: dict[GapMode, Callable[[Candle, Candle, Candle], Verdict]] = {
    GapMode.STRICT: _strict,
    GapMode.BODY: _body,
    GapMode.OPEN: _open,
    GapMode.B2DIR: _b2dir,
}
