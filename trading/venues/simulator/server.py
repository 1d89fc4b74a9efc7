"""The simulator as a running server: one port that speaks as a venue, one for orders to the simulator itself.

async with Simulator(candles, "BTCUSDT", speed=60) as simulator:
    ...  # simulator.rest_url, simulator.stream_url, simulator.control_url
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from trading.candle_columns import CandleColumns, columns_of
from trading.candles import Candle
from trading.errors import BadInput
from trading.venues.simulator.dialect import VenueLimits
from trading.venues.simulator.dialects import dialect_of
from trading.venues.simulator.faults import parse_fault
from trading.venues.simulator.session import Session
from trading.venues.simulator.stream import Hub

__all__ = ["DEFAULT_LEAD", "Simulator", "VenueLimits"]

DEFAULT_LEAD = 500
_HOST = "127.0.0.1"
# Frames handed to the sockets before anybody else gets a turn.
_TURN = 400
# A busy replay writes at most this often: more frames then share one write.
_MIN_WAIT_S = 0.01

Candles = CandleColumns | Sequence[Candle]


class Simulator:
    """A venue over recorded 1m candles, on loopback, in that venue's own protocol.

    ``speed`` 1 … 3600 plays that many times faster than life; without it the replay is in lockstep: it waits for a
    subscriber, and stays at most ``lead`` minutes ahead of the watermark posted to the control port. ``candles`` may be
    a mapping of symbols. ``session.pause()`` before entering makes it begin paused. Entering raises BadInput when a
    port is taken. Nothing is stored: leaving ends everything.
    """

    def __init__(  # noqa: PLR0913 - each has a default that fits
        self,
        candles: Candles | Mapping[str, Candles],
        symbol: str = "",
        *,
        venue: str = "binance",
        start_ms: int | None = None,
        speed: float | None = None,
        lead: int = DEFAULT_LEAD,
        port: int = 0,
        control_port: int = 0,
        limits: VenueLimits | None = None,
    ) -> None:
        by_symbol = candles if isinstance(candles, Mapping) else {symbol: candles}
        columns = {
            name: each if isinstance(each, CandleColumns) else columns_of(each) for name, each in by_symbol.items()
        }
        if speed is not None and speed <= 0:
            raise BadInput(f"Speed {speed} is not possible.", field="speed", value=speed, fix="Choose from 1 to 3600.")
        kind = dialect_of(venue)
        self.session = Session(columns, start_ms=start_ms, speed=speed or 0.0, lead=lead, settle_ms=kind.settle_ms)
        self._ports = (port, control_port)
        self.dialect = kind(self.session, self._catch_up, limits)
        self._hub = Hub(self.dialect, changed=self._subscriptions_changed)
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._driver: asyncio.Task[None] | None = None
        self.rest_url = ""
        self.stream_url = ""
        self.control_url = ""

    async def __aenter__(self) -> Self:
        try:
            port = await self._listen(self._venue_routes(), self._ports[0], "port")
            control = await self._listen(self._control_routes(), self._ports[1], "control_port")
        except BaseException:
            await self._close_ports()
            raise
        self.rest_url = f"http://{_HOST}:{port}"
        self.stream_url = f"ws://{_HOST}:{port}{self.dialect.stream_base}"
        self.control_url = f"http://{_HOST}:{control}"
        self._driver = asyncio.create_task(self._drive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._driver is not None:
            self._driver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._driver
        await self._hub.shut_down(self.session.position_ms)
        await self._close_ports()

    async def wait_stopped(self) -> None:
        """Return when the control port orders the end, or the replay itself failed (which raises)."""
        stopping = asyncio.create_task(self._stopping.wait())
        waiting = [stopping] if self._driver is None else [stopping, self._driver]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._driver is not None and self._driver.done():
                self._driver.result()
        finally:
            stopping.cancel()

    def state(self) -> dict[str, Any]:
        """What ``GET /state`` of the control port answers."""
        return self.session.state() | {
            "connections": self._hub.connections,
            "connections_total": self._hub.connections_total,
            "listening": self._hub.listening,
            "frames_sent": self._hub.frames_sent,
            "venue": self.dialect.venue,
            "rest_requests": self.dialect.requests,
            "used_weight": self.dialect.weights.used,
        }

    async def _listen(self, routes: list[web.AbstractRouteDef], port: int, field: str) -> int:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, _HOST, port).start()
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
                raise
            raise BadInput(
                f"The simulator cannot listen on {_HOST}:{port}: {error.strerror}.",
                field=field,
                value=port,
                fix="End the program that uses the port, choose another, or give 0 for any free one.",
            ) from error
        return int(runner.addresses[0][1])

    async def _close_ports(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners = []

    # The replay

    async def _drive(self) -> None:
        while True:
            self._wake.clear()
            await self._run_to(self._target_ms())
            wait_s = self.session.wait_s()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if wait_s is None else max(wait_s, _MIN_WAIT_S))

    def _target_ms(self) -> int:
        return self.session.target_ms(time.monotonic(), self._hub.listening)

    async def _run_to(self, target_ms: int) -> None:
        """Send what is due, letting others work in between."""
        while self.session.position_ms < target_ms:
            self._hub.deliver(self.session.run_to(target_ms, _TURN))
            await asyncio.sleep(0)

    def _catch_up(self) -> int:
        """Bring a replay at speed to the present, so that REST and streams tell the same; return the venue's time."""
        if not self.session.is_lockstep:
            self._hub.deliver(self.session.run_to(self._target_ms()))
        return self.session.position_ms

    def _subscriptions_changed(self, topics: set[tuple[str, str]]) -> None:
        self.session.want(topics)
        self._wake.set()

    # The two ports

    def _venue_routes(self) -> list[web.AbstractRouteDef]:
        return [
            *self.dialect.rest_routes(),
            *(web.get(path, self._hub.handle) for path in self.dialect.socket_paths()),
        ]

    def _control_routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/state", self._ordered(lambda body: None)),
            web.post("/watermark", self._ordered(self._order_watermark)),
            web.post("/faults", self._ordered(self._order_fault)),
            web.post("/pause", self._ordered(lambda body: self.session.pause())),
            web.post("/resume", self._ordered(lambda body: self.session.resume())),
            web.post("/advance", self._advance),
            web.post("/stop", self._ordered(lambda body: self._stopping.set())),
        ]

    def _ordered(self, order: Callable[[dict[str, Any]], None]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            try:
                order(await _body(request))
            except BadInput as error:
                return _refusal(error)
            self._wake.set()
            return web.json_response(self.state())

        return handle

    def _order_watermark(self, body: dict[str, Any]) -> None:
        self.session.watermark(_integer(body, "position_ms"), body.get("market"))

    def _order_fault(self, body: dict[str, Any]) -> None:
        action = self.session.order(parse_fault(body))
        if action is not None:
            self._hub.act(action)

    async def _advance(self, request: web.Request) -> web.Response:
        try:
            minutes = _integer(await _body(request), "minutes")
        except BadInput as error:
            return _refusal(error)
        await self._run_to(self.session.advance_target_ms(max(0, minutes)))
        return web.json_response(self.state())


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise BadInput("The body is not JSON.", field="body", value=text[:80], fix="Send a JSON object.") from error
    if not isinstance(body, dict):
        raise BadInput("The body is no JSON object.", field="body", value=text[:80], fix="Send a JSON object.")
    return body


def _integer(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{name} {value!r} is not an integer.", field=name, value=value, fix=f"Give {name}.")
    return value


def _refusal(error: BadInput) -> web.Response:
    body = {"message": error.message, "field": error.field, "value": error.value, "fix": error.fix}
    return web.json_response(body, status=error.http_status, dumps=lambda each: json.dumps(each, default=str))
