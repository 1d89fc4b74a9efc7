"""Whole systems to measure, each a replay of the bundled sample in a fresh data directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from manta.processes import free_port
from manta.replay import Replay, ReplayOptions
from trading.config.loading import default_config
from trading.config.model import Config
from trading.errors import MantaError
from trading.intervals import MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_SYMBOL, SESSION_START_MS

__all__ = ["base_url", "caught_up", "fetch", "measured_config", "sample_options"]

_PATIENCE_S = 90.0
_POLL_S = 0.1


def measured_config(*, symbols: Sequence[str] = (SAMPLE_SYMBOL,), minute: bool = False) -> Config:
    """The documented defaults on a free port; ``minute`` adds an instance that decides at every closed minute."""
    data: dict[str, Any] = default_config().model_dump()
    data["serve"]["port"] = free_port()
    data["markets"] = [f"binance:{symbol}" for symbol in symbols]
    if minute:
        data["strategies"] = [*data["strategies"], {**data["strategies"][0], "name": "minute", "intervals": ["1m"]}]
    return Config.model_validate(data)


def sample_options(config: Config, *, speed: float | None, serve: bool = False, **more: Any) -> ReplayOptions:
    """The sample from its usual start; further markets of ``config`` replay the same prices under their own names."""
    symbols = [market.partition(":")[2] for market in config.markets]
    return ReplayOptions(
        config=config,
        symbol=SAMPLE_SYMBOL,
        file=SAMPLE_FILE,
        start_ms=SESSION_START_MS,
        speed=speed,
        serve=serve,
        others={symbol: SAMPLE_FILE for symbol in symbols if symbol != SAMPLE_SYMBOL},
        **more,
    )


async def caught_up(replay: Replay, *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until every market's history is through the whole pipeline; MantaError when it does not get there."""
    start_ms = replay.host.session.start_ms // MINUTE_MS * MINUTE_MS
    wanted = [
        f"execution:{book}:{market}" for book in replay.host.config.books for market in replay.host.config.markets
    ]
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        positions = await replay.positions()
        if all(positions.get(name, 0) >= start_ms for name in wanted):
            return
        await asyncio.sleep(_POLL_S)
    raise MantaError("The system did not take in its history.", fix=f"See {replay.host.data_dir / 'logs'}.")


def base_url(replay: Replay) -> str:
    serve = replay.host.config.serve
    return f"http://{serve.host}:{serve.port}"


async def fetch(http: aiohttp.ClientSession, url: str, **query: Any) -> bytes:
    """The body of a page; raises ClientResponseError unless it is there."""
    async with http.get(url, params=query) as answer:
        answer.raise_for_status()
        return await answer.read()
