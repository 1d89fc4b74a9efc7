"""Rows of sweeps and of what each set of parameters scored. One process at a time owns a sweep and may write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from trading.errors import Halt
from trading.storage.database import Connection
from trading.storage.jobs import Searches

__all__ = [
    "JOBS",
    "STATUS",
    "Filter",
    "ResultRow",
    "beat",
    "begin",
    "read_page",
    "read_results",
    "set_done",
    "set_failed",
    "stop",
    "store",
    "take",
]

JOBS = Searches("sweeps")

SILENT_S = 15
STATUS = (
    f"case when s.status = 'running' and s.heartbeat_at < clock_timestamp() - interval '{SILENT_S} seconds'"
    " then 'interrupted' else s.status end"
)
"""The status of ``sweeps s`` as it is: a running one whose process has not been heard of was interrupted."""

_RESULT_COLUMNS = "stage, number, params, metrics, trades"


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One set of parameters in one stage, what it scored, and its daily returns if the engine gave them."""

    stage: int
    number: int
    params: Mapping[str, int | float]
    metrics: Mapping[str, float | None]
    trades: int
    returns: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which results count, and their order: ``bounds`` are metric, sign and number; ``metric`` may also be trades."""

    metric: str
    descending: bool
    min_trades: int = 0
    bounds: tuple[tuple[str, str, float], ...] = ()


async def take(connection: Connection, run_id: UUID, owner: UUID) -> Any:
    """Become the owner of a sweep and return its row, None if there is none; an owner before us writes no more."""
    return await connection.fetchrow(
        "update sweeps set owner = $2, status = 'running', error = '', heartbeat_at = clock_timestamp(),"
        " finished_at = null where run_id = $1 returning *",
        run_id,
        owner,
    )


async def begin(
    connection: Connection,
    run_id: UUID,
    *,
    config: dict[str, Any],
    provenance: dict[str, Any],
    engine: tuple[str, str],
    combos: int,
    final_stage: int,
) -> None:
    """Say what the sweep runs on and how much there is to do. ``engine`` is its name and why it is that one."""
    await connection.execute(
        "update sweeps set config = $2, provenance = $3, engine = $4, engine_why = $5, combos = $6, final_stage = $7"
        " where run_id = $1",
        run_id,
        config,
        provenance,
        *engine,
        combos,
        final_stage,
    )


async def store(
    connection: Connection, run_id: UUID, owner: UUID, rows: Sequence[ResultRow], *, refused: int, progress: float
) -> bool:
    """Keep ``rows``, each once however often it is stored; whether the sweep is to go on. Halt if another took it."""
    goes_on = await beat(connection, run_id, owner, refused=refused, progress=progress)
    status = await connection.execute(
        """
        insert into sweep_results (run_id, stage, number, params, metrics, trades, returns)
        select $1, stage, number, params::jsonb, metrics::jsonb, trades, returns::float8[]
        from unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[])
            as fresh (stage, number, params, metrics, trades, returns)
        on conflict do nothing
        """,
        run_id,
        [row.stage for row in rows],
        [row.number for row in rows],
        [json.dumps(row.params) for row in rows],
        [json.dumps(row.metrics) for row in rows],
        [row.trades for row in rows],
        [None if row.returns is None else "{" + ",".join(map(repr, row.returns)) + "}" for row in rows],
    )
    fresh = int(status.rsplit(" ", 1)[-1])
    await connection.execute("update sweeps set tried = tried + $2 where run_id = $1", run_id, fresh)
    return goes_on


async def beat(connection: Connection, run_id: UUID, owner: UUID, *, refused: int, progress: float) -> bool:
    """Say that the owner lives and how far it is; whether the sweep is to go on. Halt if another took it over."""
    row = await connection.fetchrow(
        "update sweeps set heartbeat_at = clock_timestamp(), refused = $3, progress = greatest(progress, $4)"
        " where run_id = $1 and owner = $2 returning status",
        run_id,
        owner,
        refused,
        progress,
    )
    if row is None:
        raise Halt(
            f"Sweep {run_id} was resumed by another process, or deleted.", fix="`manta sweep show` tells how far it is."
        )
    return bool(row["status"] == "running")


async def stop(connection: Connection, run_id: UUID, owner: UUID | None = None) -> str | None:
    """Stop a sweep that waits or runs; its status before, None if there is none of this id, or of this ``owner``."""
    before: str | None = await connection.fetchval(
        "select status from sweeps where run_id = $1 and ($2::uuid is null or owner = $2) for update", run_id, owner
    )
    if before in ("queued", "running"):
        await connection.execute("update sweeps set status = 'stopped' where run_id = $1", run_id)
    return before


async def set_done(connection: Connection, run_id: UUID, owner: UUID, results: dict[str, Any]) -> None:
    await connection.execute(
        "update sweeps set status = 'done', progress = 1, results = $3, finished_at = clock_timestamp()"
        " where run_id = $1 and owner = $2",
        run_id,
        owner,
        results,
    )


async def set_failed(connection: Connection, run_id: UUID, owner: UUID, error: str) -> None:
    """Keep why it ended, unless another process has taken it over or it was stopped meanwhile."""
    await connection.execute(
        "update sweeps set status = 'failed', error = $3, finished_at = clock_timestamp()"
        " where run_id = $1 and owner = $2 and status = 'running'",
        run_id,
        owner,
        error,
    )


async def read_results(connection: Connection, run_id: UUID) -> list[Any]:
    """All stored results by stage and number, without returns."""
    return await connection.fetch(
        f"select {_RESULT_COLUMNS} from sweep_results where run_id = $1 order by stage, number",  # noqa: S608 - our names
        run_id,
    )


async def read_page(
    connection: Connection, run_id: UUID, stage: int, wanted: Filter, *, limit: int | None, offset: int = 0
) -> list[Any]:
    """The results of ``stage`` that count, the best first and those without the metric last."""
    given: list[Any] = [run_id, stage, wanted.min_trades]

    def value(metric: str) -> str:
        if metric == "trades":
            return "trades"
        given.append(metric)
        return f"(metrics ->> ${len(given)})::float8"

    where = "run_id = $1 and stage = $2 and trades >= $3"
    for metric, sign, bound in wanted.bounds:
        if sign not in ("<=", ">=", "<", ">"):
            raise ValueError(f"{sign} is no comparison")
        left = value(metric)
        given.append(bound)
        where += f" and {left} {sign} ${len(given)}"
    order = f"{value(wanted.metric)} {'desc' if wanted.descending else 'asc'} nulls last, number"
    given += [limit, offset]
    text = (
        f"select {_RESULT_COLUMNS}, returns from sweep_results where {where}"  # noqa: S608 - values are arguments
        f" order by {order} limit ${len(given) - 1} offset ${len(given)}"
    )
    return await connection.fetch(text, *given)
