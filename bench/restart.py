"""A killed brain in a system that holds two years of minutes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.figures import Effort, Figure, Report, Table
from bench.history import prepare
from bench.samples import spread
from bench.systems import caught_up, measured_config, sample_options
from manta.replay import Replay
from trading.errors import MantaError
from trading.storage.database import Connection

__all__ = ["measure"]

_PATIENCE_S = 60.0
_POLL_S = 0.02


class Times(NamedTuple):
    """Seconds from the kill until the new process holds the lease, and until it is ready."""

    leased_s: float
    ready_s: float


async def measure(effort: Effort) -> Report:
    """Kill the brain ``runs`` times, each time after it has been at work again."""
    config = measured_config(minute=True)
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        began = time.monotonic()
        words, minutes = await prepare(Path(folder), config)
        prepared_s = time.monotonic() - began
        began = time.monotonic()
        async with Replay(sample_options(config, speed=60.0, data_dir=Path(folder))) as replay:
            await caught_up(replay)
            started_s = time.monotonic() - began
            times = [await _kill(replay) for _ in range(effort.runs)]
    ready = [each.ready_s for each in times]
    return Report(
        "restart",
        f"A database with {minutes:,} minutes ({words}) and everything derived from them, replayed at ×60. The brain "
        "gets SIGKILL; the time runs until its successor, started by Ray, has read its candles and takes the next one.",
        [
            Figure("brain restart with two years of 1m history", median(ready), "s", 5),
            Figure("whole system up on two years of history", started_s, "s"),
        ],
        [
            Table(
                "Where the time goes, s",
                ("step", "median"),
                [
                    ("kill → new process has its lease", median(each.leased_s for each in times)),
                    ("→ candles read, features rebuilt", median(each.ready_s - each.leased_s for each in times)),
                ],
            )
        ],
        [spread(ready, "s"), f"making the database took {prepared_s:.0f} s"],
    )


async def _kill(replay: Replay) -> Times:
    name = f"brain:{replay.market}"
    owner, _ = await replay.query(_lease)
    before = (await replay.positions())[name]
    killed = time.time()
    os.kill(int(owner.partition("/")[2]), signal.SIGKILL)
    log = replay.host.data_dir / "logs" / "brain.log"
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        ready = _last_ready(log)
        if ready > killed:
            # Only a brain that works again may be killed again.
            while (await replay.positions())[name] <= before:
                await asyncio.sleep(_POLL_S)
            return Times((await replay.query(_lease))[1] - killed, ready - killed)
        await asyncio.sleep(_POLL_S)
    raise MantaError("The brain did not come back.", fix=f"See {log}.")


async def _lease(connection: Connection) -> tuple[str, float]:
    """Who is the brain (session/pid), and since when (unix seconds)."""
    row = await connection.fetchrow(
        "select owner, extract(epoch from acquired_at)::float8 from leases where name = 'brain'"
    )
    assert row is not None
    return row[0], row[1]


def _last_ready(log: Path) -> float:
    """Unix seconds at which the brain last said ``ready``; 0 when it never did. Its timeframes log there, too."""
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
        told = json.loads(line) if line.startswith("{") else {}
        if (told.get("event"), told.get("logger")) == ("ready", "brain"):
            return datetime.fromisoformat(told["timestamp"]).timestamp()
    return 0.0
