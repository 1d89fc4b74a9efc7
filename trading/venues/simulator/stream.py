"""The websocket side, the same for every venue: connections, delivery, faults. A dialect puts everything into words."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from trading.venues.simulator.dialect import Dialect
from trading.venues.simulator.faults import Action, Send
from trading.venues.simulator.wire import frame

__all__ = ["Hub"]

# A reader this far behind is cut off, as a venue does; the lead keeps a lockstep reader far below.
_MAX_BACKLOG_BYTES = 32_000_000


class _Connection:
    """One client: what it listens to, what waits to be written, and whether it is frozen."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, dialect: Dialect) -> None:
        self.socket = socket
        self.transport = transport
        self.streams: dict[str, None] = {}
        self.wrapped = self.frozen = False
        self.unanswered = 0
        self.last_sent_s = self.last_pong_s = time.monotonic()
        self.ping_payload = b""
        self.binary = dialect.binary
        most = dialect.messages_per_second
        self._most = most
        self._arrivals: deque[float] = deque(maxlen=(most or 0) + 1)
        self._waiting: list[bytes] = []

    def put(self, data: bytes) -> None:
        self._waiting.append(data)

    def flush(self) -> None:
        """Write all that waits in one call."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self.frozen or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > _MAX_BACKLOG_BYTES:
            self.transport.abort()
            return
        self.transport.write(b"".join(waiting))
        self.last_sent_s = time.monotonic()

    async def say(self, text: str) -> None:
        self.put(frame(text, binary=self.binary))
        self.flush()
        # What is said may be much: the peer must be able to read meanwhile.
        await asyncio.sleep(0)

    async def ping(self) -> None:
        self.ping_payload = str(time.time_ns() // 1_000_000).encode()
        with contextlib.suppress(ConnectionError):
            await self.socket.ping(self.ping_payload)

    async def close(self, code: int, reason: str = "") -> None:
        await self.socket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        self.flush()
        self.streams.clear()
        self.transport.abort()

    def is_flooding(self, now_s: float) -> bool:
        """Note one incoming message; whether there were more in a second than the venue allows."""
        if self._most is None:
            return False
        self._arrivals.append(now_s)
        return len(self._arrivals) > self._most and now_s - self._arrivals[0] < 1.0


class Hub:
    """All stream connections of one venue. ``changed`` gets the (symbol, interval) that somebody listens to."""

    def __init__(self, dialect: Dialect, *, changed: Callable[[set[tuple[str, str]]], None]) -> None:
        self._dialect = dialect
        self._faults = dialect.session.faults
        self._changed = changed
        self._connections: set[_Connection] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._freeze_new = False
        self.frames_sent = 0
        self.connections_total = 0

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def listening(self) -> bool:
        """Whether somebody subscribes to a stream."""
        return any(connection.streams for connection in self._connections)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket connection from handshake to close."""
        if self._faults.use("refuse"):
            return web.Response(status=503)
        if len(self._connections) >= self._dialect.connections:
            return web.Response(status=429)
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket
        connection = _Connection(socket, transport, self._dialect)
        connection.frozen = self._freeze_new
        self._connections.add(connection)
        self.connections_total += 1
        keeping = asyncio.create_task(self._dialect.keep_alive(connection))
        try:
            for text in self._dialect.welcome(connection, request):
                await connection.say(text)
            self._subscriptions_changed()
            with contextlib.suppress(ConnectionError):
                async for message in socket:
                    if not await self._take(connection, message):
                        break
        finally:
            keeping.cancel()
            self._connections.discard(connection)
            self._subscriptions_changed()
        return socket

    def deliver(self, happenings: Iterable[Send | Action]) -> None:
        """Write frames to their subscribers, many at a time, and carry out faults between them, in order."""
        listeners = self._listeners()
        for happening in happenings:
            if isinstance(happening, Action):
                self.act(happening)
                listeners = self._listeners()
                continue
            stream = self._dialect.stream(happening.symbol, happening.interval)
            heard = listeners.get(stream) if stream else None
            if heard and stream:
                self._tell(stream, happening, heard)
        for connection in self._connections:
            connection.flush()

    def _listeners(self) -> dict[str, list[_Connection]]:
        listeners: dict[str, list[_Connection]] = {}
        for connection in self._connections:
            for stream in connection.streams:
                listeners.setdefault(stream, []).append(connection)
        return listeners

    def _tell(self, stream: str, send: Send, listeners: list[_Connection]) -> None:
        text = self._dialect.text(send)
        if text is None:
            return
        if send.how == "json":
            text = text[: len(text) * 2 // 3]
        made: dict[bool, bytes] = {}
        for connection in listeners:
            wrapped = connection.wrapped
            if wrapped not in made:
                said = self._dialect.wrap(stream, text) if wrapped else text
                made[wrapped] = frame(said, binary=self._dialect.binary)
            connection.put(made[wrapped])
            self.frames_sent += 1

    def act(self, action: Action) -> None:
        """Carry out a fault that concerns the connections themselves."""
        kind = action.fault.kind
        for connection in list(self._connections):
            connection.flush()
            if kind == "drop":
                connection.abort()
            elif kind == "retire":
                self._retire(connection, action.fault.seconds)
            elif kind == "error":
                connection.put(frame(self._dialect.error_text(), binary=self._dialect.binary))
                connection.flush()
            else:
                connection.frozen = kind == "freeze"
        if kind in {"freeze", "unfreeze"}:
            self._freeze_new = kind == "freeze" and action.fault.new

    def _retire(self, connection: _Connection, seconds: float) -> None:
        async def close() -> None:
            await asyncio.sleep(seconds)
            await connection.close(WSCloseCode.GOING_AWAY)

        self._announce_end(connection, self._dialect.session.position_ms)
        if not seconds:
            # Nothing follows the announcement, not even what this very turn still has to tell.
            connection.streams.clear()
        task = asyncio.create_task(close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _announce_end(self, connection: _Connection, now_ms: int) -> None:
        farewell = self._dialect.farewell(now_ms)
        if farewell is not None:
            text = self._dialect.wrap(*farewell) if connection.wrapped else farewell[1]
            connection.put(frame(text, binary=self._dialect.binary))
        connection.flush()

    async def shut_down(self, now_ms: int) -> None:
        """Announce the end as the venue does, then close every connection."""
        for task in self._retiring:
            task.cancel()
        for connection in list(self._connections):
            self._announce_end(connection, now_ms)
        await asyncio.gather(
            *(each.close(WSCloseCode.GOING_AWAY) for each in self._connections if not each.frozen),
            return_exceptions=True,
        )
        for connection in list(self._connections):
            connection.transport.abort()

    def _subscriptions_changed(self) -> None:
        streams = {stream for connection in self._connections for stream in connection.streams}
        self._changed({topic for stream in streams if (topic := self._dialect.topic(stream)) is not None})

    async def _take(self, connection: _Connection, message: WSMessage) -> bool:
        """Handle one incoming message; False when the connection must end."""
        now_s = time.monotonic()
        if connection.is_flooding(now_s):
            await connection.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
            return False
        if message.type == WSMsgType.PING:
            if not connection.frozen:
                await connection.socket.pong(message.data)
        elif message.type == WSMsgType.PONG:
            # A pong that does not repeat our payload is an unsolicited one and proves nothing.
            if bytes(message.data) == connection.ping_payload:
                connection.last_pong_s = now_s
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            text = message.data if isinstance(message.data, str) else message.data.decode("utf-8", "replace")
            before = list(connection.streams)
            for answer in self._dialect.hear(connection, text):
                await connection.say(answer)
            if before != list(connection.streams):
                self._subscriptions_changed()
        return True
