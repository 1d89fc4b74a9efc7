"""What every venue's folder provides, and the one way to reach it: ``adapter("binance")``.

A folder holds ``messages.py`` (what the venue says), ``history.py`` (its REST side), ``stream.py`` (how its socket is
spoken), ``quality.yaml`` (what of it is done, and which test proves it), and names its parts as ``ADAPTER``. All else,
sockets, reconnects, paging of a feed, is common to all venues.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from trading.candles import Candle
from trading.clock import TimeSample
from trading.errors import BadInput
from trading.feed_events import Anomaly
from trading.markets import VENUES, Market

__all__ = [
    "Adapter",
    "Budget",
    "Forming",
    "History",
    "Limiter",
    "Message",
    "Pace",
    "Page",
    "Reader",
    "Rows",
    "ServerShutdown",
    "Wire",
    "adapter",
]


class Page(NamedTuple):
    """One answer about closed candles. ``through_ms`` is the time before which it is complete: every candle asked for
    below it is either in ``candles``, in ``unusable``, or absent at the venue. ``more`` means that there is, or may be,
    more to ask for from ``through_ms`` on. ``unusable`` are the open times of rows that hold no usable candle.
    """

    candles: tuple[Candle, ...]
    through_ms: int
    more: bool
    unusable: tuple[int, ...]
    anomalies: tuple[Anomaly, ...]


class Rows(NamedTuple):
    """REST rows, read. ``unusable`` are the minutes of rows that hold no usable candle; ``anomalies`` say why.

    ``is_whole`` is False when a row did not even tell its minute: then the rows cannot prove that any is absent.
    """

    candles: tuple[Candle, ...]
    unusable: tuple[int, ...]
    anomalies: tuple[Anomaly, ...]
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Forming:
    """A sign of life: the candle that is still open, or None for a message without one, or one that nobody wanted."""

    candle: Candle | None = None


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    """The venue will soon close this connection."""


Message = Candle | Forming | ServerShutdown | Anomaly
"""What a venue's message means. A Candle is closed."""


class Budget(NamedTuple):
    """``weight`` that requests may cost together in any ``window_s`` seconds, for one address."""

    weight: int
    window_s: float


class Pace(NamedTuple):
    """How much of one socket a venue allows: ``symbols`` on it, our ``messages_per_s``, and ``spacing_s`` between two
    attempts to connect.
    """

    symbols: int
    messages_per_s: float
    spacing_s: float


class Limiter(Protocol):
    """Keeps requests below a venue's limit, for all who share an address."""

    limit: int

    def lower(self, limit: int) -> None:
        """Take the venue's own limit if it is less."""
        ...

    def used(self) -> int:
        """Weight spent in the running window, as far as known here."""
        ...

    def observe(self, used: int) -> None:
        """Note the venue's own count: more than ours means that others use the same address."""
        ...

    def block(self, seconds: float) -> None:
        """The venue wants no request for ``seconds``."""
        ...

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, and spend it; VenueRetryable if the venue ordered a long pause."""
        ...


class Reader(Protocol):
    """Reads one market's messages. Pure but for what it must remember of the stream; one per connection."""

    def read(self, raw: str | bytes, received_ns: int, *, want_forming: bool = True) -> Sequence[Message]:
        """What ``raw`` means, in order; empty for an answer to a command. Raises on nothing that a venue may send.

        With ``want_forming`` false, a forming candle need not be read: ``Forming()`` says as much.
        """
        ...


class Wire(Protocol):
    """How a venue's socket is spoken, for any number of symbols at once. Text only, no I/O.

    ``ping`` is the venue's own text ping and the seconds between two; None: the websocket's pings do.
    """

    @property
    def url(self) -> str: ...
    @property
    def pace(self) -> Pace: ...
    @property
    def ping(self) -> tuple[float, str] | None: ...

    def subscribe(self, symbols: Sequence[str]) -> list[str]:
        """The messages that ask for ``symbols``, as few as the venue allows."""
        ...

    def unsubscribe(self, symbols: Sequence[str]) -> list[str]: ...

    def route(self, raw: str | bytes) -> str | None:
        """Whose message it is: a symbol, ``""`` for everyone on this socket (a sign of life, a shutdown, an error,
        something unreadable), None for nobody (an answer to a command, a greeting).
        """
        ...

    def answer(self, raw: str | bytes) -> str | None:
        """What the venue wants to hear in reply to ``raw``, such as its own text ping; mostly None."""
        ...


class History(Protocol):
    """A venue's REST side, public data only. ``async with`` it, or call ``close``.

    Every method raises ConfigError for what only a changed configuration cures, VenueAuth when the venue refuses this
    address, and VenueRetryable, with the venue's own waiting time if it gave one, for everything that may pass.
    """

    @property
    def limiter(self) -> Limiter: ...
    @property
    def requests(self) -> int: ...
    @property
    def retries(self) -> int: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def close(self) -> None: ...

    async def time(self) -> TimeSample:
        """The venue's time, paired with the host's midpoint between question and answer."""
        ...

    async def market(self, symbol: str) -> Market:
        """``symbol`` as the venue describes it; ConfigError with the nearest names when the venue does not know it.

        An alias gives the market it stands for: its ``symbol`` then differs from what was asked, and ``warning`` says
        what a user must know.
        """
        ...

    async def page(self, symbol: str, interval: str, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        """Ask once for closed candles from ``from_ms`` on, oldest first, at most a little past ``to_ms``.

        ``interval`` is a canonical name that the adapter lists as native. A candle that closes after ``closed_by_ms``,
        a venue time that has surely passed, counts as open unless a later row, or the venue itself, proves it closed.
        Candles of 1m carry source ``rest``, longer ones ``native``.
        """
        ...

    def horizon_ms(self, interval: str) -> int | None:
        """How far back from its present the venue shows ``interval`` at all; None: to the market's beginning."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """One venue's parts.

    ``intervals`` are the canonical names of the candles that its REST side gives. ``budget`` reads the request limit
    from the venue's settings. ``history`` takes the settings and, by keyword, ``origin``, ``limiter``, ``clock`` and
    ``jitter``; ``wire`` the settings; ``reader`` a market's key and its symbol. ``doubt_ms`` is how far the clock that
    the venue tells may be ahead of the one its candles close by. ``proves_close``: what the reader tells as a closed
    candle was said to be closed by the venue; without it, REST confirms each minute a little later.
    """

    venue: str
    intervals: tuple[str, ...]
    budget: Callable[[Any], Budget]
    history: Callable[..., History]
    wire: Callable[[Any], Wire]
    reader: Callable[[str, str], Reader]
    doubt_ms: int = 0
    proves_close: bool = True


def adapter(venue: str) -> Adapter:
    """The adapter of ``venue``, imported when first asked for; BadInput for a venue without one."""
    if venue not in VENUES:
        raise BadInput(
            f"Manta has no connection to venue {venue!r}: it can only hold imported candles.",
            field="venue",
            value=venue,
            fix=f"Use one of {', '.join(VENUES)}.",
        )
    found: Adapter = importlib.import_module(f"trading.venues.{venue}").ADAPTER
    return found
