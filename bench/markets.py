"""Many markets at once: what each more costs, in a process of its own for every one and packed."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

from bench.figures import Effort, Figure, Report, Table
from bench.processor import Usage
from bench.samples import percentile
from bench.systems import caught_up, sample_options
from manta.processes import free_port, pss_mb
from manta.replay import Replay
from trading.config.loading import default_config
from trading.config.model import Config
from trading.venues.simulator.sample import SAMPLE_SYMBOL

__all__ = ["many", "measure"]

_COUNTS = (1, 10, 50)
# 50 markets in processes of their own: 100 actors, some minutes to start on two cores.
_QUICK_UNPACKED = (1, 10)
_PACK = 25
_SPEED = 60.0
_CALM_S = 5.0


class Run(NamedTuple):
    """What one session showed: ``shares`` are percent of one core, ``latencies`` ms from message to commit."""

    markets: int
    packed: bool
    processes: int
    start_s: float
    pss_mb: float
    share: float
    latencies: list[float]


async def measure(effort: Effort) -> Report:
    """Start each size once, unpacked and packed, look at its memory, then watch it for a window."""
    quick = effort.runs == 1
    runs = [await _once(count, False, effort.window_s) for count in (_QUICK_UNPACKED if quick else _COUNTS)]
    runs += [await _once(count, True, effort.window_s) for count in _COUNTS]
    figures = [
        *_more("unpacked", 130, [run for run in runs if not run.packed]),
        *_more("packed", 10, [run for run in runs if run.packed]),
    ]
    notes = ["50 unpacked markets were left out: --quick"] if quick else []
    return Report(
        "markets",
        f"Simulated markets that all replay the sample at ×{_SPEED:g}, so each closes a minute every second, all at "
        "the same moment; one strategy decides at every closed minute of each. Unpacked: a feed and a timeframe "
        f"process a market, and one brain. Packed: {_PACK} feeds in a process, and a brain for every {_PACK} markets "
        "whose process holds their timeframes, too. Memory is the PSS of all processes but the simulator; without "
        "Serve. The start runs from the command until every market's history is through the pipeline. A latency is "
        "that of one decision, from the venue's message to the return of its commit; the last of many that close "
        "together waits for all before it.",
        figures,
        [_table(runs)],
        notes,
    )


def many(count: int, *, packed: bool) -> Config:
    """``count`` markets and one instance that decides at every closed minute of each."""
    data: dict[str, Any] = default_config().model_dump()
    data["serve"]["port"] = free_port()
    data["markets"] = [f"binance:{_symbol(number)}" for number in range(count)]
    data["history"]["min_days"] = 0
    data["features"] = []
    data["strategies"] = [{**data["strategies"][0], "name": "minute", "intervals": ["1m"]}]
    if packed:
        data["packing"] = {"feeds": _PACK, "timeframes": 0, "brains": -(-count // _PACK)}
    else:
        data["packing"] = {"feeds": 1, "timeframes": 1, "brains": 1}
    return Config.model_validate(data)


def _symbol(number: int) -> str:
    return SAMPLE_SYMBOL if number == 0 else f"M{number:02}USDT"


async def _once(count: int, packed: bool, window_s: float) -> Run:
    began = time.monotonic()
    async with Replay(sample_options(many(count, packed=packed), speed=_SPEED)) as replay:
        await caught_up(replay, patience_s=90.0 + 3.0 * count)
        start_s = time.monotonic() - began
        await asyncio.sleep(_CALM_S)
        processes = replay.host.processes()
        memory_mb = pss_mb(processes)
        before = len(_latencies(await replay.host.report()))
        usage = Usage(processes)
        await asyncio.sleep(window_s)
        share = usage.table()[-1][1]
        told = _latencies(await replay.stop_host())
    return Run(count, packed, len(processes), start_s, memory_mb, share, told[before:] or told)


def _latencies(health: list[dict[str, Any]]) -> list[float]:
    return [value for actor in health for value in actor.get("latencies_ms", ())]


def _more(form: str, budget: float, runs: list[Run]) -> list[Figure]:
    """What one more market costs, between the smallest and the largest of ``runs``."""
    first, last = runs[0], runs[-1]
    more = (last.pss_mb - first.pss_mb) / (last.markets - first.markets)
    return [
        Figure(f"one more market, {form} (of {last.markets})", more, "MB", budget),
        Figure(f"{last.markets} markets {form}, message → decision, p99", percentile(last.latencies, 0.99), "ms"),
    ]


def _table(runs: list[Run]) -> Table:
    head = ("form", "markets", "processes", "start, s", "PSS, MB", "% of a core", "p50, ms", "p99, ms")
    rows = [
        (
            "packed" if run.packed else "unpacked", run.markets, run.processes, run.start_s, run.pss_mb, run.share,
            percentile(run.latencies, 0.5), percentile(run.latencies, 0.99),
        )
        for run in runs
    ]  # fmt: skip
    return Table("By form and number of markets", head, rows)
