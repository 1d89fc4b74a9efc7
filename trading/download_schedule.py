"""When candle files are brought up to date: a pure function of UTC time.

Shortly after candles close: those of up to an hour a minute later (60M at hh:01), those of up to half a day five (4H at
00:05, 04:05 …), longer ones ten (1D at 00:10). No clock is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS, Interval, parse_interval

__all__ = ["DownloadSchedule", "next_due_ms"]

_FIRST_RETRY_MS = MINUTE_MS
_LONGEST_RETRY_MS = 15 * MINUTE_MS


def next_due_ms(interval: Interval, after_ms: int) -> int:
    """The first time later than ``after_ms`` at which candles of ``interval`` are to be fetched."""
    delay_ms = _delay_ms(interval)
    return interval.close_of(interval.open_of(after_ms - delay_ms)) + delay_ms


def _delay_ms(interval: Interval) -> int:
    width_ms = interval.typical_ms
    if width_ms <= HOUR_MS:
        return min(MINUTE_MS, width_ms // 4)
    return 5 * MINUTE_MS if width_ms < DAY_MS else 10 * MINUTE_MS


class DownloadSchedule:
    """Says which of ``intervals`` are due. At first all are; a due time that was slept through, or many, are one.

    A failed download is due again after a minute, then two, four and so on up to fifteen, but no later than in its
    turn. A clock that is set back delays nothing by more than the interval itself.
    """

    def __init__(self, intervals: Sequence[str]) -> None:
        self.intervals = tuple(dict.fromkeys(parse_interval(text) for text in intervals))
        self._next_ms = dict.fromkeys(self.intervals, 0)
        self._failures = dict.fromkeys(self.intervals, 0)

    def due(self, now_ms: int) -> tuple[Interval, ...]:
        """Those whose time has come, each at most once."""
        return tuple(interval for interval in self.intervals if self._at_ms(interval, now_ms) <= now_ms)

    def next_ms(self, now_ms: int) -> int:
        """When something is due again, or was; ``now_ms`` is the present."""
        return min(self._at_ms(interval, now_ms) for interval in self.intervals)

    def done(self, interval: Interval, now_ms: int) -> None:
        """The download of ``interval`` that was due at ``now_ms`` has ended well."""
        self._failures[interval] = 0
        self._next_ms[interval] = next_due_ms(interval, now_ms)

    def failed(self, interval: Interval, now_ms: int, retry_after_s: float | None = None) -> None:
        """It has failed; ``retry_after_s`` is for how long the venue wants to be left alone."""
        wait_ms = min(_LONGEST_RETRY_MS, _FIRST_RETRY_MS * 2 ** min(self._failures[interval], 10))
        self._failures[interval] += 1
        again_ms = now_ms + max(wait_ms, round((retry_after_s or 0.0) * 1000))
        self._next_ms[interval] = min(again_ms, next_due_ms(interval, now_ms))

    def _at_ms(self, interval: Interval, now_ms: int) -> int:
        return min(self._next_ms[interval], next_due_ms(interval, now_ms))
