"""The HTTP API under a steady stream of requests, through Ray Serve's own proxy."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from bench.figures import Effort, Figure, Report, Table
from bench.processor import Usage
from bench.samples import percentile
from bench.systems import base_url, caught_up, fetch, measured_config, sample_options
from manta.replay import Replay
from trading.venues.simulator.sample import SAMPLE_MARKET

__all__ = ["measure"]

_RATE = 50
_ROWS = 1000
_WARM_UP = 50


async def measure(effort: Effort) -> Report:
    """Ask for 1,000 candles 50 times a second, whether or not the earlier answers are there."""
    async with Replay(sample_options(measured_config(), speed=1.0, serve=True)) as replay:
        await caught_up(replay)
        url = f"{base_url(replay)}/api/v1/candles"
        async with aiohttp.ClientSession() as http:
            body = await _ask(http, url)
            alone = [await _timed(http, url) for _ in range(_WARM_UP)]
            usage = Usage(replay.host.processes())
            answers = await _stream(http, url, round(min(effort.window_s, 30.0) * _RATE))
            shares = usage.table()
    return Report(
        "api",
        f"`GET /api/v1/candles` for {_ROWS:,} 1m candles, {_RATE} requests a second on a fixed timetable, through Ray "
        "Serve's proxy, while the pipeline runs at ×1. Each time counts from when its request was due, so waiting "
        "behind a slow answer counts too. The client runs on the same machine.",
        [
            Figure("API: 1,000 candles at 50 requests/s, p99", percentile(answers, 0.99), "ms", 50),
            Figure("API: the same, p50", percentile(answers, 0.5), "ms"),
            Figure("API: the same, slowest", max(answers), "ms"),
            Figure("API: one request at a time, p50", percentile(alone, 0.5), "ms"),
        ],
        [Table("Processor time by process, share of one core; the host is the client too", ("process", "%"), shares)],
        [f"{len(answers):,} requests; one answer is {len(body):,} bytes of JSON"],
    )


async def _ask(http: aiohttp.ClientSession, url: str) -> bytes:
    body = await fetch(http, url, market=SAMPLE_MARKET, interval="1m", limit=_ROWS)
    if len(json.loads(body)["items"]) != _ROWS:
        raise ValueError(f"the answer does not hold {_ROWS} candles")
    return body


async def _timed(http: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    await fetch(http, url, market=SAMPLE_MARKET, interval="1m", limit=_ROWS)
    return (time.perf_counter() - began) * 1000


async def _stream(http: aiohttp.ClientSession, url: str, count: int) -> list[float]:
    """Milliseconds from due time to the whole answer, of ``count`` requests."""
    began = time.perf_counter()

    async def one(number: int) -> float:
        due = began + number / _RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await fetch(http, url, market=SAMPLE_MARKET, interval="1m", limit=_ROWS)
        return (time.perf_counter() - due) * 1000

    return list(await asyncio.gather(*(one(number) for number in range(count))))
