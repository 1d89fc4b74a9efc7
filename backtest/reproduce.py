"""Make a stored run again, and say whether it gave the same bits; put two runs side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from backtest.provenance import changes, provenance_of, records_fingerprint
from backtest.run import BacktestRequest, book_of, load_source, run_backtest
from trading.errors import BadInput
from trading.storage.database import Connection, Database

__all__ = ["StoredBacktest", "compare", "read_backtest", "reproduce"]

StoredBacktest = dict[str, Any]
"""run_id, strategy, market, intervals, status, error, config, results, provenance and report of a run."""

_COLUMNS = "run_id::text, strategy, market, intervals, status, error, config, results, provenance, report"


async def read_backtest(connection: Connection, run_id: UUID) -> StoredBacktest:
    """A finished run; BadInput when there is none, or it has no result."""
    row = await connection.fetchrow(f"select {_COLUMNS} from backtest_runs where run_id = $1", run_id)  # noqa: S608
    if row is None:
        raise BadInput(
            f"There is no backtest {run_id}.",
            field="run_id",
            value=str(run_id),
            fix="`manta backtest list` names them.",
        )
    if row["results"] is None or row["provenance"] is None:
        said = "was run before reports were stored" if row["results"] is not None else f"is {row['status']}"
        raise BadInput(
            f"Backtest {run_id} {said}. {row['error']}".strip(), field="run_id", value=str(run_id), fix="Run it again."
        )
    return dict(row)


async def reproduce(database: Database, run_id: UUID, file: Path | None = None) -> dict[str, Any]:
    """Run it again over the same candles. ``same`` says that every record is equal to the last bit.

    If not, ``changed`` names what it was made of that is not as it was, and ``figures`` what came out differently.
    ``file`` is where its candles are now, if it was run over a file that has moved.
    """
    stored = await database.run(lambda connection: read_backtest(connection, run_id))
    request = BacktestRequest.model_validate(stored["config"])
    then = stored["provenance"]
    given = file or (Path(then["file"]) if then["file"] else None)
    source = await database.run(lambda connection: load_source(connection, request, given), deadline_s=300)
    result, summary, _ = await asyncio.to_thread(run_backtest, request, source, book_of(run_id))
    now = {**provenance_of(request, source, given), "result": records_fingerprint(result.records)}
    return {
        "run_id": str(run_id),
        "same": then["result"] == now["result"],
        "result": now["result"],
        "changed": changes(then, now),
        "figures": _differences(_figures(stored["results"]), _figures(summary)),
    }


def compare(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs were asked for and made of that differs, and all figures side by side."""
    return {
        "runs": [one["run_id"], two["run_id"]],
        "request": _differences(one["config"], two["config"]),
        "changed": changes(one["provenance"], two["provenance"]),
        "same": one["provenance"]["result"] == two["provenance"]["result"],
        "figures": {
            name: [value, _figures(two["results"]).get(name)] for name, value in _figures(one["results"]).items()
        },
    }


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results["metrics"].items() if not isinstance(value, dict)}


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys((*one, *two))
    return {name: [one.get(name), two.get(name)] for name in names if one.get(name) != two.get(name)}
