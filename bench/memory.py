"""Memory of the whole system at rest, process by process, and what one more market adds."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from statistics import median

import aiohttp
import psutil

from bench.figures import Effort, Figure, Report, Table
from bench.kinds import kind_of
from bench.samples import spread
from bench.systems import base_url, caught_up, fetch, measured_config, sample_options
from manta.processes import pss_mb
from manta.replay import Replay

__all__ = ["measure"]

_SETTLE_S = 10.0
_LOOKS = 5


async def measure(effort: Effort) -> Report:
    """Start it ``runs`` times with one market and with two, and look at each when it idles."""
    one = [await _idle_tables(("BTCUSDT",)) for _ in range(effort.runs)]
    two = [await _idle_tables(("BTCUSDT", "ETHUSDT")) for _ in range(effort.runs)]
    totals, doubled = [_total(table) for table in one], [_total(table) for table in two]
    more = median(doubled) - median(totals)
    return Report(
        "memory",
        "Proportional set size (PSS) of every process of a session at ×1 that has taken in its history, after the "
        "dashboard was opened once: the host, Ray, all actors, Serve, and the bundled Postgres. The simulator is not "
        "part of it. PSS shares each common page among those who map it, so the sum counts it once.",
        [
            Figure("whole system, one market", median(totals), "MB", 1400),
            Figure("one more market, unpacked", more, "MB", 130),
        ],
        [_compare(one[_middle(totals)], two[_middle(doubled)])],
        [f"one market: {spread(totals, 'MB')}", f"two markets: {spread(doubled, 'MB')}"],
    )


async def _idle_tables(symbols: tuple[str, ...]) -> dict[str, float]:
    config = measured_config(symbols=symbols)
    async with Replay(sample_options(config, speed=1.0, serve=True)) as replay:
        await caught_up(replay)
        async with aiohttp.ClientSession() as http:
            await fetch(http, f"{base_url(replay)}/dashboard")
            for market in config.markets:
                await fetch(http, f"{base_url(replay)}/api/v1/candles", market=market, interval="37m", limit=1000)
        looks = []
        for _ in range(_LOOKS):
            await asyncio.sleep(_SETTLE_S / _LOOKS)
            looks.append(await asyncio.to_thread(_by_kind, replay.host.processes()))
        return looks[_middle([_total(look) for look in looks])]


def _by_kind(processes: Iterable[psutil.Process]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        found[kind_of(process)] += pss_mb([process])
    return dict(found)


def _total(table: dict[str, float]) -> float:
    return sum(table.values())


def _middle(values: list[float]) -> int:
    return sorted(range(len(values)), key=values.__getitem__)[len(values) // 2]


def _compare(one: dict[str, float], two: dict[str, float]) -> Table:
    kinds = sorted({*one, *two}, key=lambda kind: -max(one.get(kind, 0.0), two.get(kind, 0.0)))
    rows = [(kind, one.get(kind, 0.0), two.get(kind, 0.0)) for kind in kinds]
    rows.append(("all", _total(one), _total(two)))
    return Table("PSS by process, MB", ("process", "one market", "two markets"), rows)
