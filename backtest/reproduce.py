"""Make a stored run again, and say whether it gave the same bits; put two runs side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from backtest.provenance import changes, files_of, provenance_of, records_fingerprint
from backtest.run import BookRequest, RunRequest, book_of, load_sources, read_request, run_backtest
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


async def reproduce(
    database: Database, run_id: UUID, place: Callable[[Sequence[str]], Mapping[str, Path]] | None = None
) -> dict[str, Any]:
    """Run it again over the same candles. ``same`` says that every record is equal to the last bit.

    If not, ``changed`` names what it was made of that is not as it was, and ``figures`` what came out differently.
    ``place`` says for its markets where their candles are now, if it was run over files that have moved.
    """
    stored = await database.run(lambda connection: read_backtest(connection, run_id))
    request = read_request(stored["config"])
    then = stored["provenance"]
    files = {**files_of(request.traded[0], then), **(place(request.traded) if place is not None else {})}
    sources = await database.run(lambda connection: load_sources(connection, request, files), deadline_s=300)
    result, summary, _ = await asyncio.to_thread(run_backtest, request, sources, book_of(run_id))
    now = {**provenance_of(request, sources, files), "result": records_fingerprint(result.records)}
    return {
        "run_id": str(run_id),
        "same": then["result"] == now["result"],
        "result": now["result"],
        "changed": changes(then, now),
        "figures": _differences(_figures(stored["results"]), _figures(summary)),
        "parts": _differences(_parts(stored["results"]), _parts(summary)),
    }


def compare(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs were asked for and made of that differs, and all figures side by side, with the total return of
    each part of the capital that either run has.
    """
    parts = _parts(one["results"]), _parts(two["results"])
    return {
        "runs": [one["run_id"], two["run_id"]],
        "request": _differences(*_asked(one["config"], two["config"])),
        "changed": changes(one["provenance"], two["provenance"]),
        "same": one["provenance"]["result"] == two["provenance"]["result"],
        "figures": {
            name: [value, _figures(two["results"]).get(name)] for name, value in _figures(one["results"]).items()
        },
        "parts": {name: [own.get(name) for own in parts] for name in dict.fromkeys((*parts[0], *parts[1]))},
    }


def _asked(*configs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The requests flat, to be compared: of runs with instances each setting under its instance's name."""
    if not any("strategies" in config for config in configs):
        return list(configs)
    requests = [read_request(config) for config in configs]
    out: list[Mapping[str, Any]] = []
    for request in requests:
        flat = request.model_dump(mode="json", include=set(RunRequest.model_fields))
        flat["markets"] = list(request.traded)
        for item in request.configured:
            # A run of one strategy has no name for its only instance, so the strategy's stands for it.
            name = item.name if isinstance(request, BookRequest) else item.strategy
            settings = item.model_dump(mode="json", exclude={"name", "book"})
            flat |= {f"{name}.{key}": value for key, value in settings.items()}
        out.append(flat)
    return out


def _parts(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Total returns by instance, market and interval; none of runs from before they were stored."""
    return {
        f"{part['instance']} {part['market']} {part['interval']}": part["total_return"]
        for part in results.get("parts", ())
    }


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results["metrics"].items() if not isinstance(value, dict)}


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys((*one, *two))
    return {name: [one.get(name), two.get(name)] for name in names if one.get(name) != two.get(name)}
