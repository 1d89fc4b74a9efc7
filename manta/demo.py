"""``manta demo``: the bundled month of BTC candles through the whole system, with the dashboard, on any machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from manta.output import console
from manta.parity import compare_session
from manta.processes import free_port, pss_mb
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.loading import default_config
from trading.config.model import Config
from trading.storage import quality
from trading.storage.database import Connection
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET, SESSION_START_MS, sample_currency, sample_symbol

__all__ = ["DemoOptions", "run_demo"]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``venue`` is whose protocol the candles are replayed in. ``seconds`` None runs until Ctrl-C; ``port`` None takes
    the configured one, or a free one when headless.
    """

    venue: str = "binance"
    seconds: float | None = None
    speed: float = 600.0
    port: int | None = None
    quiet: bool = False


async def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Run it, then compare what happened with the reference backtest; returns the figures, and leaves nothing
    running.
    """
    config = _config(options)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        return await _run(options, config, stopping)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _run(options: DemoOptions, config: Config, stopping: asyncio.Event) -> dict[str, Any]:
    say = (lambda _text: None) if options.quiet else (lambda text: console.print(f"[dim]{text} …[/]"))
    replay_options = ReplayOptions(
        config=config,
        venue=options.venue,
        symbol=sample_symbol(options.venue),
        file=SAMPLE_FILE,
        start_ms=SESSION_START_MS,
        speed=options.speed,
        serve=True,
        progress=say,
    )
    began = time.monotonic()
    async with Replay(replay_options) as replay:
        startup_s = time.monotonic() - began
        url = f"http://{config.serve.host}:{config.serve.port}/dashboard"
        if not options.quiet:
            console.print(
                f"\nReal BTC candles of July 2025 at ×{options.speed:g}, told as {replay.market}. "
                f"Watch: [bold]{url}[/]  (Ctrl-C ends)\n"
            )
        watching = asyncio.ensure_future(replay.host.watch())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_first(stopping.wait(), watching), options.seconds)
        watching.cancel()
        say("comparing with the backtest")
        end_ms = await replay.settle()
        memory = pss_mb(replay.host.processes())
        start_ms = replay.host.session.start_ms
        candles = [c for c in load_candles(SAMPLE_FILE, replay.market) if c.close_time_ms <= end_ms]
        compared = await compare_session(replay, candles, start_ms, end_ms)
        facts = await replay.query(lambda conn: _facts(conn, replay.market, start_ms))
        health = await replay.stop_host()
    return {
        "market": replay.market,
        "candles": facts["candles"],
        "decisions": compared["decisions"],
        "holds": compared["holds"],
        "orders": facts["orders"],
        "fills": compared["fills"],
        "alerts": facts["alerts"],
        "holes": facts["holes"],
        "explained": compared["explained"],
        "mismatches": compared["mismatches"],
        "first_difference": compared["first_difference"],
        "latency_ms": latency(health),
        "memory_pss_mb": memory,
        "startup_s": round(startup_s, 1),
    }


def latency(health: list[dict[str, Any]]) -> dict[str, float | None]:
    """Percentiles of venue message → decision committed, in milliseconds, over all books."""
    samples = sorted(value for actor in health for value in actor.get("latencies_ms", ()))
    if len(samples) < 2:
        return {"p50": None, "p99": None}
    cuts = quantiles(samples, n=100, method="inclusive")
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2)}


async def _facts(conn: Connection, market: str, start_ms: int) -> dict[str, int]:
    holes = await quality.open_holes(conn, market)
    return {
        "candles": await conn.fetchval(
            "select count(*) from candles where interval = '1m' and close_time > at_ms($1)", start_ms
        ),
        "orders": await conn.fetchval("select count(*) from orders"),
        "alerts": await conn.fetchval("select count(*) from outbox where state = 'sent'"),
        "holes": len(holes),
    }


def _config(options: DemoOptions) -> Config:
    market = f"{options.venue}:{sample_symbol(options.venue)}"
    # The configuration names its market in several places.
    data = json.loads(default_config().model_dump_json().replace(SAMPLE_MARKET, market))
    for book in data["books"].values():
        book["currency"] = sample_currency(market)
    port = options.port
    if port is None and options.seconds is not None:
        port = free_port()
    data["serve"]["port"] = port or int(os.environ.get("MANTA__SERVE__PORT", data["serve"]["port"]))
    return Config.model_validate(data)


async def _first(*waits: Any) -> None:
    done, pending = await asyncio.wait([asyncio.ensure_future(wait) for wait in waits], return_when="FIRST_COMPLETED")
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
