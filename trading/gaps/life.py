"""The life of price gaps: open → touched → filled, from every closed candle after ``b3`` in order.

Pure: candles go in, changes come out. A candle that was closed while nobody looked counts like any other once it is
handed in; a hole after ``b3`` does not end a gap's life, but is noted with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from trading.candles import Candle
from trading.gaps.detector import DEFAULT_MODE, GapMode, GapType, Seams, Zone, examine

__all__ = ["Change", "Filled", "Found", "GapBook", "GapKey", "GapStatus", "LiveGap", "Noted", "Touched"]


class GapStatus(StrEnum):
    """TOUCHED: a later candle entered the zone. FILLED: one crossed all of it, which ends the gap."""

    OPEN = "open"
    TOUCHED = "touched"
    FILLED = "filled"


class GapKey(NamedTuple):
    """What tells two gaps of one market, interval and mode apart: the open time of ``b3`` and the direction."""

    start_ms: int
    type: str


@dataclass(frozen=True, slots=True)
class LiveGap:
    """A gap that is not filled. ``since_ms`` is the close of ``b3``: candles that open from then on can touch it."""

    key: GapKey
    zone: Zone
    since_ms: int
    touched: bool = False


class Found(NamedTuple):
    """A gap at the close of ``candle``, its ``b3``."""

    key: GapKey
    zone: Zone
    candle: Candle


class Touched(NamedTuple):
    """``candle`` entered the zone for the first time."""

    key: GapKey
    candle: Candle


class Filled(NamedTuple):
    """``candle`` reached the far edge: ``price`` is that edge, whatever the candle's extreme."""

    key: GapKey
    candle: Candle
    price: int


class Noted(NamedTuple):
    """Nobody knows all that was traded in [``from_ms``, ``to_ms``): ``keys`` were not filled before."""

    keys: tuple[GapKey, ...]
    from_ms: int
    to_ms: int


Change = Found | Touched | Filled | Noted


class GapBook:
    """All unfilled gaps of one market, interval and mode.

    ``tail`` are the last two closed candles already handled, ``live`` the gaps known. Candles are handled once each,
    ascending by open time; one that is handled again finds its gaps known and changes nothing twice.
    """

    def __init__(
        self,
        mode: GapMode = DEFAULT_MODE,
        *,
        min_size: int = 0,
        only: GapType | None = None,
        tail: Sequence[Candle] = (),
        live: Iterable[LiveGap] = (),
        known: Iterable[GapKey] = (),
        seams: Seams | None = None,
        detect_from_ms: int | None = None,
    ) -> None:
        """``known`` are gaps that were filled before; ``detect_from_ms``: earlier ``b3`` are not looked at."""
        self._mode = mode
        self._min_size = min_size
        self._only = only
        self._tail = list(tail)[-2:]
        self._seams = seams or Seams()
        self._detect_from_ms = detect_from_ms
        self._live: dict[GapKey, LiveGap] = {}
        self._known = set(known)
        # By the edge that is met first, so that a candle far from every zone costs two comparisons.
        self._ups: list[tuple[int, GapKey]] = []
        self._downs: list[tuple[int, GapKey]] = []
        for gap in live:
            self._add(gap)

    @property
    def live(self) -> tuple[LiveGap, ...]:
        """Gaps that are not filled, oldest first."""
        return tuple(self._live[key] for key in sorted(self._live))

    def handle(self, candle: Candle) -> list[Change]:
        """What ``candle``, closed and next in time, changes."""
        if self._tail and candle.open_time_ms < self._tail[-1].close_time_ms:
            raise ValueError(f"candle {candle.open_time_ms} is not after {self._tail[-1].open_time_ms}")
        changes: list[Change] = [*self._note(candle), *self._meet(candle)]
        if len(self._tail) == 2 and (self._detect_from_ms is None or candle.open_time_ms >= self._detect_from_ms):
            b1, b2 = self._tail
            zone = examine(b1, b2, candle, self._mode, min_size=self._min_size, seams=self._seams).zone
            if zone is not None and self._only in (None, zone.type):
                key = GapKey(candle.open_time_ms, zone.type.value)
                if key not in self._live and key not in self._known:
                    self._add(LiveGap(key, zone, candle.close_time_ms))
                    changes.append(Found(key, zone, candle))
        self._tail = [*self._tail[-1:], candle]
        return changes

    def validate(self) -> None:
        """Raise AssertionError when the indexes and the gaps do not tell the same."""
        indexed = sorted(key for _, key in (*self._ups, *self._downs))
        if indexed != sorted(self._live) or self._known & self._live.keys():
            raise AssertionError((indexed, sorted(self._live)))
        if self._ups != sorted(self._ups) or self._downs != sorted(self._downs):
            raise AssertionError("not in order")
        for key, gap in self._live.items():
            if key != gap.key or gap.zone.low >= gap.zone.high:
                raise AssertionError(gap)

    def _note(self, candle: Candle) -> list[Noted]:
        """Stretches since the candle before that nobody saw whole."""
        spans = []
        if self._tail and candle.open_time_ms > self._tail[-1].close_time_ms:
            spans.append((self._tail[-1].close_time_ms, candle.open_time_ms))
        if not candle.complete:
            spans.append((candle.open_time_ms, candle.close_time_ms))
        return [
            Noted(keys, start_ms, end_ms)
            for start_ms, end_ms in spans
            if (keys := tuple(gap.key for gap in self.live if gap.since_ms <= start_ms))
        ]

    def _meet(self, candle: Candle) -> list[Change]:
        first_up = bisect_right(self._ups, (candle.low, GapKey(2**63, "")))
        last_down = bisect_left(self._downs, (candle.high, GapKey(-1, "")))
        met = [key for _, key in (*self._ups[first_up:], *self._downs[:last_down])]
        changes: list[Change] = []
        for key in sorted(met):
            gap = self._live[key]
            if candle.open_time_ms < gap.since_ms:
                continue
            is_up = gap.zone.type is GapType.UP
            if not gap.touched:
                changes.append(Touched(key, candle))
                self._live[key] = LiveGap(key, gap.zone, gap.since_ms, touched=True)
            if candle.low <= gap.zone.low if is_up else candle.high >= gap.zone.high:
                changes.append(Filled(key, candle, gap.zone.low if is_up else gap.zone.high))
                self._remove(gap)
        return changes

    def _add(self, gap: LiveGap) -> None:
        self._live[gap.key] = gap
        insort(*self._entry(gap))

    def _remove(self, gap: LiveGap) -> None:
        del self._live[gap.key]
        self._known.add(gap.key)
        index, entry = self._entry(gap)
        del index[bisect_left(index, entry)]

    def _entry(self, gap: LiveGap) -> tuple[list[tuple[int, GapKey]], tuple[int, GapKey]]:
        is_up = gap.zone.type is GapType.UP
        return (self._ups, (gap.zone.high, gap.key)) if is_up else (self._downs, (gap.zone.low, gap.key))
