"""The websocket side: connections, subscriptions, pings and limits, as the venue has them.

``/ws/<stream>`` and ``/ws`` send bare messages, ``/stream?streams=a/b`` wraps them with the stream's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from trading.venues.simulator.session import Action, Send
from trading.venues.simulator.wire import text_frame

__all__ = ["Hub"]

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_MESSAGES_PER_SECOND = 5
_MAX_STREAMS = 1024
# A reader this far behind is cut off, as the venue does; the lead keeps a lockstep reader far below.
_MAX_BACKLOG_BYTES = 32_000_000


class _Connection:
    """One client: what it listens to, what waits to be written, and whether it is frozen."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, *, combined: bool) -> None:
        self.socket = socket
        self.transport = transport
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.frozen = False
        self.arrivals: deque[float] = deque(maxlen=_MESSAGES_PER_SECOND + 1)
        self.last_pong_s = time.monotonic()
        self.ping_payload = b""
        self._waiting: list[bytes] = []

    def put(self, bare: bytes, wrapped: bytes) -> None:
        self._waiting.append(wrapped if self.combined else bare)

    def flush(self) -> None:
        """Write all that waits in one call."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self.frozen or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > _MAX_BACKLOG_BYTES:
            self.transport.abort()
            return
        self.transport.write(b"".join(waiting))

    async def reply(self, answer: dict[str, Any]) -> None:
        if not self.frozen:
            await self.socket.send_str(json.dumps(answer, separators=(",", ":")))

    def is_flooding(self, now_s: float) -> bool:
        """Note one incoming message; whether there were more in a second than the venue allows."""
        self.arrivals.append(now_s)
        return len(self.arrivals) > _MESSAGES_PER_SECOND and now_s - self.arrivals[0] < 1.0


class Hub:
    """All stream connections. ``refuses`` turns the next one away; ``changed`` gets the streams that are wanted."""

    def __init__(
        self,
        *,
        refuses: Callable[[], bool],
        changed: Callable[[set[str]], None],
        ping_interval_s: float,
        pong_timeout_s: float,
    ) -> None:
        self._refuses = refuses
        self._changed = changed
        self._ping_interval_s = ping_interval_s
        self._pong_timeout_s = pong_timeout_s
        self._connections: set[_Connection] = set()
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
        if self._refuses():
            return web.Response(status=503)
        combined = request.path.startswith("/stream")
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return socket
        connection = _Connection(socket, transport, combined=combined)
        connection.frozen = self._freeze_new
        connection.streams = dict.fromkeys(name for name in names.split("/") if name)
        self._connections.add(connection)
        self.connections_total += 1
        pinging = asyncio.create_task(self._ping(connection))
        self._subscriptions_changed()
        try:
            with contextlib.suppress(ConnectionError):
                async for message in socket:
                    if not await self._take(connection, message):
                        break
        finally:
            pinging.cancel()
            self._connections.discard(connection)
            self._subscriptions_changed()
        return socket

    def deliver(self, happenings: Iterable[Send | Action]) -> None:
        """Write frames to their subscribers, many at a time, and carry out faults between them, in order."""
        listeners: dict[str, list[_Connection]] = {}
        for connection in self._connections:
            for stream in connection.streams:
                listeners.setdefault(stream, []).append(connection)
        for happening in happenings:
            if isinstance(happening, Action):
                self.act(happening)
                if happening.fault.kind == "drop":
                    listeners = {}
                continue
            for connection in listeners.get(happening.stream, ()):
                bare = b"" if connection.combined else text_frame(happening.text)
                wrapped = text_frame(_wrap(happening.stream, happening.text)) if connection.combined else b""
                connection.put(bare, wrapped)
                self.frames_sent += 1
        for connection in self._connections:
            connection.flush()

    def act(self, action: Action) -> None:
        """Carry out a fault that concerns the connections themselves."""
        for connection in list(self._connections):
            connection.flush()
            if action.fault.kind == "drop":
                connection.streams.clear()
                connection.transport.abort()
            else:
                connection.frozen = action.fault.kind == "freeze"
        if action.fault.kind != "drop":
            self._freeze_new = action.fault.kind == "freeze" and action.fault.new

    async def shut_down(self, now_ms: int) -> None:
        """Announce the end as the venue does, then close every connection."""
        text = f'{{"e":"serverShutdown","E":{now_ms}}}'
        for connection in list(self._connections):
            connection.put(text_frame(text), text_frame(_wrap("!serverShutdown", text)))
            connection.flush()
        await asyncio.gather(
            *(each.socket.close(code=WSCloseCode.GOING_AWAY) for each in self._connections if not each.frozen),
            return_exceptions=True,
        )
        for connection in list(self._connections):
            connection.transport.abort()

    def _subscriptions_changed(self) -> None:
        self._changed({stream for connection in self._connections for stream in connection.streams})

    async def _ping(self, connection: _Connection) -> None:
        while True:
            await asyncio.sleep(self._ping_interval_s)
            if connection.frozen:
                continue
            if time.monotonic() - connection.last_pong_s > self._pong_timeout_s:
                await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Pong timeout")
                return
            connection.ping_payload = str(time.time_ns() // 1_000_000).encode()
            with contextlib.suppress(ConnectionError):
                await connection.socket.ping(connection.ping_payload)

    async def _take(self, connection: _Connection, message: WSMessage) -> bool:
        """Handle one incoming message; False when the connection must end."""
        now_s = time.monotonic()
        if connection.is_flooding(now_s):
            await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
            return False
        if message.type == WSMsgType.PING:
            if not connection.frozen:
                await connection.socket.pong(message.data)
        elif message.type == WSMsgType.PONG:
            # A pong that does not repeat our payload is an unsolicited one and proves nothing.
            if bytes(message.data) == connection.ping_payload:
                connection.last_pong_s = now_s
        elif message.type == WSMsgType.TEXT:
            await connection.reply(self._command(connection, message.data))
        return True

    def _command(self, connection: _Connection, text: str) -> dict[str, Any]:
        try:
            command = json.loads(text)
        except ValueError as error:
            return {"code": 3, "msg": f"Invalid JSON: {error}"}
        if (fault := _command_fault(command)) is not None:
            return {"code": 2, "msg": f"Invalid request: {fault}"}
        method, params, id = command["method"], command.get("params", []), command.get("id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(connection.streams), "id": id}
        if method.endswith("_PROPERTY"):
            return _property(connection, method, params, id)
        if method == "UNSUBSCRIBE":
            for name in params:
                connection.streams.pop(name, None)
        elif len({*connection.streams, *params}) > _MAX_STREAMS:
            return {"code": 2, "msg": "Invalid request: too many parameters"}
        else:
            connection.streams.update(dict.fromkeys(params))
        self._subscriptions_changed()
        return {"result": None, "id": id}


def _command_fault(command: Any) -> str | None:
    """What is wrong with the shape of a command, or None."""
    if not isinstance(command, dict) or "method" not in command:
        return "missing field `method`"
    method, params, id = command["method"], command.get("params", []), command.get("id")
    if method not in _METHODS:
        return f"unknown variant `{method}`, expected one of {', '.join(f'`{name}`' for name in _METHODS)}"
    if id is not None and (isinstance(id, bool) or not isinstance(id, int | str)):
        return "request ID must be an unsigned integer"
    names_streams = isinstance(params, list) and params and all(isinstance(name, str) for name in params)
    if method.endswith("SUBSCRIBE") and not names_streams:
        return "params must be an array of stream names"
    return None


def _property(connection: _Connection, method: str, params: Any, id: object) -> dict[str, Any]:
    if not isinstance(params, list) or not params or params[0] != "combined":
        return {"code": 0, "msg": "Unknown property", "id": id}
    if method == "GET_PROPERTY":
        return {"result": connection.combined, "id": id}
    if len(params) != 2 or not isinstance(params[1], bool):
        return {"code": 1, "msg": "Invalid value type: expected Boolean", "id": id}
    connection.combined = params[1]
    return {"result": None, "id": id}


def _wrap(stream: str, text: str) -> str:
    return f'{{"stream":"{stream}","data":{text}}}'
