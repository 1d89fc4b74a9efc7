"""One websocket for all markets of a venue in a process.

A market holds a *line*: its share of a socket. Lines are leased on the newest socket; a market that lost its line, or
was told to move, asks for a socket newer than the one it had, and the first to ask opens it for all. A socket without
lines is closed. A socket that ends takes all its lines with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trading.clock import HostClock, SystemClock
from trading.errors import VenueRetryable
from trading.venues.adapter import Wire
from trading.venues.origin import Origin, check_origin
from trading.venues.socket import close_reason, venue_socket

__all__ = ["Hub", "Line"]

Receive = Callable[[str | bytes], None]


class Line:
    """One market's share of a socket. ``socket`` numbers the sockets of a hub from 1 on."""

    def __init__(self, symbol: str, socket: int, receive: Receive, retire: Callable[[str], None]) -> None:
        self.symbol = symbol
        self.socket = socket
        self.retire = retire
        self._receive = receive
        self._asked = asyncio.Event()
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def lost(self) -> str:
        """Wait until the line is gone; return why. Raises what its receiver raised."""
        return await asyncio.shield(self._end)

    async def subscribed(self) -> None:
        """Wait until the venue was asked for the symbol, or the line is gone."""
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait((asked, self._end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()

    def take(self, raw: str | bytes) -> None:
        """Hand a message over. A receiver that fails ends its own line, and no other."""
        if self._end.done():
            return
        try:
            self._receive(raw)
        except Exception as error:
            self.end(error)

    def asked(self) -> None:
        self._asked.set()

    def end(self, reason: str | Exception) -> None:
        if self._end.done():
            return
        if isinstance(reason, str):
            self._end.set_result(reason)
        else:
            self._end.set_exception(reason)

    def release(self) -> None:
        """Nobody will ask any more why it ended."""
        if self._end.done() and not self._end.cancelled():
            self._end.exception()
        else:
            self._end.cancel()


class Hub:
    """The sockets of one venue in one process; ``close`` it at the end.

    ``close_after_s`` is the age at which a socket asks its lines to move, less up to a tenth by chance, so that many
    processes do not all reconnect in the same second. Raises ConfigError when the wire's URL does not fit ``origin``.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        origin: Origin,
        field: str,
        timeout_s: float,
        close_after_s: float,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_origin(origin, wire.url, field)
        self.wire = wire
        self.connections = 0
        self._origin: Origin = origin
        self._timeout_s = timeout_s
        self._close_after_s = close_after_s
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._sockets: dict[int, _Socket] = {}
        self._opening: asyncio.Task[_Socket] | None = None
        self._ending: set[asyncio.Task[Any]] = set()
        self._waiting = 0
        self._serial = 0
        self._next_attempt = float("-inf")

    @property
    def sockets(self) -> int:
        """Sockets that are open now."""
        return len(self._sockets)

    @asynccontextmanager
    async def line(
        self, symbol: str, receive: Receive, retire: Callable[[str], None], *, newer_than: int = 0
    ) -> AsyncIterator[Line]:
        """Lease a line for ``symbol`` for the length of a ``with`` block.

        ``receive`` gets each message of the symbol, and those meant for everyone; it must be quick. ``retire`` is told
        why when the line should be replaced soon. Raises VenueRetryable when no socket can be opened now.
        """
        socket = await self._fitting(symbol, newer_than)
        line = socket.add(symbol, receive, retire)
        try:
            await line.subscribed()
            yield line
        finally:
            socket.remove(line)
            line.release()
            if not socket.lines:
                self._drop(socket)

    def cut(self) -> None:
        """Break the sockets without a close, as a network does: for tests of what follows."""
        for socket in self._sockets.values():
            socket.cut()

    async def close(self) -> None:
        """End every socket, and with them all lines."""
        for socket in list(self._sockets.values()):
            self._drop(socket)
        if self._opening is not None:
            self._opening.cancel()
            self._ending.add(self._opening)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _fitting(self, symbol: str, newer_than: int) -> _Socket:
        while True:
            fits = [each for each in self._sockets.values() if each.serial > newer_than and each.has_room(symbol)]
            if fits:
                return max(fits, key=lambda each: each.serial)
            await self._open_for_all()

    async def _open_for_all(self) -> None:
        """Open a socket, or wait for the one that another market is opening."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        opening = self._opening
        self._waiting += 1
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._waiting == 1 and opening.done() and not opening.cancelled() and opening.exception() is None:
                # It opened for somebody who no longer wants it.
                self._drop(opening.result())
            raise
        except VenueRetryable as error:
            # Every waiting market raises an error of its own.
            raise VenueRetryable(error.message, retry_after_s=error.retry_after_s) from error
        finally:
            self._waiting -= 1
            if self._opening is opening and (opening.done() or not self._waiting):
                opening.cancel()
                self._opening = None

    async def _open(self) -> _Socket:
        await asyncio.sleep(max(0.0, self._next_attempt - self._clock.monotonic()))
        self._next_attempt = self._clock.monotonic() + self.wire.pace.spacing_s
        stack = AsyncExitStack()
        opening = venue_socket(
            self.wire.url, origin=self._origin, timeout_s=self._timeout_s, pings=self.wire.ping is None
        )
        connection = await stack.enter_async_context(opening)
        self._serial += 1
        self.connections += 1
        lifetime_s = self._close_after_s * (1 - 0.1 * self._jitter())
        socket = _Socket(self._serial, self.wire, connection, stack, lifetime_s)
        self._sockets[socket.serial] = socket
        socket.task.add_done_callback(lambda _: self._sockets.pop(socket.serial, None))
        return socket

    def _drop(self, socket: _Socket) -> None:
        self._sockets.pop(socket.serial, None)
        self._ending.add(socket.task)
        socket.task.add_done_callback(self._ending.discard)
        socket.task.cancel()


class _Socket:
    """One open websocket: its lines, what the venue was asked for, and the tasks that read and write."""

    def __init__(
        self, serial: int, wire: Wire, connection: ClientConnection, stack: AsyncExitStack, lifetime_s: float
    ) -> None:
        self.serial = serial
        self.lines: dict[str, Line] = {}
        self._wire = wire
        self._connection = connection
        self._stack = stack
        self._lifetime_s = lifetime_s
        self._retiring = False
        self._asked: set[str] = set()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    def has_room(self, symbol: str) -> bool:
        return not self._retiring and symbol not in self.lines and len(self.lines) < self._wire.pace.symbols

    def add(self, symbol: str, receive: Receive, retire: Callable[[str], None]) -> Line:
        line = self.lines[symbol] = Line(symbol, self.serial, receive, retire)
        if self.task.done():
            line.end("connection broke")
        self._changed.set()
        return line

    def remove(self, line: Line) -> None:
        if self.lines.get(line.symbol) is line:
            del self.lines[line.symbol]
            self._changed.set()

    def cut(self) -> None:
        self._connection.transport.abort()

    async def _run(self) -> None:
        """Read to the end; whatever ends the socket ends its lines."""
        reason: str | Exception = "we closed"
        beside = [asyncio.create_task(self._subscribe()), asyncio.create_task(self._grow_old())]
        if self._wire.ping is not None:
            beside.append(asyncio.create_task(self._ping(*self._wire.ping)))
        try:
            while True:
                raw = await self._connection.recv()
                answer = self._wire.answer(raw)
                if answer is not None:
                    await self._connection.send(answer)
                self._hand_over(raw)
        except ConnectionClosed as error:
            reason = close_reason(error)
        except Exception as error:
            reason = error
        finally:
            for line in self.lines.values():
                line.end(reason)
            for task in beside:
                task.cancel()
            await self._stack.aclose()
            await asyncio.gather(*beside, return_exceptions=True)

    def _hand_over(self, raw: str | bytes) -> None:
        symbol = self._wire.route(raw)
        if symbol:
            line = self.lines.get(symbol)
            if line is not None:
                line.take(raw)
        elif symbol is not None:
            for line in list(self.lines.values()):
                line.take(raw)

    async def _subscribe(self) -> None:
        """Keep the venue's list the same as ours, at the pace that it allows."""
        while True:
            await self._changed.wait()
            # Those who come in the same moment travel in one message.
            await asyncio.sleep(0)
            self._changed.clear()
            wanted = dict(self.lines)
            gone, new = self._asked - wanted.keys(), [each for each in wanted if each not in self._asked]
            self._asked = set(wanted)
            said = self._wire.unsubscribe(sorted(gone)) if gone else []
            said += self._wire.subscribe(new) if new else []
            for number, text in enumerate(said, 1):
                try:
                    await self._connection.send(text)
                except ConnectionClosed:
                    return
                if number < len(said):
                    await asyncio.sleep(1 / self._wire.pace.messages_per_s)
            for line in wanted.values():
                line.asked()
            if said:
                await asyncio.sleep(1 / self._wire.pace.messages_per_s)

    async def _ping(self, every_s: float, text: str) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._connection.send(text)
            except ConnectionClosed:
                return

    async def _grow_old(self) -> None:
        await asyncio.sleep(self._lifetime_s)
        self._retiring = True
        for line in list(self.lines.values()):
            line.retire("connection is old")
