"""Which gaps of one market and interval become messages: what is news, and what was over before anybody listened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trading.events import Event
from trading.gaps.texts import closed_event, found_event, list_event, touched_event
from trading.intervals import parse_interval
from trading.storage.price_gaps import StoredChanges, StoredGap

__all__ = ["Listener", "News", "listens_from"]


class News(NamedTuple):
    """``messages`` to send, ``silent`` events besides, ``unsent`` ids of what is only stored and logged."""

    messages: tuple[Event, ...]
    silent: tuple[Event, ...]
    unsent: tuple[str, ...]


def listens_from(
    interval: str, start_ms: int, recent_bars: int, position_ms: int | None, newest_ms: int | None = None
) -> int:
    """From which close on gaps are told, decided once a start: those that a stop hid count, a whole past does not.

    ``start_ms`` is the venue's time at the start, ``position_ms`` how far an earlier run had come, None if there was
    none. ``newest_ms`` is for what began to be watched after the start: the close of its newest candle then.
    """
    if position_ms is None:
        return max(start_ms, newest_ms or 0)
    width = parse_interval(interval)
    # A stop of weeks ends with the latest gaps, not with hundreds of messages.
    recent_ms = width.open_of(start_ms) - recent_bars * width.typical_ms
    return min(start_ms, max(position_ms, recent_ms))


class Listener:
    """Pure. A closure is told when its candle closed after the start; a gap, too, and also one that a stop hid.

    The first pass ever over a market's history tells nothing of it but the list of the last candles.
    """

    def __init__(self, interval: str, start_ms: int, recent_bars: int, from_ms: int) -> None:
        """``start_ms`` is the venue's time at the start, ``from_ms`` what ``listens_from`` said then."""
        self._interval = parse_interval(interval)
        self._start_ms = max(start_ms, from_ms)
        self._found_from_ms = from_ms
        self._recent_bars = recent_bars
        self._boundary_ms = self._interval.open_of(start_ms)

    def news(self, stored: StoredChanges, timezone: str) -> News:
        """What ``stored`` means to those who listen, in the order of time."""
        messages: list[Event] = []
        unsent: list[str] = []
        for gap in stored.found:
            closed_ms = self._interval.close_of(gap.start_ms)
            if closed_ms > self._found_from_ms:
                messages.append(found_event(gap, timezone))
            else:
                unsent.append(gap.id)
        touches = [
            (gap, self._interval.close_of(gap.touched_ms)) for gap in stored.touched if gap.touched_ms is not None
        ]
        silent = [touched_event(gap, at_ms) for gap, at_ms in touches if at_ms > self._start_ms]
        for gap in stored.filled:
            if gap.closed_ms is None:
                raise AssertionError(gap)
            at_ms = self._interval.close_of(gap.closed_ms)
            if at_ms > self._start_ms:
                messages.append(closed_event(gap, at_ms))
            else:
                unsent.append(gap.id)
        messages.sort(key=lambda event: event.event_time_ms)
        return News(tuple(messages), tuple(silent), tuple(dict.fromkeys(unsent)))

    def list_span(self, before_ms: int | None, upto_ms: int) -> tuple[int, int] | None:
        """[from, to) of the starts to list: once, when all candles that closed before the start are handled."""
        if (before_ms or 0) < self._boundary_ms <= upto_ms:
            return self._boundary_ms - self._recent_bars * self._interval.typical_ms, self._boundary_ms
        return None

    def list_event(
        self, market: str, mode: str, gaps: Sequence[StoredGap], at_ms: int, timezone: str
    ) -> list[Event]:  # fmt: skip
        """The list as a message; none for no gaps, which would be noise."""
        if not gaps:
            return []
        return [list_event(market, self._interval.name, mode, gaps, self._recent_bars, at_ms, timezone)]
