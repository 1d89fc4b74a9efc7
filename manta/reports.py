"""What ``manta backtest list | report | reproduce | compare`` do with stored runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from backtest.report.page import page_of
from backtest.report.table import trades_csv
from backtest.reproduce import StoredBacktest, compare, read_backtest, reproduce
from manta.backtests import files_of
from manta.output import write_text
from manta.service import database_target
from manta.tables import ratio, signed_percent, table
from trading.errors import BadInput
from trading.storage.database import Database
from trading.storage.migrate import migrate

__all__ = [
    "compare_runs",
    "compared_words",
    "list_runs",
    "list_words",
    "reproduce_run",
    "reproduced_words",
    "write_report",
]

Result = TypeVar("Result")

_LIST = """select run_id::text, strategy, market, intervals, status, error, created_at::text,
    (results #>> '{total_return}')::float8 as total_return, (results #>> '{sharpe}')::float8 as sharpe
    from backtest_runs order by created_at desc, run_id"""


def list_runs(config_path: Path | None) -> list[dict[str, Any]]:
    async def read(database: Database) -> list[dict[str, Any]]:
        return [dict(row) for row in await database.run(lambda connection: connection.fetch(_LIST))]

    return _with_database(config_path, read)


def write_report(text: str, form: str, out: Path | None, config_path: Path | None) -> dict[str, str]:
    """Write the report beside the caller or to ``out``; BadInput for a form or run that does not exist."""
    if form not in ("html", "json", "csv"):
        raise BadInput(f"There is no format {form!r}.", field="format", value=form, fix="Use html, json or csv.")
    run_id = _id(text)
    stored = _with_database(config_path, lambda database: _read(database, run_id))
    path = out or Path(f"backtest-{run_id}.{form}")
    if form == "html":
        content = page_of(stored["report"], stored["provenance"], str(run_id))
    elif form == "csv":
        content = trades_csv(stored["report"])
    else:
        content = json.dumps({"run_id": str(run_id), **stored["report"], "provenance": stored["provenance"]}, indent=1)
    write_text(path, content, "out")
    return {"path": str(path), "format": form}


def reproduce_run(text: str, files: Sequence[str], config_path: Path | None) -> dict[str, Any]:
    """Run it again; ``files`` are where its candles are now, as ``manta backtest run`` takes them."""
    run_id = _id(text)

    def place(markets: Sequence[str]) -> Mapping[str, Path]:
        return files_of(files, markets, of_all=False)

    return _with_database(config_path, lambda database: reproduce(database, run_id, place))


def compare_runs(one: str, two: str, config_path: Path | None) -> dict[str, Any]:
    ids = _id(one), _id(two)

    async def read(database: Database) -> dict[str, Any]:
        first, second = [await _read(database, run_id) for run_id in ids]
        return compare(first, second)

    return _with_database(config_path, read)


def list_words(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "There is no backtest yet."
    names = ("run_id", "strategy", "market", "status")
    listed = [
        [*(row[name] for name in names), signed_percent(row["total_return"]), ratio(row["sharpe"])] for row in rows
    ]
    return "\n".join(table(["id", *names[1:], "return", "Sharpe"], listed, left=4))


def reproduced_words(result: dict[str, Any]) -> str:
    changed = [f"- changed: {text}" for text in result["changed"]]
    if result["same"]:
        return "\n".join([f"The same to the last bit ({result['result']}).", *changed])
    told = {**result["figures"], **result["parts"]}
    figures = [f"- {name}: {_text(then)} then, {_text(now)} now" for name, (then, now) in told.items()]
    reason = [] if changed else ["- nothing it was made of has changed: this is a bug, please report it"]
    return "\n".join(["It came out differently.", *changed, *reason, *figures])


def compared_words(result: dict[str, Any]) -> str:
    lines = [f"{'':24}{result['runs'][0][:8]:>16}{result['runs'][1][:8]:>16}"]
    lines += [f"{name:24}{_text(one):>16}{_text(two):>16}" for name, (one, two) in result["figures"].items()]
    if len(result["parts"]) > 1:
        lines += ["total return of"]
        lines += [f"  {name:46}{_text(one):>16}{_text(two):>16}" for name, (one, two) in result["parts"].items()]
    lines += [f"- asked for {name}: {one} and {two}" for name, (one, two) in result["request"].items()]
    lines += [f"- made of {text.replace(' then,', ' and').removesuffix(' now')}" for text in result["changed"]]
    return "\n".join([*lines, "- both did the same, to the last bit" if result["same"] else "- they differ"])


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:,.4f}" if isinstance(value, float) else str(value)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise BadInput(
            f"There is no backtest {text}.", field="run_id", value=text, fix="`manta backtest list` names them."
        ) from error


async def _read(database: Database, run_id: UUID) -> StoredBacktest:
    return await database.run(lambda connection: read_backtest(connection, run_id))


def _with_database(config_path: Path | None, work: Callable[[Database], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with database_target(config_path) as target:
            await migrate(target, "venue")
            async with Database(target, application_name="manta backtest") as database:
                return await work(database)

    return asyncio.run(run())
