"""What a venue's dialect is made of: its REST answers, what it says and hears on a websocket, and its limits."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from aiohttp import web

from trading.intervals import parse_interval
from trading.venues.simulator.faults import RestFault, Send, Shown
from trading.venues.simulator.session import Session
from trading.venues.simulator.tape import CLOSE_DELAY_MS

__all__ = ["Answer", "Asked", "Dialect", "Peer", "Refused", "VenueLimits", "Weights"]


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """The venue's own rules, for tests to shorten: None is what the venue has.

    ``weight`` may be used in each ``window_s``. ``ban_s`` is how long a venue that bans does so, ``ban_step_s`` what
    each request meanwhile adds. A connection ends when ``pong_timeout_s`` passes without an answer to a ping, or, where
    the venue has such a rule, ``silence_s`` without a message.
    """

    ping_interval_s: float | None = None
    pong_timeout_s: float | None = None
    silence_s: float | None = None
    weight: int | None = None
    window_s: float | None = None
    ban_s: float | None = None
    ban_step_s: float | None = None


class Peer(Protocol):
    """One websocket client, as a dialect sees it.

    ``streams`` are the names of what it subscribed to; ``wrapped`` and ``unanswered`` are the dialect's own to use.
    """

    streams: dict[str, None]
    wrapped: bool
    frozen: bool
    unanswered: int
    last_sent_s: float
    last_pong_s: float
    ping_payload: bytes

    async def say(self, text: str) -> None: ...

    async def ping(self) -> None: ...

    async def close(self, code: int, reason: str = "") -> None: ...

    def abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A REST request: ``label`` is what a fault's ``path`` is looked for in."""

    label: str
    query: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A REST answer; ``weight`` is what it costs beyond the request itself."""

    text: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    weight: int = 0


class Refused(Exception):
    """The request is wrong; ``answer`` says so in the venue's way."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


class Weights:
    """Counts request weight: per whole minute of the host's clock, or, for a venue that bans, in a sliding window."""

    def __init__(self, limit: int, window_s: float, ban_s: float = 0.0, step_s: float = 0.0) -> None:
        self.limit = limit
        self._window_s = window_s
        self._ban_s = ban_s
        self._step_s = step_s
        self._banned_until_s = float("-inf")
        self._window = 0
        self._used = 0
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def used(self) -> int:
        """The weight used in the present window."""
        return self._used

    def take(self, weight: int) -> int | None:
        """Count one request; return the seconds to wait if it is over the limit."""
        if not self._ban_s:
            window = int(time.time() // self._window_s)
            if window != self._window:
                self._window, self._used = window, 0
            self._used += weight
            return int(self._window_s - time.time() % self._window_s) + 1 if self._used > self.limit else None
        now_s = time.monotonic()
        if now_s < self._banned_until_s:
            self._banned_until_s += self._step_s
            return int(self._banned_until_s - now_s) + 1
        while self._recent and self._recent[0][0] <= now_s - self._window_s:
            self._used -= self._recent.popleft()[1]
        self._recent.append((now_s, weight))
        self._used += weight
        if self._used <= self.limit:
            return None
        self._banned_until_s = now_s + self._ban_s
        return int(self._ban_s) + 1

    def charge(self, weight: int) -> None:
        """Count what an answer turned out to cost."""
        self._used += weight
        if self._recent:
            at_s, asked = self._recent.pop()
            self._recent.append((at_s, asked + weight))


class Dialect(ABC):
    """One venue's manners over a Session. ``now`` brings the session up to the present; it returns the venue's time."""

    venue: ClassVar[str]
    intervals: ClassVar[Mapping[str, str]]
    """The venue's own intervals: canonical name → what it writes."""
    symbol_pattern: ClassVar[str]
    stream_base: ClassVar[str] = ""
    """What follows the host in the address that a configuration names as ``stream_url``."""
    horizon_rows: ClassVar[int | None] = None
    """How many of the newest candles of an interval REST shows at all; None: every one."""
    settle_ms: ClassVar[int] = CLOSE_DELAY_MS
    limits: ClassVar[VenueLimits]
    binary: ClassVar[bool] = False
    messages_per_second: ClassVar[int | None] = None
    connections: ClassVar[int] = 1000

    def __init__(self, session: Session, now: Callable[[], int], limits: VenueLimits | None = None) -> None:
        limits = limits or VenueLimits()
        self.session = session
        self.now = now
        self.rules = VenueLimits(
            **{
                name: getattr(self.limits, name) if getattr(limits, name) is None else getattr(limits, name)
                for name in VenueLimits.__dataclass_fields__
            }
        )
        rules = self.rules
        self.weights = Weights(rules.weight or 1, rules.window_s or 60.0, rules.ban_s or 0.0, rules.ban_step_s or 0.0)
        self.requests = 0
        self.symbols = list(session.tapes)

    # REST

    @abstractmethod
    def rest_routes(self) -> list[web.AbstractRouteDef]:
        """The paths that the venue answers."""

    @abstractmethod
    def failure(self, fault: RestFault) -> Answer:
        """Word the error that a fault or a limit makes of a request."""

    def answering(self, weight: Callable[[Asked], int], answer: Callable[[Asked], Answer]) -> Any:
        """Return a handler that counts, suffers what faults are armed, keeps the limit, and then answers."""

        async def handle(request: web.Request) -> web.Response:
            self.requests += 1
            asked = self.ask(request, await request.text())
            wait_s = self.weights.take(weight(asked))
            fault = self.session.faults.rest(asked.label)
            if fault.seconds:
                await asyncio.sleep(fault.seconds)
            if not fault.status and wait_s is not None:
                fault = RestFault(status=429, retry_after=wait_s)
            if fault.status:
                return self._response(self.failure(fault))
            try:
                answered = answer(asked)
            except Refused as refused:
                answered = refused.answer
            self.weights.charge(answered.weight)
            return self._response(answered)

        return handle

    def ask(self, request: web.Request, _body: str) -> Asked:
        return Asked(request.path, dict(request.query), tuple(request.query))

    def headers(self) -> Mapping[str, str]:
        """What every answer carries."""
        return {}

    def _response(self, answer: Answer) -> web.Response:
        return web.Response(
            text=answer.text,
            status=answer.status,
            headers={**self.headers(), **answer.headers},
            content_type=answer.content_type,
            charset="UTF-8",
        )

    def told_ms(self) -> int:
        """The time that the venue says it is."""
        return self.now() + self.session.faults.clock_offset_ms

    def rows(self, symbol: str, interval: str, limit: int, start_ms: int | None, end_ms: int | None) -> Shown:
        """The klines that REST shows, ascending and with the open one, perhaps with a spoiled one."""
        now_ms = self.now()
        tape = self.session.tapes[symbol]
        rows = tape.klines(parse_interval(interval), now_ms, limit, start_ms=start_ms, end_ms=end_ms)
        return self.session.faults.rows(rows, now_ms)

    # Websocket

    @abstractmethod
    def socket_paths(self) -> list[str]:
        """Where a websocket can be opened."""

    @abstractmethod
    def stream(self, symbol: str, interval: str) -> str | None:
        """The name that Peer.streams has for a subscription to these candles; None where there is none."""

    @abstractmethod
    def topic(self, stream: str) -> tuple[str, str] | None:
        """The (symbol, interval) of a stream's name; None for one that has no candles."""

    @abstractmethod
    def text(self, send: Send) -> str | None:
        """Word one message; None where the venue would say nothing."""

    def wrap(self, stream: str, text: str) -> str:
        """Word a message for a peer that wants it ``wrapped``."""
        return text

    def welcome(self, peer: Peer, request: web.Request) -> list[str]:
        """Take a new connection; return what is said first."""
        return []

    @abstractmethod
    def hear(self, peer: Peer, text: str) -> list[str]:
        """Take one message from ``peer``; return the answers."""

    @abstractmethod
    async def keep_alive(self, peer: Peer) -> None:
        """Do for the length of a connection what the venue does to find dead ones."""

    def farewell(self, now_ms: int) -> tuple[str, str] | None:
        """What announces the end of a connection: (stream, text), or None."""
        return None

    @abstractmethod
    def error_text(self) -> str:
        """An error message that concerns nothing in particular."""

    def acknowledges(self) -> bool:
        """Whether a subscription that is made now is acknowledged."""
        return self.session.faults.use("no_ack") is None

    def loses(self) -> bool:
        """Whether a subscription that is made now is lost."""
        return self.session.faults.use("lose_subscription") is not None
