"""Clocks. Decisions use event time; only staleness and lateness ask what time it is at the venue.

``VenueClock`` turns a pair (venue time, host time) into the venue's present time. Its ``rate`` is 1 on a real venue,
N when the simulator plays N times faster, and 0 in lockstep, where time stands still unless a candle moves it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["HostClock", "ReplayClock", "SystemClock", "TimeSample", "VenueClock"]


class HostClock(Protocol):
    """What the host says: wall time for stamps, monotonic time for time-outs."""

    def time_ns(self) -> int: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The host's own clocks."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class ReplayClock:
    """A clock that moves only when told to: for tests and replays."""

    now_ns: int = 0

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class TimeSample(NamedTuple):
    """The venue's time ``venue_ms`` as known at host time ``host_ns`` (``time.time_ns``)."""

    venue_ms: int
    host_ns: int


@dataclass(slots=True)
class VenueClock:
    """The venue's present time, from the newest sample."""

    rate: float = 1.0
    sample: TimeSample | None = None

    def observe(self, sample: TimeSample | None) -> None:
        if sample is not None:
            self.sample = sample

    def now_ms(self, host_ns: int, event_time_ms: int) -> int:
        """The venue's time at host time ``host_ns``; in lockstep, or before any sample, ``event_time_ms`` itself."""
        if self.rate == 0 or self.sample is None:
            return event_time_ms
        return self.sample.venue_ms + round((host_ns - self.sample.host_ns) / 1e6 * self.rate)
