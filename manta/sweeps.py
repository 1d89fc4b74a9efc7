"""What ``manta sweep`` does: runs and resumes in this process, and what is read from the database."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from backtest.requests import BacktestRequest
from backtest.sources import load_sources
from backtest.sweep.coordinator import run_sweep
from backtest.sweep.estimate import Estimate, estimate
from backtest.sweep.objective import OWN, check_metric
from backtest.sweep.reported import Reported, filter_of, read_report
from backtest.sweep.request import SweepRequest, read_sweep, widest
from manta.backtests import BacktestArguments, readable_files_of, single_request_of
from manta.output import console, write_text
from manta.searching import Kind, Wanted, share_of, told_engine, told_left_out
from trading.atomic_files import replacing
from trading.errors import BadInput
from trading.storage import sweeps
from trading.storage.database import Connection, Database
from trading.storage.searches import SPAN, STATUS

__all__ = [
    "best_of",
    "delete_run",
    "export_run",
    "list_runs",
    "resume_command",
    "run_command",
    "show_run",
    "stop_run",
    "write_page",
]

_ASKS = {"reference": 2_000, "kernel": 100_000}
"""Of more the command asks; what the API takes without a question has a limit of its own."""
_SWEEPS = Kind(sweeps.JOBS, "sweep", "Sweep", run_sweep)
resume_command, stop_run = _SWEEPS.resume, _SWEEPS.stop
_ROW = f"""select s.run_id::text, s.strategy, s.market, s.intervals, {STATUS} as status, s.progress, s.engine,
    s.engine_why, s.combos, s.tried, s.runs, s.refused, s.final_stage, s.error, s.config, s.results, s.created_at::text,
    s.finished_at::text, {SPAN} from sweeps s"""  # noqa: S608 - our own text


def run_command(
    arguments: BacktestArguments,
    wanted: Wanted,
    config_path: Path | None,
    *,
    holdout: str,
    workers: int | None,
    yes: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Check the request, ask when it is large, run it, store it as it comes."""
    base = single_request_of(arguments, config_path)
    files = readable_files_of(arguments.files, [base.market])
    request = read_sweep({"backtest": base, **wanted.fields(), "holdout": share_of(holdout)})
    wide = widest(request)
    told_left_out(request.backtest, arguments, request.grid, config_path)
    _ask(request, wide, files, config_path, workers=workers, yes=yes)
    found: dict[str, Any] = _SWEEPS.start(request, files, config_path, workers=workers, quiet=quiet)
    return found


def list_runs(config_path: Path | None) -> list[dict[str, Any]]:
    async def work(database: Database) -> list[dict[str, Any]]:
        rows = await database.run(lambda connection: connection.fetch(f"{_ROW} order by s.created_at desc, s.run_id"))
        return [_summary(row) for row in rows]

    return _SWEEPS.with_database(config_path, work)


def show_run(text: str, config_path: Path | None) -> dict[str, Any]:
    """A sweep as it is now, with its findings when it is done; BadInput when there is none of this name."""

    async def work(database: Database) -> dict[str, Any]:
        row = await _row(database, text)
        config = {name: value for name, value in row["config"].items() if name != "backtest"}
        return {**_summary(row), "request": config, "engine_why": row["engine_why"], **(row["results"] or {})}

    return _SWEEPS.with_database(config_path, work)


def best_of(text: str, config_path: Path | None, *, by: str | None, top: int) -> dict[str, Any]:
    """The best ``top`` sets that fulfil the sweep's constraints, by its objective or by another metric."""
    run_id = _SWEEPS.id_of(text)

    async def work(database: Database) -> dict[str, Any]:
        row = await _row(database, text)
        if by is not None:
            check_metric(by, "by", own=row["config"]["objective"] == OWN)
        metric = by or row["config"]["objective"]
        wanted = filter_of(row["config"], metric)
        found = await database.run(
            lambda connection: sweeps.read_page(connection, run_id, row["final_stage"], wanted, limit=top)
        )
        kept = [{name: item[name] for name in ("number", "params", "metrics", "trades")} for item in found]
        return {"run_id": text, "by": metric, "tried": row["tried"], "grid": list(row["config"]["grid"]), "best": kept}

    return _SWEEPS.with_database(config_path, work)


def export_run(text: str, path: Path, config_path: Path | None) -> dict[str, Any]:
    """Write all scores to ``path``, csv or parquet by its name: whole or not at all."""
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix)
    if write is None:
        raise BadInput(
            f"{path} is neither .csv nor .parquet.", field="file", value=str(path), fix="Name it like scores.parquet."
        )
    run_id = _SWEEPS.id_of(text)

    async def work(database: Database) -> list[Any]:
        await _row(database, text)
        return await database.run(lambda connection: sweeps.JOBS.read_results(connection, run_id), deadline_s=300)

    rows = _SWEEPS.with_database(config_path, work)
    if not rows:
        raise BadInput(f"Sweep {text} has no scores yet.", field="run_id", value=text, fix="Wait for the first ones.")
    write(path, _columns(rows))
    return {"path": str(path), "rows": len(rows)}


def write_page(text: str, out: Path | None, config_path: Path | None) -> dict[str, str]:
    """Write the report of a finished sweep to ``out``, by default beside the caller; BadInput when it has none."""

    async def work(database: Database) -> Reported | None:
        await _row(database, text)
        return await database.run(lambda connection: read_report(connection, _SWEEPS.id_of(text)), deadline_s=300)

    found = _SWEEPS.with_database(config_path, work)
    if found is None:
        raise BadInput(
            f"Sweep {text} is not done, so it has no report.",
            field="run_id",
            value=text,
            fix=f"`manta sweep show {text}` tells how far it is.",
        )
    path = out or Path(f"sweep-{text}.html")
    write_text(path, found.page(text), "out")
    return {"path": str(path)}


def delete_run(text: str, config_path: Path | None, *, force: bool) -> dict[str, str]:
    """Remove a sweep and its scores; BadInput when it runs and nobody insists."""

    async def work(database: Database) -> None:
        row = await _row(database, text)
        if row["status"] in ("queued", "running") and not force:
            raise BadInput(
                f"Sweep {text} is {row['status']}.", field="run_id", value=text, fix="Stop it first, or add --force."
            )
        await database.run(
            lambda connection: connection.execute("delete from sweeps where run_id = $1", _SWEEPS.id_of(text)),
            deadline_s=300,
        )

    _SWEEPS.with_database(config_path, work)
    return {"deleted": text}


def _ask(
    request: SweepRequest,
    wide: BacktestRequest,
    files: Mapping[str, Path],
    config_path: Path | None,
    *,
    workers: int | None,
    yes: bool,
) -> None:
    """Ask before a large sweep, and tell how long it may take, from a sample of it; click's Abort where it is not
    wanted, and BadInput where nobody can be asked.
    """
    engine = told_engine(request.backtest)
    most = _ASKS[engine]
    if request.combos <= most or yes:
        return
    said = f"{request.combos:,} combinations are a lot for the {engine} engine."
    if not sys.stdin.isatty():
        raise BadInput(
            said,
            field="grid",
            value=request.combos,
            fix="Add --yes to try them all, or try some with --random N or --optuna N.",
        )
    console.print(f"{said} A few are timed first.", style="dim", markup=False)

    async def timed(database: Database) -> Estimate:
        [source] = await database.run(lambda connection: load_sources(connection, wide, files), deadline_s=300)
        return await estimate(database, request, source, workers or len(os.sched_getaffinity(0)))

    told = _SWEEPS.with_database(config_path, timed)
    typer.confirm(f"{request.combos:,} combinations take {told}. Try them all?", abort=True, err=True)


async def _row(database: Database, text: str) -> Any:
    run_id = _SWEEPS.id_of(text)

    async def read(connection: Connection) -> Any:
        return await connection.fetchrow(f"{_ROW} where s.run_id = $1", run_id)

    row = await database.run(read)
    if row is None:
        raise _SWEEPS.unknown(text)
    return row


def _summary(row: Any) -> dict[str, Any]:
    names = (
        "run_id",
        "strategy",
        "market",
        "intervals",
        "start",
        "end",
        "status",
        "progress",
        "engine",
        "combos",
        "tried",
        "runs",
        "refused",
        "error",
        "created_at",
        "finished_at",
    )
    best = (row["results"] or {}).get("best")
    return {
        **{name: row[name] for name in names},
        "objective": row["config"]["objective"],
        "value": best["value"] if best else None,
        "searched": best["searched"] if best else None,
    }


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    """By name: place, parameters, which may be called like metrics and get a prefix, trades and metrics."""
    params = list(dict.fromkeys(name for row in rows for name in row["params"]))
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    return {
        "stage": [row["stage"] for row in rows],
        "number": [row["number"] for row in rows],
        **{f"param_{name}": [row["params"].get(name) for row in rows] for name in params},
        "trades": [row["trades"] for row in rows],
        **{name: [row["metrics"].get(name) for row in rows] for name in metrics},
    }


def _write_csv(path: Path, columns: Mapping[str, list[Any]]) -> None:
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        text.detach()


def _write_parquet(path: Path, columns: Mapping[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with replacing(path) as file:
        parquet.write_table(pa.table(dict(columns)), file)
