"""From the command to the first chart, as a newcomer would see it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from statistics import median

import aiohttp

from bench.figures import Effort, Figure, Report
from bench.samples import spread
from bench.systems import fetch
from manta.processes import free_port
from trading.errors import MantaError
from trading.venues.simulator.sample import SAMPLE_MARKET

__all__ = ["measure"]

_ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_S = 180.0
_END_S = 60.0
_POLL_S = 0.05


async def measure(effort: Effort) -> Report:
    """Run ``./run demo`` and ask the API for the dashboard's first chart until it has candles."""
    times = [await _once() for _ in range(effort.runs)]
    return Report(
        "startup",
        "`./run demo` in an environment that is made, with a fresh database: seconds from the command until the "
        "dashboard's page is served and the API answers its first chart with candles. It is asked every 50 ms.",
        [Figure("`./run demo` to first chart", median(times), "s", 40)],
        notes=[spread(times, "s")],
    )


async def _once() -> float:
    port = free_port()
    began = time.monotonic()
    demo = await asyncio.create_subprocess_exec(
        "./run", "demo", "--for", f"{2 * _PATIENCE_S:.0f}s", "--port", str(port), "--json",
        cwd=_ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=dict(os.environ),
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            while time.monotonic() - began < _PATIENCE_S and demo.returncode is None:
                if await _has_chart(http, f"http://127.0.0.1:{port}"):
                    return time.monotonic() - began
                await asyncio.sleep(_POLL_S)
        raise MantaError("The demo showed no chart.", fix="Run `./run demo` by itself to see why.")
    finally:
        await _end(demo)


async def _has_chart(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        await fetch(http, f"{url}/dashboard")
        body = await fetch(http, f"{url}/api/v1/candles", market=SAMPLE_MARKET, interval="37m", limit=1000, forming=1)
    except (aiohttp.ClientError, TimeoutError):
        return False
    return bool(json.loads(body)["items"])


async def _end(demo: asyncio.subprocess.Process) -> None:
    """As Ctrl-C would: the demo takes its own processes down."""
    if demo.returncode is None:
        demo.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(demo.communicate(), _END_S)
    except TimeoutError:
        demo.kill()
        await demo.wait()
