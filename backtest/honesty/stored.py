"""A walk-forward from its row to its stored result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from backtest.honesty.searched import Searched
from backtest.honesty.trials import Outcome
from backtest.honesty.walkforward import read_walkforward
from backtest.sweep.begun import gathered, taken
from backtest.sweep.drive import PATIENCE_S, Done, Progress, StoredKeep
from backtest.sweep.pool import Pool
from backtest.sweep.request import widest
from trading.storage import walkforwards
from trading.storage.database import Connection, Database

__all__ = ["run_stored_walkforward"]

_OUTCOME = TypeAdapter(Outcome)


async def run_stored_walkforward(
    database: Database,
    run_id: UUID,
    pool: Pool,
    files: Mapping[str, Path] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Run the walk-forward of a stored row, or go on with it: no set that is scored is run again, and no test.

    Guarantees and errors are those of ``backtest.sweep.coordinator.run_sweep``.
    """
    async with taken(database, walkforwards.JOBS, run_id, pool) as (owner, row):
        request = read_walkforward(row["config"])
        # The history of the longest set of parameters warms up all of them.
        wide = await asyncio.to_thread(widest, request.search())
        data = await gathered(database, run_id, row, wide, request.seed, files, "manta walkforward run")
        base = request.backtest.model_copy(update={"end_ms": data.end_ms})
        request = request.model_copy(update={"backtest": base})
        kept = StoredKeep(database, walkforwards.JOBS, run_id, owner, _keep)
        known = await kept.known()
        rows = await database.run(lambda connection: walkforwards.read_tests(connection, run_id), deadline_s=PATIENCE_S)
        tested = {row.fold: (row.params, _OUTCOME.validate_json(row.outcome)) for row in rows}
        run = await asyncio.to_thread(Searched, request, data.source, kept, known, pool, on_progress, tested)
        await database.run(
            lambda connection: walkforwards.JOBS.begin(
                connection,
                run_id,
                config=request.model_dump(mode="json"),
                provenance=data.made_of,
                engine=run.engine,
                combos=run.drive.total,
                final_stage=0,
            )
        )
        await asyncio.to_thread(pool.begin, await asyncio.to_thread(data.work, f"{run_id}/{owner}", request))
        results = await run.do()
        if results is None:
            return {"run_id": str(run_id), "status": "stopped", "scored": len(run.drive.known)}
        if data.checked is not None:
            results["strategy_check"] = data.checked
        await database.run(lambda connection: walkforwards.JOBS.set_done(connection, run_id, owner, results))
    return {"run_id": str(run_id), "status": "done", **results}


async def _keep(connection: Connection, run_id: UUID, tests: Sequence[Done]) -> None:
    """Keep tests that are done, as JSON, which has each Decimal as its text and each float to its last bit."""
    rows = [
        walkforwards.TestRow(job.number, job.request.params, _OUTCOME.dump_json(outcome).decode())
        for job, outcome in tests
    ]
    await walkforwards.store_tests(connection, run_id, rows)
