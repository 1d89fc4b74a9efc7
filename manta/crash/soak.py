"""The soak: a replay at speed in which something breaks every few seconds, compared with the backtest at the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from actors.crash import CrashPoint
from backtest.reference import RunRecords, run_reference
from manta.crash.cells import PLACES
from manta.crash.checks import (
    BOOK,
    Delivered,
    Findings,
    check_candles,
    check_events,
    check_messages,
    check_venue,
    judge,
)
from manta.crash.matrix import ask, drained
from manta.crash.stretches import MARKET, SYMBOL, Stretch, begin_at, real_stretch
from manta.crash.wire import wire_faults
from manta.processes import marked
from manta.progress import bar
from manta.replay import Replay, ReplayOptions
from trading.errors import BadInput, MantaError
from trading.instances import resolve_instances
from trading.intervals import MINUTE_MS
from trading.logs import configure_logging
from trading.storage import candles, markets, quality, records
from trading.storage.database import Connection
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["SoakOptions", "run_soak", "soak_words"]

_SPEED = 600.0
_PAUSE_S = (2.0, 6.0)
_HOST_EVERY_S = 90.0
_ARMED_AT_MOST = 4
_MEMORY_EVERY_S = 5.0
_MEMORY_MB = 400.0
_HEAL_S = 240.0
_WIRE_MINUTES = 150
_VICTIMS = ("self", "self", "self", "postgres", "connection", "connection")
_STREAM: tuple[dict[str, Any], ...] = (
    {"kind": "drop"},
    {"kind": "lose_minutes", "minutes": 3},
    {"kind": "lose_minutes", "minutes": 12},
    {"kind": "corrupt", "times": 2},
    {"kind": "corrupt", "how": "value"},
    {"kind": "duplicate", "times": 3},
    {"kind": "reorder"},
    {"kind": "rest_status", "status": 503, "times": 2, "path": "klines"},
    {"kind": "rest_status", "status": 429, "times": 1, "retry_after": 1},
    {"kind": "slow", "seconds": 1.0, "times": 2},
)


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """Replays ``file`` at ×600 for ``seconds``; ``seed`` chooses the faults and where the replay begins."""

    seconds: float
    seed: int = 1
    file: Path = SAMPLE_FILE
    quiet: bool = False


@dataclass(slots=True)
class _Memory:
    """Peak memory of each kind of actor, in MB of proportional set size."""

    peak_mb: dict[str, float] = field(default_factory=dict)

    def look(self, session_id: str) -> None:
        for process in marked(session_id):
            with contextlib.suppress(psutil.Error):
                name = " ".join(process.cmdline())
                if name.startswith("ray::") and "Actor" in name:
                    kind = name.removeprefix("ray::").partition("Actor")[0].lower()
                    mb = process.memory_full_info().pss / 1e6
                    self.peak_mb[kind] = max(self.peak_mb.get(kind, 0.0), round(mb, 1))


async def run_soak(options: SoakOptions) -> dict[str, Any]:
    """Returns {seconds, seed, faults, restarts, failed, missing, doubled, marked, explained, memory_mb, …}.

    ``explained`` lists decisions that came too late to be acted on: they are not counted as equal, and what follows
    from them is compared with a backtest that did not act on them either.
    """
    began = time.monotonic()
    minutes = round(options.seconds * _SPEED / 60) + 300
    stretch = await asyncio.to_thread(real_stretch, options.seed, minutes, options.file)
    with tempfile.TemporaryDirectory(prefix="manta-soak-") as folder:
        configure_logging(Path(folder) / "verify.log")
        replay_options = ReplayOptions(
            config=stretch.config,
            symbol=SYMBOL,
            file=stretch.file,
            start_ms=stretch.start_ms,
            speed=_SPEED,
            data_dir=Path(folder) / "data",
            apart=True,
            hurt=True,
            broker_faults=wire_faults(
                options.seed, Path(folder), stretch.start_ms, minutes, every_minutes=_WIRE_MINUTES
            ),
        )
        async with Replay(replay_options) as replay:
            memory = _Memory()
            faults = await _hurt(replay, options, Path(folder), memory)
            at_ms = await _settled(replay)
            result = await _verdict(replay, stretch, Path(folder), at_ms)
            restarts = replay.restarts
    too_big = {kind: mb for kind, mb in memory.peak_mb.items() if mb > _MEMORY_MB}
    if too_big:
        result["wrong"].append(f"memory grew beyond {_MEMORY_MB:.0f} MB: {too_big}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "seed": options.seed,
        "faults": dict(sorted(faults.items())),
        "restarts": restarts,
        "failed": int(bool(result["wrong"] or result["missing"] or result["doubled"])),
        **result,
        "memory_mb": dict(sorted(memory.peak_mb.items())),
    }


def soak_words(result: Mapping[str, Any]) -> str:
    verdict = "FAILED" if result["failed"] else "green"
    hurt = ", ".join(f"{kind} {number}" for kind, number in result["faults"].items())
    peaks = ", ".join(f"{kind} {mb:.0f}" for kind, mb in result["memory_mb"].items())
    lines = [
        f"{verdict}: {result['candles']} candles, {result['decisions']} decisions, {result['fills']} fills, "
        f"{result['missing']} missing, {result['doubled']} doubled, {len(result['explained'])} explained as late "
        f"(seed {result['seed']}, {result['seconds']:.0f} s)",
        f"faults: {hurt}; the host was started again {result['restarts']} times",
        f"peak memory of actors in MB: {peaks}",
    ]
    return "\n".join([*lines, *(f"late: {text}" for text in result["explained"][:20]), *result["wrong"]])


async def _hurt(replay: Replay, options: SoakOptions, folder: Path, memory: _Memory) -> Counter[str]:
    """Break something every few seconds until the time is over; returns what was broken how often."""
    dice = random.Random(options.seed)
    faults: Counter[str] = Counter()
    ends = time.monotonic() + options.seconds
    looked, host_hurt = 0.0, time.monotonic()
    with bar("soaking", options.seconds, quiet=options.quiet) as advance:
        while (now := time.monotonic()) < ends:
            advance(options.seconds - (ends - now))
            await replay.revive()
            if now - looked > _MEMORY_EVERY_S:
                await asyncio.to_thread(memory.look, replay.host.session_id)
                looked = now
            await asyncio.sleep(dice.uniform(*_PAUSE_S))
            if dice.random() < 0.4:
                fault = dice.choice(_STREAM)
                await replay.control.fault(**fault)
                faults[fault["kind"]] += 1
                continue
            victim = dice.choice(_VICTIMS)
            if time.monotonic() - host_hurt > _HOST_EVERY_S:
                victim, host_hurt = dice.choice(("host", "raylet")), time.monotonic()
            if len(list(replay.crashes.folder.glob("*.json"))) < _ARMED_AT_MOST:
                actor, boundary = dice.choice(PLACES)
                marker = folder / f"{victim}-{time.time_ns()}"
                replay.crashes.arm(CrashPoint(actor, boundary, 0, victim, str(marker)))
    replay.crashes.disarm()
    # Counted are those that happened.
    faults.update(path.name.partition("-")[0] for path in folder.glob("*-*") if path.is_file())
    faults["wire"] = len(list(folder.glob("wire*")))
    return faults


async def _settled(replay: Replay) -> int:
    """Hold the replay; wait until everything is healed, caught up and told. Returns the last close time handled."""
    await replay.control.pause()
    deadline = time.monotonic() + _HEAL_S
    while await ask(replay, lambda conn: quality.open_holes(conn, MARKET)):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    await ask(replay, lambda conn: conn.fetchval("select 1"))
    at_ms = await replay.settle()
    await drained(replay)
    return at_ms


async def _verdict(replay: Replay, stretch: Stretch, folder: Path, at_ms: int) -> dict[str, Any]:
    """Compare all that is stored with the backtest from the moment on at which the instances began to decide."""
    start_ms = min((await replay.query(records.live_from)).values(), default=0)
    if not start_ms:
        raise MantaError("No instance ever began to decide.", fix="Soak for longer.")
    first_ms: int = await replay.query(lambda conn: candles.first_open(conn, MARKET, "1m"))
    whole = begin_at(stretch, start_ms, first_ms)
    if whole.candles[-1].close_time_ms < at_ms:
        raise BadInput("The replay came to the end of its candles.", field="file", fix="Soak for less time.")
    run = await replay.query(lambda conn: records.read_run(conn, BOOK, upto_ms=at_ms))
    known = await replay.query(markets.read_markets)
    suppressed = RunRecords(decisions=run.decisions).suppressed()
    reference = await asyncio.to_thread(
        run_reference,
        whole.candles,
        instances=resolve_instances(whole.config, start_ms),
        features=whole.config.features,
        book_id=BOOK,
        book=replay.host.config.books[BOOK],
        markets=known,
        live_from_ms=start_ms,
        suppressed=suppressed,
    )
    found = Findings()
    judge(found, whole, run, reference.records, at_ms)
    delivered = Delivered(folder / "data" / "logs")

    async def look(conn: Connection) -> None:
        await check_candles(conn, found, whole, 0, at_ms)
        # What closed while the host was away is history to the next session, and told to nobody as news.
        await check_events(conn, found, reference.records, None, start_ms, at_ms)
        await check_venue(conn, found, run)
        await check_messages(conn, found, whole.config.notify, reference.records, delivered, at_ms)

    await replay.query(look)
    return {
        "missing": found.missing,
        "doubled": found.doubled,
        "marked": found.marked,
        "wrong": found.wrong,
        "explained": [f"{key}: {reason}" for key, (_, reason) in sorted(suppressed.items())],
        "candles": (at_ms - start_ms) // MINUTE_MS,
        "decisions": sum(1 for item in run.decisions if item.actions),
        "fills": len(run.fills),
    }
