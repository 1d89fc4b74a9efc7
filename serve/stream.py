"""The live stream: table ``events`` in order of ``seq``, plus forming candles and how far searches are, to WebSockets.

NOTIFY is only a wake-up. What a client gets is read from the table (or from the replica's copy of its newest rows), so
a client that comes back with ``after`` misses nothing and sees nothing twice, whichever replica answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from serve.database import Database
from serve.problems import DATABASE_DOWN
from serve.security import SUBPROTOCOL
from trading.storage.searches import CHANNEL

__all__ = ["CLOSE_BUSY", "CLOSE_SHUTDOWN", "CLOSE_TOO_SLOW", "Hub", "Wanted"]

CLOSE_SHUTDOWN = 1012
CLOSE_BUSY = 1013
CLOSE_TOO_SLOW = 4008

_EVENTS_CHANNEL = "manta_events"
_FORMING_CHANNEL = "manta_forming"
_RING = 2000
_MOST_RUNS = 32
_PAGE = 500
_MAX_CLIENTS = 64
_POLL_S = 5.0
_PAGE_SQL = """
select seq, kind, stream, payload ->> 'market' as market, json_build_object('kind', kind, 'v', v, 'event_time_ms',
ms(event_time),
    'received_ns', received_ns, 'cause_id', cause_id, 'stream', stream, 'seq', seq, 'payload', payload)::text as text
from events where seq > $1 order by seq limit $2
"""
_log = structlog.get_logger(__name__)


class _Sent(NamedTuple):
    seq: int
    kind: str
    stream: str
    market: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one client asked for; empty sets mean everything. Events of no market (start, stop) pass every market
    filter.
    """

    kinds: frozenset[str] = frozenset()
    markets: frozenset[str] = frozenset()

    def takes(self, item: _Sent) -> bool:
        if self.kinds and item.kind not in self.kinds:
            return False
        market = item.market or (item.stream if ":" in item.stream else None)
        return not self.markets or market is None or market in self.markets

    def takes_runs(self) -> bool:
        return not self.kinds or "run" in self.kinds

    def takes_forming(self, market: str) -> bool:
        return (not self.kinds or "forming" in self.kinds) and (not self.markets or market in self.markets)


@dataclass(slots=True)
class Hub:
    """One listener for all clients of a replica.

    It keeps the newest 2,000 events, one forming candle a market, and what each of the newest searches said last;
    nothing here needs to survive. A client that does not take a message within ``send_timeout_s`` is closed with 4008
    and may resume; more than 64 clients get 1013.
    """

    database: Database
    heartbeat_s: float = 15.0
    send_timeout_s: float = 10.0
    last_seq: int = 0
    forming: dict[str, tuple[int, str]] = field(default_factory=dict)
    runs: dict[str, tuple[int, str]] = field(default_factory=dict)
    _ring: deque[_Sent] = field(default_factory=lambda: deque(maxlen=_RING))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _clients: int = 0
    _passing_count: int = 0
    _stopping: bool = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="event listener")

    async def stop(self) -> None:
        """Close every stream with 1012 and let go of the database."""
        self._stopping = True
        self._announce()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def forming_of(self, market: str) -> dict[str, Any] | None:
        """The newest forming 1m candle of a market, None when unknown."""
        known = self.forming.get(market)
        return dict(json.loads(known[1])["payload"]) if known else None

    async def serve(self, socket: WebSocket, after: int | None, wanted: Wanted) -> None:
        """Feed one client until it leaves, is too slow, or the replica stops."""
        await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
        if self._clients >= _MAX_CLIENTS or self._stopping:
            await socket.close(CLOSE_BUSY, "too many streams, try again later")
            return
        self._clients += 1
        gone = asyncio.create_task(_until_gone(socket))
        feed = asyncio.create_task(self._feed(socket, after, wanted))
        try:
            await asyncio.wait({gone, feed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients -= 1
            for task in (gone, feed):
                task.cancel()
            for outcome in await asyncio.gather(gone, feed, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
                    _log.error("stream_failed", exc_info=outcome)

    async def _feed(self, socket: WebSocket, after: int | None, wanted: Wanted) -> None:
        code, reason = CLOSE_SHUTDOWN, "the server stops, connect again"
        try:
            await asyncio.wait_for(self._ready.wait(), self.send_timeout_s)
            await self._pump(socket, after, wanted)
        except _TooSlow:
            code, reason = CLOSE_TOO_SLOW, "messages are not read fast enough, resume with after=SEQ"
        except DATABASE_DOWN:
            code, reason = CLOSE_BUSY, "the database cannot be reached, resume with after=SEQ"
        if socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
                await asyncio.wait_for(socket.close(code, reason), 2)

    async def _pump(self, socket: WebSocket, after: int | None, wanted: Wanted) -> None:
        reset = after is not None and after > self.last_seq
        seq = self.last_seq if after is None or reset else after
        await self._send(
            socket, json.dumps({"kind": "hello", "seq": self.last_seq, "resumed_after": seq, "reset": reset})
        )
        shown = 0
        while not self._stopping:
            changed = self._changed
            for item in await self._after(seq):
                seq = item.seq
                if wanted.takes(item):
                    await self._send(socket, item.text)
            for number, text in self._newer(shown, wanted):
                shown = max(shown, number)
                await self._send(socket, text)
            if seq < self.last_seq:
                continue
            try:
                await asyncio.wait_for(changed.wait(), self.heartbeat_s)
            except TimeoutError:
                await self._send(socket, json.dumps({"kind": "heartbeat", "seq": seq}))

    def _newer(self, shown: int, wanted: Wanted) -> list[tuple[int, str]]:
        """What passed after ``shown`` and is kept nowhere else: forming candles, and how far searches are."""
        passing = [item for market, item in self.forming.items() if wanted.takes_forming(market)]
        passing += self.runs.values() if wanted.takes_runs() else ()
        return sorted(item for item in passing if item[0] > shown)

    async def _send(self, socket: WebSocket, text: str) -> None:
        try:
            await asyncio.wait_for(socket.send_text(text), self.send_timeout_s)
        except TimeoutError as error:
            raise _TooSlow from error

    async def _after(self, seq: int) -> list[_Sent]:
        """The next events after ``seq``: from memory when they are all there, else a page from the table."""
        if seq >= self.last_seq:
            return []
        # The ring may start anywhere in a sequence with numbers left out, so only a client inside it is served from it.
        if self._ring and self._ring[0].seq <= seq:
            return [item for item in self._ring if item.seq > seq]
        return await self._read(seq)

    async def _read(self, seq: int) -> list[_Sent]:
        rows = await self.database.fetch(_PAGE_SQL, seq, _PAGE)
        return [_Sent(*row) for row in rows]

    async def _run(self) -> None:
        pause_s = 0.2
        while True:
            try:
                await self._listen()
            except DATABASE_DOWN as error:
                _log.warning("listen_failed", error=type(error).__name__, retry_s=pause_s)
            except asyncpg.PostgresError as error:
                # Tables not made yet, or the server is starting: as passing as an outage.
                _log.warning("listen_failed", error=type(error).__name__, retry_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    async def _listen(self) -> None:
        connection = await self.database.listener()
        try:
            connection.add_termination_listener(lambda _: self._wake.set())
            await connection.add_listener(_EVENTS_CHANNEL, self._on_event)
            await connection.add_listener(_FORMING_CHANNEL, self._on_forming)
            await connection.add_listener(CHANNEL, self._on_run)
            newest = await connection.fetchval("select coalesce(max(seq), 0) from events")
            if not self._ready.is_set() or newest < self.last_seq:
                self.last_seq = newest
                self._ring.clear()
                self._ready.set()
            while not connection.is_closed():
                self._wake.clear()
                await self._catch_up()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_S)
        finally:
            connection.terminate()

    async def _catch_up(self) -> None:
        while items := await self._read(self.last_seq):
            self._ring.extend(items)
            self.last_seq = items[-1].seq
            self._announce()

    def _announce(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    def _on_event(self, *_: object) -> None:
        self._wake.set()

    def _on_forming(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """Accepts the candle's own JSON or a whole envelope; what is no candle of a market is dropped."""
        try:
            given = json.loads(str(payload))
            candle = given.get("payload", given)
            market = str(candle.get("market") or given["stream"])
            shaped = _forming_candle(candle)
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.warning("forming_candle_malformed")
            return
        self._passing_count += 1
        envelope = {
            "kind": "forming", "v": 1, "event_time_ms": shaped["close_time"], "stream": market, "seq": None,
            "payload": {"market": market, "interval": "1m", **shaped},
        }  # fmt: skip
        self.forming[market] = (self._passing_count, json.dumps(envelope))
        self._announce()

    def _on_run(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """How far a search is; of those that said something last, only so many are kept."""
        try:
            told = json.loads(str(payload))
            run_id = str(told["run_id"])
        except (ValueError, KeyError, TypeError):
            _log.warning("run_progress_malformed")
            return
        self._passing_count += 1
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        envelope = {"kind": "run", "v": 1, "event_time_ms": now_ms, "stream": "runs", "seq": None, "payload": told}
        self.runs.pop(run_id, None)
        self.runs[run_id] = (self._passing_count, json.dumps(envelope))
        while len(self.runs) > _MOST_RUNS:
            del self.runs[next(iter(self.runs))]
        self._announce()


class _TooSlow(Exception):
    """The client did not take a message in time."""


def _forming_candle(candle: dict[str, Any]) -> dict[str, Any]:
    take: Callable[[str], Any] = lambda name: candle[name] if name in candle else candle[f"{name}_ms"]  # noqa: E731
    prices = {name: float(candle[name]) for name in ("open", "high", "low", "close", "volume")}
    return {
        "open_time": int(take("open_time")),
        "close_time": int(take("close_time")),
        **prices,
        "closed": False,
        "complete": False,
    }


async def _until_gone(socket: WebSocket) -> None:
    """Take and drop what the client says; return when it leaves."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
