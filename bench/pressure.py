"""What a slow, silent or absent Postgres and a slow brain cost, and how soon that is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from statistics import median
from typing import Any, NamedTuple

import psutil

from actors.session import SlowPoint
from bench.figures import Effort, Figure, Report, Table
from bench.kinds import kind_of
from bench.samples import spread
from bench.systems import caught_up, measured_config, sample_options
from manta.outage import absent_postgres, silent_postgres, slow_postgres
from manta.processes import pss_mb
from manta.replay import Replay
from trading.config.model import Config
from trading.errors import MantaError
from trading.intervals import MINUTE_MS
from trading.storage import quality

__all__ = ["measure"]

# At ×60 a second is a minute of the venue.
_SPEED = 60.0
_TEN_MINUTES_S = 10.0
_SMALL_BUFFER, _OVERFLOW_SPEED = 10, 300.0
_SLOW_COMMIT_MS = 100
_SLOW_BRAIN_S = 0.5
_PATIENCE_S = 120.0
_POLL_S = 0.02

_OVERFLOW = f"Postgres absent for {_TEN_MINUTES_S * _OVERFLOW_SPEED / 60:.0f} min, buffer of {_SMALL_BUFFER}"

Outage = Callable[[Replay], AbstractAsyncContextManager[None]]


class Outcome(NamedTuple):
    """One outage: seconds from its end until the book had caught up with the venue, the actors' memory before and at
    its peak, and what the recorder says: candles buffered at most, and dropped, since the start.
    """

    recovery_s: float
    before_mb: float
    peak_mb: float
    buffered: int
    dropped: int


async def measure(effort: Effort) -> Report:
    """Each kind of outage ``runs`` times, ten minutes of the venue's time long."""
    config = measured_config(minute=True)
    rows: dict[str, list[Outcome]] = {}
    async with Replay(sample_options(config, speed=_SPEED)) as replay:
        await caught_up(replay)
        for name, outage in (
            (f"{_SLOW_COMMIT_MS} ms a commit", lambda replay: slow_postgres(replay, _SLOW_COMMIT_MS)),
            ("absent", absent_postgres),
            ("silent", silent_postgres),
        ):
            rows[f"Postgres {name}"] = [await _through(replay, outage) for _ in range(effort.runs)]
    async with Replay(sample_options(_with_buffer(config, _SMALL_BUFFER), speed=_OVERFLOW_SPEED)) as replay:
        await caught_up(replay)
        rows[_OVERFLOW] = [await _through(replay, absent_postgres) for _ in range(effort.runs)]
    slow = (SlowPoint("brain", _SLOW_BRAIN_S),)
    async with Replay(sample_options(config, speed=_SPEED, slow_points=slow)) as replay:
        await caught_up(replay)
        rows[f"brain {_SLOW_BRAIN_S:g} s a message"] = [await _through(replay, None) for _ in range(effort.runs)]
    away, overflow = rows["Postgres absent"], rows[_OVERFLOW]
    return Report(
        "pressure",
        "The sample at ×60 with an instance that decides at every minute. For ten minutes of the venue's time Postgres "
        "commits slowly, is cut off, or stands still; recovery runs from the end of that until the book has committed "
        "what the venue had sent by then and no minute is missing. With a small buffer, what was dropped is fetched "
        "again and repaired. Memory is the PSS of all actors. Nothing was lost in any run: every minute is stored.",
        [
            Figure("recovery after ten minutes without Postgres", median(run.recovery_s for run in away), "s"),
            Figure("recovery when the buffer ran over", median(run.recovery_s for run in overflow), "s"),
            Figure("memory that ten minutes without Postgres add", max(r.peak_mb - r.before_mb for r in away), "MB"),
        ],
        [_table(rows)],
        [f"{name}: recovery {spread([run.recovery_s for run in runs], 's')}" for name, runs in rows.items()],
    )


def _table(rows: dict[str, list[Outcome]]) -> Table:
    head = ("while", "recovery, s", "actors before, MB", "at the peak, MB", "candles buffered", "candles dropped")
    return Table(
        "Outages of ten minutes at ×60",
        head,
        [
            (
                name,
                median(run.recovery_s for run in runs),
                median(run.before_mb for run in runs),
                max(run.peak_mb for run in runs),
                float(max(run.buffered for run in runs)),
                float(runs[-1].dropped),
            )
            for name, runs in rows.items()
        ],
    )


def _with_buffer(config: Config, candles: int) -> Config:
    storage = config.storage.model_copy(update={"recorder_buffer": candles})
    return config.model_copy(update={"storage": storage})


async def _through(replay: Replay, outage: Outage | None) -> Outcome:
    """Ten minutes of ``outage``; None: of what the replay was made with."""
    actors = [process for process in replay.host.processes() if kind_of(process).startswith("ray::")]
    before_mb = await asyncio.to_thread(pss_mb, actors)
    peaks = asyncio.create_task(_peak(actors))
    if outage is None:
        await asyncio.sleep(_TEN_MINUTES_S)
    else:
        async with outage(replay):
            await asyncio.sleep(_TEN_MINUTES_S)
    began = time.monotonic()
    venue_ms = (await replay.control.state())["position_ms"] // MINUTE_MS * MINUTE_MS
    await _handled(replay, venue_ms)
    recovery_s = time.monotonic() - began
    peaks.cancel()
    peak_mb = max([before_mb, *(await asyncio.gather(peaks))[0]])
    recorder: dict[str, Any] = next(each for each in await replay.host.report() if each["actor"] == "recorder")
    return Outcome(recovery_s, before_mb, peak_mb, recorder["buffered_most"], recorder["dropped_candles"])


async def _peak(actors: list[psutil.Process]) -> list[float]:
    found: list[float] = []
    try:
        while True:
            found.append(await asyncio.to_thread(pss_mb, actors))
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        return found


async def _handled(replay: Replay, upto_ms: int) -> None:
    """Wait until every book has committed ``upto_ms`` and no minute before it is missing."""
    name = f"execution:paper:{replay.market}"
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if (await replay.positions()).get(name, 0) >= upto_ms and not await replay.query(
            lambda conn: quality.open_holes(conn, replay.market)
        ):
            return
        await asyncio.sleep(_POLL_S)
    raise MantaError("The system did not recover.", fix=f"See {replay.host.data_dir / 'logs'}.")
