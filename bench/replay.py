"""How fast the whole pipeline goes when nothing but itself holds it back."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench.figures import Effort, Figure, Report, Table
from bench.processor import Usage
from bench.samples import spread
from bench.systems import measured_config, sample_options
from manta.replay import Replay
from trading.config.model import Nightly
from trading.intervals import DAY_MS, MINUTE_MS
from trading.venues.simulator.sample import SAMPLE_END_MS, SAMPLE_MARKET, SESSION_START_MS

__all__ = ["measure"]

_QUICK_DAYS = 4


async def measure(effort: Effort) -> Report:
    """Replay the sample in lockstep ``runs`` times; the middle run's processor use is shown."""
    end_ms = SAMPLE_END_MS if effort.runs > 1 else SESSION_START_MS + _QUICK_DAYS * DAY_MS
    runs = sorted([await _once(end_ms) for _ in range(effort.runs)], key=lambda run: run[0])
    rates = [run[0] for run in runs]
    days = (end_ms - SESSION_START_MS) // DAY_MS
    return Report(
        "replay",
        f"{days} days of the sample in lockstep with the default configuration: one market, three derived intervals, "
        "two strategies with a position on each of them. A candle counts once its decisions and equity are committed. "
        "The nightly comparison is off: its nights would be seconds apart.",
        [Figure("lockstep replay through the whole pipeline", median(rates), "candles/s", 1000, at_least=True)],
        [Table("Processor time by process, share of one core", ("process", "%"), runs[len(runs) // 2][1])],
        [spread(rates, "candles/s")],
    )


async def _once(end_ms: int) -> tuple[float, list[tuple[str, float]]]:
    config = measured_config().model_copy(update={"nightly": Nightly(enabled=False)})
    async with Replay(sample_options(config, speed=None, until_ms=end_ms)) as replay:
        first_ms, began = await _under_way(replay), time.monotonic()
        usage = Usage(replay.host.processes())
        await replay.run_to(end_ms)
        rate = (end_ms - first_ms) // MINUTE_MS / (time.monotonic() - began)
        return rate, usage.table()


async def _under_way(replay: Replay) -> int:
    """Where the book stands once the history is behind it and the replay itself has begun."""
    name = f"execution:paper:{SAMPLE_MARKET}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        position = (await replay.positions()).get(name, 0)
        if position >= SESSION_START_MS:
            return position
        await asyncio.sleep(0.02)
    return SESSION_START_MS
