"""The crash matrix: one crash after the other in replays in lockstep, each verified at a checkpoint of its own."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from actors.crash import CrashPoint
from backtest.reference import RunRecords, run_reference
from manta.crash.cells import Cell, choose, every_cell
from manta.crash.checks import BOOK, Delivered, Findings, check
from manta.crash.stretches import STRETCHES, SYMBOL, Stretch, real_stretch, scripted_stretch
from manta.crash.wire import wire_faults
from manta.output import console
from manta.progress import bar
from manta.replay import PATIENT_S, Replay, ReplayOptions
from trading.errors import BadInput, MantaError, StorageRetryable
from trading.instances import resolve_instances
from trading.intervals import MINUTE_MS
from trading.logs import configure_logging
from trading.storage import markets
from trading.storage.database import Connection
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["MatrixOptions", "Row", "ask", "drained", "run_matrix", "undisturbed"]

_LEAD = 10
_CELL_MINUTES = 30
# Meanwhile the wire to the paper venue has troubles of its own.
_WIRE_MINUTES = 100
# Messages come when strategies turn and supervisors look every second: a cell waits that much longer for its crash.
_MORE = 3
_MOMENT_S = 10.0
_DRAIN_S = 60.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """``cells`` None runs every one there is; those of other ``stretches`` are then left out.

    ``file`` is the real stretch; its candles are of BTCUSDT.
    """

    cells: int | None = None
    seed: int = 1
    stretches: tuple[str, ...] = STRETCHES
    file: Path = SAMPLE_FILE
    quiet: bool = False


@dataclass(slots=True)
class Row:
    """One cell and what came of it. ``at_ms`` is when the victim could be hurt at the earliest, in event time."""

    stretch: str
    actor: str
    boundary: str
    victim: str
    at_ms: int
    ok: bool
    missing: int
    doubled: int
    marked: int
    seconds: float
    wrong: list[str] = field(default_factory=list)


async def run_matrix(options: MatrixOptions) -> dict[str, Any]:
    """Run the chosen cells: {cells, failed, missing, doubled, seed, seconds, rows}; BadInput when there is none."""
    began = time.monotonic()
    chosen = [
        cell
        for cell in choose(options.cells or len(every_cell(options.seed)), options.seed)
        if cell.stretch in options.stretches
    ]
    if not chosen:
        raise BadInput(
            f"None of the {options.cells} cells is of {' or '.join(options.stretches)} candles.",
            field="cells",
            value=options.cells,
            fix="Ask for more cells, or for another seed.",
        )
    rows: list[Row] = []
    with bar("crashing", len(chosen), quiet=options.quiet) as advance:

        def tell(row: Row) -> None:
            rows.append(row)
            advance(len(rows))
            if not row.ok:
                console.print(f"{row.stretch}: {row.victim} at {row.actor} {row.boundary}: {'; '.join(row.wrong[:3])}")

        for name in options.stretches:
            await _run_stretch(name, [cell for cell in chosen if cell.stretch == name], options, tell)
    return {
        "cells": len(rows),
        "failed": sum(not row.ok for row in rows),
        "missing": sum(row.missing for row in rows),
        "doubled": sum(row.doubled for row in rows),
        "seed": options.seed,
        "seconds": round(time.monotonic() - began, 1),
        "rows": [asdict(row) for row in rows],
    }


async def _run_stretch(name: str, cells: list[Cell], options: MatrixOptions, tell: Callable[[Row], None]) -> None:
    """All cells of one stretch. A failed one leaves its traces, so a fresh session goes on after it."""
    left = list(cells)
    turn = 0
    while left:
        seed = options.seed + turn
        with tempfile.TemporaryDirectory(prefix="manta-crash-") as folder:
            configure_logging(Path(folder) / "verify.log")
            minutes = (len(left) + 1) * _CELL_MINUTES * _MORE // 2 + _CELL_MINUTES * _MORE
            stretch = (
                await asyncio.to_thread(scripted_stretch, Path(folder), seed, minutes)
                if name == "scripted"
                else await asyncio.to_thread(real_stretch, seed, minutes, options.file)
            )
            done = 0
            try:
                async for row in _session(stretch, left, seed, Path(folder)):
                    done += 1
                    tell(row if row.ok else _with_logs(row, Path(folder)))
            except MantaError as error:
                row = _row(left[done], 0, Findings(wrong=[str(error)]), 0.0)
                done += 1
                tell(_with_logs(row, Path(folder)))
        left = left[done:]
        turn += 1


async def _session(stretch: Stretch, cells: list[Cell], seed: int, folder: Path) -> Any:
    """Rows of ``cells`` in order, until one failed."""
    options = ReplayOptions(
        config=stretch.config,
        symbol=SYMBOL,
        file=stretch.file,
        start_ms=stretch.start_ms,
        lead=_LEAD,
        data_dir=folder / "data",
        apart=True,
        hurt=True,
        broker_faults=wire_faults(seed, folder, stretch.start_ms, len(stretch.candles), every_minutes=_WIRE_MINUTES),
    )
    dice = random.Random(seed)
    async with Replay(options) as replay:
        reference = await undisturbed(replay, stretch)
        delivered = Delivered(folder / "data" / "logs")
        at_ms = stretch.start_ms
        for number, cell in enumerate(cells):
            began = time.monotonic()
            begin_ms, hurt_ms = at_ms, at_ms + dice.randint(1, _CELL_MINUTES * 2 // 3) * MINUTE_MS
            marker = folder / f"hurt-{number}"
            # The supervisor looks at the host's clock, not at candles.
            due_ms = 0 if cell.actor == "supervisor" else hurt_ms
            replay.crashes.arm(CrashPoint(cell.actor, cell.boundary, due_ms, cell.victim, str(marker)))
            for _ in range(_MORE):
                at_ms = stretch.checkpoint(at_ms + _CELL_MINUTES * MINUTE_MS)
                await replay.run_to(at_ms, exactly=True)
                if await _eventually(marker.exists, 0.0 if cell.actor != "supervisor" else _MOMENT_S):
                    break
            await drained(replay)
            found = await ask(
                replay, lambda conn, a=begin_ms, b=at_ms: check(conn, stretch, reference, delivered, a, b)
            )
            if not marker.exists():
                replay.crashes.disarm()
                found.wrong.insert(0, "the crash did not happen")
            row = _row(cell, hurt_ms, found, time.monotonic() - began)
            yield row
            if not row.ok:
                return


async def undisturbed(replay: Replay, stretch: Stretch) -> RunRecords:
    """What the book of an undisturbed run over the whole stretch is."""
    known = await replay.query(markets.read_markets)
    config = replay.host.config
    result = await asyncio.to_thread(
        run_reference,
        stretch.candles,
        instances=resolve_instances(config, stretch.start_ms),
        features=config.features,
        book_id=BOOK,
        book=config.books[BOOK],
        markets=known,
        live_from_ms=stretch.start_ms,
    )
    return result.records


async def drained(replay: Replay) -> None:
    """Wait until no message and no order waits to be sent. A host that just died is started again."""

    async def waiting(conn: Connection) -> int:
        found: int = await conn.fetchval(
            """
            select (select count(*) from outbox where state in ('pending', 'sending'))
                + (select count(*) from orders where status in ('intent', 'unknown'))
            """
        )
        return found

    deadline = time.monotonic() + _DRAIN_S
    while await ask(replay, waiting):
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_S)


async def ask(replay: Replay, question: Callable[[Connection], Any]) -> Any:
    """A read that outlives the end of the host and of its Postgres."""
    deadline = time.monotonic() + _DRAIN_S * 3
    while True:
        try:
            await replay.revive()
            return await replay.query(question, deadline_s=PATIENT_S)
        except StorageRetryable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)


async def _eventually(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _with_logs(row: Row, folder: Path) -> Row:
    """Keep the logs of a session in which a cell failed, and say where they are."""
    kept = Path(tempfile.mkdtemp(prefix="manta-crash-logs-"))
    shutil.copytree(folder / "data" / "logs", kept, dirs_exist_ok=True)
    row.wrong.append(f"logs: {kept}")
    return row


def _row(cell: Cell, at_ms: int, found: Findings, seconds: float) -> Row:
    return Row(
        stretch=cell.stretch,
        actor=cell.actor,
        boundary=cell.boundary,
        victim=cell.victim,
        at_ms=at_ms,
        ok=found.ok,
        missing=found.missing,
        doubled=found.doubled,
        marked=found.marked,
        seconds=round(seconds, 2),
        wrong=found.wrong,
    )
