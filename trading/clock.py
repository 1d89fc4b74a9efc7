"""Clocks. Decisions use event time; only staleness and lateness ask what time it is at the venue.

A host has two clocks. Its *wall* clock is what people read and what stamps are made of; NTP, an operator or a wrong
battery may move it by an hour at any moment. Its *steady* clock counts on, through suspend too, and nobody can set it;
all processes of one boot of one host read the same. So every duration here is a difference of the steady clock.

``VenueClock`` turns a pair (venue time, host time) into the venue's present time. Its ``rate`` is 1 on a real venue,
N when the simulator plays N times faster, and 0 in lockstep, where time stands still unless a candle moves it.
"""

from __future__ import annotations

import functools
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

__all__ = ["HostClock", "HostTime", "ReplayClock", "SystemClock", "TimeSample", "VenueClock", "steady_ns"]

# Linux's clock that counts while the machine sleeps; where there is none, monotonic time is the nearest.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class HostTime(NamedTuple):
    """One moment of a host: its steady clock, its wall clock, and which boot the steady clock counts from."""

    steady_ns: int
    wall_ns: int
    boot: str

    def since(self, earlier: HostTime) -> int:
        """Nanoseconds from ``earlier`` to this moment, never below 0.

        Between two hosts, or two boots of one, only wall clocks can be compared: right as far as NTP keeps them.
        """
        if self.boot == earlier.boot:
            return max(0, self.steady_ns - earlier.steady_ns)
        return max(0, self.wall_ns - earlier.wall_ns)


class HostClock(Protocol):
    """What the host says: wall time for stamps, monotonic seconds for time-outs, and both clocks of this moment."""

    def time_ns(self) -> int: ...
    def monotonic(self) -> float: ...
    def now(self) -> HostTime: ...


class SystemClock:
    """The host's own clocks."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> HostTime:
        return HostTime(steady_ns(), time.time_ns(), _boot())


@dataclass(slots=True)
class ReplayClock:
    """A clock that moves only when told to: for tests and replays."""

    now_ns: int = 0
    wall_offset_ns: int = 0
    boot: str = "replay"

    def time_ns(self) -> int:
        return self.now_ns + self.wall_offset_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9

    def now(self) -> HostTime:
        return HostTime(self.now_ns, self.time_ns(), self.boot)

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as NTP does; steady time goes on."""
        self.wall_offset_ns += round(seconds * 1e9)


class TimeSample(NamedTuple):
    """The venue's time ``venue_ms`` as known at the moment ``host`` of some host."""

    venue_ms: int
    host: HostTime


@dataclass(slots=True)
class VenueClock:
    """The venue's present time, from the newest sample.

    A step of the host's wall clock changes nothing. A sample of another host, or of an earlier boot, is brought over by
    wall time once, when it is observed; from then on this host's steady clock counts.
    """

    rate: float = 1.0
    sample: TimeSample | None = None
    clock: HostClock = field(default_factory=SystemClock)

    def observe(self, sample: TimeSample | None) -> None:
        if sample is None:
            return
        now = self.clock.now()
        if sample.host.boot != now.boot:
            sample = TimeSample(self._later(sample, now), now)
        self.sample = sample

    def now_ms(self, event_time_ms: int) -> int:
        """The venue's time now; in lockstep, or before any sample, ``event_time_ms`` itself."""
        if self.rate == 0 or self.sample is None:
            return event_time_ms
        return self._later(self.sample, self.clock.now())

    def _later(self, sample: TimeSample, now: HostTime) -> int:
        return sample.venue_ms + round(now.since(sample.host) / 1e6 * self.rate)


def steady_ns() -> int:
    """Nanoseconds of this host's steady clock, the same in all its processes."""
    return time.clock_gettime_ns(_STEADY)


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
