"""What a feed's pure core is told, and what it asks for in return.

Every event carries ``mono``, the host's monotonic seconds, which alone drives time-outs and back-off; venue time is
given where a decision needs it. Minutes are ``from_ms`` inclusive, ``to_ms`` exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from trading.candles import Candle
from trading.events import StreamItem

__all__ = [
    "Alive",
    "Anomaly",
    "Close",
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "Emit",
    "FeedCounters",
    "FeedEvent",
    "Fetch",
    "Fetched",
    "Final",
    "Forget",
    "Found",
    "Garbage",
    "Instruction",
    "Open",
    "QualityNote",
    "Refetch",
    "Resume",
    "Retiring",
    "Status",
    "Tick",
]


class Anomaly(NamedTuple):
    """Something a venue sent that is no usable candle: a ``data_quality`` row of kind ``anomaly``.

    ``reason`` is one of malformed, unknown, server_error, wrong_symbol, wrong_interval, unaligned, too_fine, insane,
    jump, future, revised, out_of_order, overflow, unconfirmed. The times are those of the minute in question, 0 when
    it is unknown.
    """

    market: str
    reason: str
    detail: str
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class Resume:
    """Start, or go back to ``high_water_ms``, the close time up to which every minute is stored.

    Without one, history is asked from ``warmup_from_ms`` on; without that, the first candle of the stream is the first.
    ``missing`` are stored holes that are still to be healed, ``unconfirmed`` stored minutes that only the stream told.
    """

    mono: float
    high_water_ms: int | None = None
    warmup_from_ms: int | None = None
    missing: tuple[tuple[int, int], ...] = ()
    unconfirmed: tuple[Candle, ...] = ()


@dataclass(frozen=True, slots=True)
class Refetch:
    """Minutes already told were lost downstream: fetch them again and tell them as a Heal."""

    mono: float
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The venue will never show these told minutes: ask for them no more. They stay missing."""

    mono: float
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """Closed candles of told minutes, ascending, that were had by another way: tell them as Heals."""

    mono: float
    candles: tuple[Candle, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """Socket ``conn`` (a number that is never used twice) is open."""

    mono: float
    conn: int


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The socket asked for by the last Open could not be opened; ``retry_after_s`` is the venue's wish, if any."""

    mono: float
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Socket ``conn`` was closed by the venue or broke."""

    mono: float
    conn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Retiring:
    """Socket ``conn`` is old, or the venue announced that it will close it."""

    mono: float
    conn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Alive:
    """Socket ``conn`` brought market data that is no closed candle. Said at most once a second."""

    mono: float
    conn: int


@dataclass(frozen=True, slots=True)
class Final:
    """Socket ``conn`` brought a closed candle. ``venue_ms`` is the venue's time now, None when unknown."""

    mono: float
    conn: int
    candle: Candle
    venue_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Garbage:
    """A message that is no usable candle."""

    mono: float
    anomaly: Anomaly


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to the Fetch that began at ``from_ms``.

    ``candles`` are closed and ascending. ``through_ms`` is the time before which the answer is complete, because the
    venue showed a later row: a minute below it that has no candle is absent at the venue. ``more`` says that the page
    was full. ``unusable`` are open times of rows that hold no usable candle: those minutes are not absent but unknown.
    ``error`` is set when there is no answer; ``retry_after_s`` is how long the venue wants to be left alone.
    """

    mono: float
    from_ms: int
    candles: tuple[Candle, ...] = ()
    through_ms: int = 0
    more: bool = False
    unusable: tuple[int, ...] = ()
    error: str | None = None
    retry_after_s: float | None = None
    anomalies: tuple[Anomaly, ...] = ()

    def until(self, time_ms: int) -> Fetched:
        """This answer as if REST had shown nothing from ``time_ms`` on."""
        return replace(
            self,
            candles=tuple(row for row in self.candles if row.open_time_ms < time_ms),
            through_ms=min(self.through_ms, time_ms),
            more=False,
            unusable=tuple(opened for opened in self.unusable if opened < time_ms),
        )


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. ``venue_ms`` is the venue's time, None when unknown or standing still."""

    mono: float
    venue_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell these items downstream, in order; at most 1000. Afterwards every minute before ``upto_ms`` is told."""

    items: tuple[StreamItem, ...]
    upto_ms: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask REST once for the rows from ``from_ms`` on, enough to see one at or after ``to_ms`` (None: a full page).

    It ``confirms`` when the stream has told those minutes, and ones after ``to_ms`` as well.
    """

    from_ms: int
    to_ms: int | None = None
    confirms: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """Open a new socket in ``delay_s`` seconds; existing ones stay."""

    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close socket ``conn``; no Disconnected is expected."""

    conn: int
    reason: str


@dataclass(frozen=True, slots=True)
class QualityNote:
    """Store and count this anomaly."""

    anomaly: Anomaly


@dataclass(frozen=True, slots=True)
class Status:
    """The feed went down or came back: said once for each transition, never at a start that works at once."""

    up: bool
    reason: str


FeedEvent = (
    Resume
    | Refetch
    | Forget
    | Found
    | Connected
    | ConnectFailed
    | Disconnected
    | Retiring
    | Alive
    | Final
    | Garbage
    | Fetched
    | Tick
)
Instruction = Emit | Fetch | Open | Close | QualityNote | Status


@dataclass(slots=True)
class FeedCounters:
    """What a feed has seen since it started."""

    finals: int = 0
    duplicates: int = 0
    emitted: int = 0
    holes_absent: int = 0
    holes_missing: int = 0
    healed: int = 0
    confirmed: int = 0
    corrected: int = 0
    connections: int = 0
    reconnects: int = 0
    downs: int = 0
    fetches: int = 0
    fetch_failures: int = 0
    overflowed: int = 0
    anomalies: dict[str, int] = field(default_factory=dict)
