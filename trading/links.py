"""The life of a feed's sockets, without the sockets: when to open, replace and give up on one.

A planned replacement opens the new socket, waits for its data, then closes the old. An unplanned loss backs off with
full jitter: the n-th attempt in a row waits a random time up to 2**n seconds, at most 15 minutes, and attempts are
never closer than one second, because venues count them. Data on a socket ends the row of attempts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trading.feed_events import Close, FeedCounters, Instruction, Open, Status

__all__ = ["BACKOFF_CAP_S", "Links", "full_jitter"]

BACKOFF_CAP_S = 900.0
_LEAST_SPACING_S = 1.0
_LARGEST_EXPONENT = 10


def full_jitter(attempt: int, random: Callable[[], float], cap_s: float = BACKOFF_CAP_S) -> float:
    """Seconds to wait before attempt number ``attempt`` (0 is the first): uniform in [0, min(cap, 2**attempt))."""
    return float(random() * min(cap_s, 2.0 ** min(attempt, _LARGEST_EXPONENT)))


@dataclass(slots=True)
class _Link:
    last_data: float
    has_data: bool = False


class Links:
    """The sockets of one feed. At most two are open at a time, and at most one is being opened."""

    def __init__(self, silence_timeout_s: float | None, random: Callable[[], float], counters: FeedCounters) -> None:
        self._silence_timeout_s = silence_timeout_s
        self._random = random
        self._counters = counters
        self._links: dict[int, _Link] = {}
        self._opening = False
        self._attempt = 0
        self._last_open: float | None = None
        self._said_down = False

    @property
    def up(self) -> bool:
        """Whether market data is flowing."""
        return any(link.has_data for link in self._links.values())

    @property
    def said_down(self) -> bool:
        return self._said_down

    def start(self, mono: float, reason: str) -> list[Instruction]:
        """Open the first socket, unless there is one."""
        return [] if self._links or self._opening else [self._open(mono, 0.0, reason)]

    def recall_down(self) -> None:
        """A feed before this one was told as down, and not as back: the first data is the news that it is."""
        self._said_down = not self.up

    def connected(self, mono: float, conn: int) -> None:
        self._opening = False
        self._counters.connections += 1
        self._links[conn] = _Link(mono)

    def connect_failed(self, mono: float, reason: str, retry_after_s: float | None = None) -> list[Instruction]:
        self._opening = False
        out = [] if self._links else self._down(reason)
        return [*out, self._backed_off(mono, reason, retry_after_s or 0.0)]

    def lost(self, mono: float, conn: int, reason: str) -> list[Instruction]:
        """Socket ``conn`` is gone. Sockets that this class closed itself are no news."""
        if self._links.pop(conn, None) is None or self._links:
            return []
        out = self._down(reason)
        return out if self._opening else [*out, self._backed_off(mono, reason)]

    def retiring(self, mono: float, conn: int, reason: str) -> list[Instruction]:
        """Socket ``conn`` will end soon, by its age or by the venue's will: open the one that replaces it."""
        if conn not in self._links or self._opening or len(self._links) > 1:
            return []
        return [self._open(mono, 0.0, reason)]

    def data(self, mono: float, conn: int) -> list[Instruction]:
        """Socket ``conn`` brought market data: older sockets are no longer needed."""
        link = self._links.get(conn)
        if link is None:
            return []
        link.last_data = mono
        if link.has_data:
            return []
        link.has_data = True
        self._attempt = 0
        out: list[Instruction] = []
        for old in [number for number in self._links if number < conn]:
            del self._links[old]
            out.append(Close(old, "replaced"))
        if self._said_down:
            self._said_down = False
            out.append(Status(True, "market data is back"))
        return out

    def tick(self, mono: float) -> list[Instruction]:
        """Give up on silent sockets."""
        out: list[Instruction] = []
        limit = self._silence_timeout_s
        if limit is not None:
            for conn in [number for number, link in self._links.items() if mono - link.last_data > limit]:
                reason = f"silent for {limit:g} s"
                out.append(Close(conn, reason))
                out += self.lost(mono, conn, reason)
        return out

    def validate(self) -> None:
        """Raise AssertionError if an invariant is broken."""
        if len(self._links) > 2:
            raise AssertionError(f"{len(self._links)} sockets are open")
        if self._said_down and self.up:
            raise AssertionError("told as down while data flows")

    def _down(self, reason: str) -> list[Instruction]:
        if self._said_down:
            return []
        self._said_down = True
        self._counters.downs += 1
        return [Status(False, reason)]

    def _backed_off(self, mono: float, reason: str, least_s: float = 0.0) -> Open:
        delay = max(least_s, full_jitter(self._attempt, self._random))
        self._attempt += 1
        return self._open(mono, delay, reason)

    def _open(self, mono: float, delay_s: float, reason: str) -> Open:
        if self._last_open is not None:
            self._counters.reconnects += 1
            delay_s = max(delay_s, self._last_open + _LEAST_SPACING_S - mono)
        self._last_open = mono + delay_s
        self._opening = True
        return Open(delay_s, reason)
