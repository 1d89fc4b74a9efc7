"""A running simulator and its clients, for the tests beside this module."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from trading.venues.simulator.control import SimulatorControl
from trading.venues.simulator.server import Simulator

MINUTE_MS = 60_000
STREAM = "btcusdt@kline_1m"


class Rig:
    """A simulator with a control client and a REST client."""

    def __init__(self, simulator: Simulator, control: SimulatorControl, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.control = control
        self._http = http

    async def get(self, path: str, **query: Any) -> tuple[int, Any, dict[str, str]]:
        """Return (status, body, headers in lower case)."""
        async with self._http.get(self.simulator.rest_url + path, params=query) as response:
            return await _read(response)

    async def post(self, path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        async with self._http.post(self.simulator.rest_url + path, json=body) as response:
            return await _read(response)

    async def klines(self, **query: Any) -> list[list[Any]]:
        status, body, _ = await self.get("/api/v3/klines", **({"symbol": "BTCUSDT", "interval": "1m"} | query))
        assert status == 200, body
        return body

    def connect(self, path: str = f"/ws/{STREAM}", **options: Any) -> connect:
        # A bounded queue would stop reading, and with it pongs and the closing handshake, while a test looks elsewhere.
        return connect(self.simulator.stream_url + path, compression=None, max_queue=None, **options)


async def _read(response: aiohttp.ClientResponse) -> tuple[int, Any, dict[str, str]]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    text = await response.text()
    return response.status, json.loads(text) if response.content_type == "application/json" else text, headers


@asynccontextmanager
async def running(*arguments: Any, **options: Any) -> AsyncIterator[Rig]:
    async with (
        Simulator(*arguments, **options) as simulator,
        SimulatorControl(simulator.control_url) as control,
        aiohttp.ClientSession() as http,
    ):
        yield Rig(simulator, control, http)


async def receive(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Return the next ``count`` messages."""
    async with asyncio.timeout(120):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def closes(socket: ClientConnection, count: int) -> list[int]:
    """Return the open times of the next ``count`` closed candles."""
    found: list[int] = []
    while len(found) < count:
        (message,) = await receive(socket, 1)
        if message["k"]["x"]:
            found.append(message["k"]["t"])
    return found


async def command(socket: ClientConnection, **body: Any) -> dict[str, Any]:
    """Send a command; return its answer, skipping frames."""
    await socket.send(json.dumps(body))
    while True:
        (message,) = await receive(socket, 1)
        if "e" not in message and "stream" not in message:
            return message
