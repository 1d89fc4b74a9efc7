"""What ``manta walkforward`` does: runs and resumes in this process, and what is read from the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backtest.honesty.stored import run_stored_walkforward
from backtest.honesty.walkforward import check_size, read_walkforward
from backtest.report.walkforward_page import walkforward_page
from manta.backtests import BacktestArguments, readable_files_of, single_request_of
from manta.output import write_text
from manta.searching import UNFINISHED, Kind, Wanted, told_engine, told_left_out
from trading.errors import BadInput
from trading.storage import walkforwards
from trading.storage.database import Connection, Database
from trading.storage.searches import SPAN, STATUS

__all__ = [
    "Windows",
    "delete_run",
    "list_runs",
    "resume_command",
    "run_command",
    "show_run",
    "stop_run",
    "write_page",
]

_WALKFORWARDS = Kind(walkforwards.JOBS, "walkforward", "Walk-forward", run_stored_walkforward)
resume_command, stop_run = _WALKFORWARDS.resume, _WALKFORWARDS.stop
_LIST = f"""select run_id::text, strategy, market, intervals, {STATUS} as status, error, progress, created_at::text,
    {SPAN},
    (results #>> '{{out_of_sample,total_return}}')::float8 as total_return,
    (results #>> '{{out_of_sample,sharpe}}')::float8 as sharpe
    from walkforwards s order by created_at desc, run_id"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Windows:
    """How time is cut into windows, by days."""

    mode: str
    train: int
    test: int
    purge: int
    embargo: int


def run_command(
    arguments: BacktestArguments,
    wanted: Wanted,
    windows: Windows,
    config_path: Path | None,
    *,
    workers: int | None,
    quiet: bool,
) -> dict[str, Any]:
    """Check the request, run it, store it as it comes; raises MantaError."""
    base = single_request_of(arguments, config_path)
    files = readable_files_of(arguments.files, [base.market])
    request = read_walkforward({"backtest": base, **wanted.fields(), **asdict(windows)})
    check_size(request)
    told_left_out(request.backtest, arguments, request.grid, config_path)
    told_engine(request.backtest)
    found: dict[str, Any] = _WALKFORWARDS.start(request, files, config_path, workers=workers, quiet=quiet)
    return found


def list_runs(config_path: Path | None) -> list[dict[str, Any]]:
    async def read(database: Database) -> list[dict[str, Any]]:
        return [dict(row) for row in await database.run(lambda connection: connection.fetch(_LIST))]

    return _WALKFORWARDS.with_database(config_path, read)


def show_run(text: str, config_path: Path | None) -> dict[str, Any]:
    """The stored result; BadInput when there is none of this name or it has no result."""
    return {"run_id": text, "status": "done", **_read(text, config_path)[0]}


def write_page(text: str, out: Path | None, config_path: Path | None) -> dict[str, str]:
    """Write the page of a stored walk-forward to ``out``, by default beside the caller; raises as ``show_run``."""
    results, provenance = _read(text, config_path)
    path = out or Path(f"walkforward-{text}.html")
    write_text(path, walkforward_page(results, provenance, text), "out")
    return {"path": str(path)}


def delete_run(text: str, config_path: Path | None, *, force: bool) -> dict[str, str]:
    """Remove a walk-forward; BadInput when there is none of this name, or it has not finished and nobody insists."""
    run_id = _WALKFORWARDS.id_of(text)

    async def delete(connection: Connection) -> None:
        status = await connection.fetchval("select status from walkforwards where run_id = $1 for update", run_id)
        if status is None:
            raise _WALKFORWARDS.unknown(text)
        if status in ("queued", "running") and not force:
            raise BadInput(
                f"Walk-forward {text} is {status}.",
                field="run_id",
                value=text,
                fix="Wait until it is done, or add --force.",
            )
        await connection.execute("delete from walkforwards where run_id = $1", run_id)

    _WALKFORWARDS.with_database(config_path, lambda database: database.run(delete))
    return {"deleted": text}


def _read(text: str, config_path: Path | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Results and provenance of a finished walk-forward."""
    run_id = _WALKFORWARDS.id_of(text)

    async def work(database: Database) -> Any:
        return await database.run(
            lambda connection: connection.fetchrow(
                f"select {STATUS} as status, error, results, provenance from walkforwards s"  # noqa: S608 - our own text
                " where run_id = $1",
                run_id,
            )
        )

    row = _WALKFORWARDS.with_database(config_path, work)
    if row is None:
        raise _WALKFORWARDS.unknown(text)
    status, error, results, provenance = row
    if results is None:
        fix = f"`manta walkforward resume {text}` goes on with it." if status in UNFINISHED else None
        raise BadInput(f"Walk-forward {text} is {status}. {error}".strip(), field="run_id", value=text, fix=fix)
    return results, provenance
