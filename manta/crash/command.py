"""What ``manta verify crash`` runs, and how its result reads: as words on a terminal, as a page of the docs."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.crash import VICTIMS
from manta.crash.cells import PLACES, QUICK_CELLS, place_name
from manta.crash.matrix import MatrixOptions, run_matrix
from manta.crash.soak import SoakOptions, run_soak, soak_words
from manta.crash.stretches import STRETCHES
from trading import __version__
from trading.errors import BadInput
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["CrashArguments", "crash_page", "crash_words", "run_crash"]

_TITLES = {
    "self": "kill -9 the actor",
    "postgres": "kill -9 Postgres",
    "connection": "cut its connection",
    "host": "kill -9 the host",
    "raylet": "kill -9 Ray's raylet",
}


@dataclass(frozen=True, slots=True)
class CrashArguments:
    """The options of the command. ``soak_s`` asks for a soak instead of the matrix."""

    cells: int | None = None
    quick: bool = False
    stretch: str | None = None
    soak_s: float | None = None
    seed: int = 1
    file: Path | None = None
    write: Path | None = None
    quiet: bool = False


def run_crash(arguments: CrashArguments) -> dict[str, Any]:
    """Run the matrix, or a soak; BadInput when the options do not go together."""
    if arguments.soak_s is not None:
        if arguments.cells or arguments.quick or arguments.stretch or arguments.write:
            raise BadInput(
                "A soak has no cells to choose or to write.",
                field="soak",
                fix="Leave out --cells, --quick, --stretch, --write.",
            )
        soak = SoakOptions(arguments.soak_s, arguments.seed, arguments.file or SAMPLE_FILE, arguments.quiet)
        return asyncio.run(run_soak(soak))
    if arguments.stretch not in (None, *STRETCHES):
        raise BadInput(
            f"There is no stretch {arguments.stretch!r}.",
            field="stretch",
            value=arguments.stretch,
            fix=f"Write one of {', '.join(STRETCHES)}, or leave it out for both.",
        )
    stretches = STRETCHES if arguments.stretch is None else (arguments.stretch,)
    cells = QUICK_CELLS if arguments.quick and arguments.cells is None else arguments.cells
    options = MatrixOptions(cells, arguments.seed, stretches, arguments.file or SAMPLE_FILE, arguments.quiet)
    result = asyncio.run(run_matrix(options))
    if arguments.write is not None:
        arguments.write.write_text(crash_page(result, cells, arguments.stretch), encoding="utf-8")
    return result


def crash_words(result: Mapping[str, Any]) -> str:
    if "faults" in result:
        return soak_words(result)
    verdict = "all green" if not result["failed"] else f"{result['failed']} FAILED"
    lines = [
        f"{verdict}: {result['cells']} crashes, {result['missing']} missing, {result['doubled']} doubled "
        f"(seed {result['seed']}, {result['seconds']:.0f} s)",
        "",
        *_aligned([row for row in _table(result["rows"]) if set(row[1:]) != {"–"}]),
    ]
    for row in result["rows"]:
        if not row["ok"]:
            place = place_name(row["actor"], row["boundary"])
            lines += ["", f"{row['stretch']}, {row['victim']} at {place}, {row['at_ms']}:", *row["wrong"][:6]]
    return "\n".join(lines)


def crash_page(result: Mapping[str, Any], cells: int | None, stretch: str | None = None) -> str:
    """docs/crash-matrix.md for one run."""
    asked = (f" --cells {cells}" if cells else "") + (f" --stretch {stretch}" if stretch else "")
    header, *rows = _table(result["rows"])
    by_stretch = {name: sum(row["stretch"] == name for row in result["rows"]) for name in ("scripted", "real")}
    lines = [
        "# Crash matrix",
        "",
        "Written by `manta verify crash --write docs/crash-matrix.md`; [when things break](when-things-break.md) says",
        "what each of these crashes means to you.",
        "",
        "Each cell is one crash in a running system: the victim is hurt, for real, when the actor passes the boundary,",
        "at a moment chosen by the seed. The replay then goes on to a checkpoint, where everything that is stored is",
        "compared with an undisturbed run: every minute is there or has its reason (I1), no candle was revised (I2),",
        "features, signals, decisions, orders, fills, transfers and equity are equal to the last digit (I5), no key is",
        "there twice (I6), the books add up (I7), and every message left exactly once, or says that it may be a",
        "repeat (I8). A cell counts only when its crash really happened.",
        "",
        f"- {result['cells']} cells ({by_stretch['scripted']} over a scripted stretch with absent minutes and funding, "
        f"{by_stretch['real']} over recorded candles)",
        f"- failed: {result['failed']}, missing: {result['missing']}, doubled: {result['doubled']}",
        f"- {result['seconds']:.0f} s on {os.cpu_count()} cores, "
        f"{datetime.now(UTC):%Y-%m-%d}, Manta {__version__}, Ray {version('ray')}, Python {platform.python_version()}",
        f"- command: `./run verify crash{asked} --seed {result['seed']} --write docs/crash-matrix.md`",
        "",
        "`2/2`: both cells held. `–`: not in this run, or no such thing (the supervisor sends nothing).",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "What is hurt: *the actor* is its worker process; *Postgres* is the postmaster; *its connection* is the",
        "actor's socket to Postgres, for the feed the one to the venue; *the host* is the process of `manta up`;",
        "*Ray's raylet* is the daemon that all actors of the node depend on. Where:",
        "",
        "| boundary | means |",
        "|---|---|",
        "| after_read | a message is taken, nothing is done about it |",
        "| before_commit | the effects are known, nothing is written |",
        "| before_cursor | the effects are written, the cursor is not, in one transaction |",
        "| in_commit | COMMIT is sent, its answer is not seen; in_claim: the same for the notifier's claim |",
        "| after_commit | the effects and the cursor are durable, nobody is told |",
        "| before_send | the next actor, or the channel, is about to be told |",
        "| after_send | it is told, its answer is not seen |",
        "| after_ack | it has answered, nothing is noted about that |",
        "",
    ]
    return "\n".join(lines)


def _table(rows: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """The header, then a row for each place: how many of its cells held, by victim."""
    counts: dict[tuple[str, str, str], list[bool]] = {}
    for row in rows:
        counts.setdefault((row["actor"], row["boundary"], row["victim"]), []).append(row["ok"])
    table = [["where", *(_TITLES[victim] for victim in VICTIMS)]]
    for actor, boundary in PLACES:
        held = [counts.get((actor, boundary, victim), []) for victim in VICTIMS]
        table.append([place_name(actor, boundary), *(f"{sum(cell)}/{len(cell)}" if cell else "–" for cell in held)])
    return table


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
