"""Pionex's REST side as its specification words it, small enough to be read: for what a test wants to make it say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from trading.clock import HostClock
from trading.config.model import PionexVenue
from trading.venues.pionex.history import PionexHistory

__all__ = ["MINUTE_MS", "START", "Venue", "answering", "refusal", "serving", "success"]

MINUTE_MS = 60_000
START = 1_752_624_000_000
_NAMES = {"1M": 1, "5M": 5, "15M": 15, "30M": 30, "60M": 60, "4H": 240, "8H": 480, "12H": 720, "1D": 1440}
Answer = Callable[[web.Request], web.StreamResponse]


def success(data: object, timestamp_ms: int = START) -> dict[str, Any]:
    return {"result": True, "data": data, "timestamp": timestamp_ms}


def refusal(code: str, timestamp_ms: int = START) -> dict[str, Any]:
    return {"result": False, "code": code, "message": code.lower(), "timestamp": timestamp_ms}


@dataclass
class Venue:
    """Rows of one minute from ``START`` on, one for each of ``minutes``, seen at ``now_ms``."""

    now_ms: int
    minutes: list[int]
    newest_first: bool = True
    page: int = 500
    asked: list[dict[str, str]] = field(default_factory=list)
    kept: int = 10_000

    def answer(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.asked.append({"path": request.path} | query)
        if request.path != "/api/v1/market/klines":
            return web.json_response(success({"symbols": []}, self.now_ms))
        if query["symbol"] != "BTC_USDT":
            return web.json_response(refusal("MARKET_INVALID_SYMBOL", self.now_ms))
        width_ms = _NAMES[query["interval"]] * MINUTE_MS
        limit = int(query.get("limit", "100"))
        assert 1 <= limit <= 500
        times = [START + minute * MINUTE_MS for minute in self.minutes]
        times = [time for time in times if time % width_ms == 0 and time <= self.now_ms][-self.kept :]
        shown = [time for time in times if time <= int(query.get("endTime", self.now_ms))][-min(limit, self.page) :]
        rows = [_row(time, (time - START) // MINUTE_MS) for time in shown]
        return web.json_response(success({"klines": rows[::-1] if self.newest_first else rows}, self.now_ms))


def _row(time_ms: int, number: int) -> dict[str, Any]:
    price = f"{100 + number % 50}"
    return {"time": time_ms, "open": price, "close": price, "high": price, "low": price, "volume": "1.5"}


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The address of a server that answers every request with ``answer``."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(
    answer: Answer | tuple[int, object], *, clock: HostClock | None = None, **settings: Any
) -> AsyncIterator[PionexHistory]:
    """A client of a server that answers every request with ``answer``."""
    if isinstance(answer, tuple):
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)

        def say(_: web.Request) -> web.Response:
            return web.Response(status=status, text=text)

        answer = say
    async with serving(answer) as url:
        venue = PionexVenue(rest_url=url).model_copy(update={"weight_per_second": 1000} | settings)
        async with PionexHistory(venue, origin="simulator", clock=clock, jitter=lambda: 0.01) as history:
            yield history
