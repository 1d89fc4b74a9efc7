"""Sweeps: ask for one, watch it, read its scores, stop or delete it. They happen elsewhere; the tables say how far."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from starlette.responses import Response

from backtest.sweep.evaluator import engine_of
from backtest.sweep.objective import OWN, check_metric
from backtest.sweep.reported import filter_of, read_report
from backtest.sweep.request import read_sweep, widest
from serve import queries, run_schemas, schemas
from serve.launching import request_of
from serve.parameters import Paged
from serve.problems import Refused
from serve.report_pages import page_answer
from serve.runs import Runs
from serve.services import Service, Services, json_text
from trading.errors import BadInput
from trading.storage import sweeps as stored
from trading.storage.searches import STATUS

__all__ = ["router"]

router = APIRouter(prefix="/sweeps", tags=["sweeps"])
_RUNS = Runs("sweeps", stored.JOBS, "sweep", "manta sweep run", most=4, status=STATUS)
_SEARCH = ("grid", "method", "trials", "halving", "objective", "min_trades", "constraints", "seed", "holdout")
_MOST = {"reference": 2_000, "kernel": 1_000_000}


@router.post("", status_code=202, response_model=run_schemas.SweepAccepted)
async def start(service: Service, body: run_schemas.SweepRequest) -> Response:
    """Queue a sweep over recorded candles. Answers at once; the row shows progress, then what is best."""
    launch = await _RUNS.room(service, service.launch_sweep)
    request = await _request(service, body)
    run_id = uuid4()
    async with service.database.connection() as connection:
        await stored.JOBS.queue(connection, run_id, request)
    return await _RUNS.launched(service, launch, run_id, request, results=f"{_RUNS.path}/{run_id}/results")


@router.get("", response_model=schemas.Listed[run_schemas.Sweep])
async def sweeps(
    service: Service,
    paging: Paged,
    status: Annotated[
        Literal["queued", "running", "interrupted", "stopped", "done", "failed"] | None,
        Query(description="Only these."),
    ] = None,
) -> Response:
    """Sweeps, newest first, each with its best set."""
    page = await queries.sweeps(status, whole=False).page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())


@router.get("/{run_id}", response_model=run_schemas.Sweep)
async def sweep(service: Service, run_id: UUID) -> Response:
    """One sweep: its progress; when it is done what is best, and how much of that may be luck."""
    listing = queries.sweeps(None, whole=True)
    listing.match("s.run_id = {}", run_id)
    return await _RUNS.shown(service, listing, run_id)


@router.get("/{run_id}/results", response_model=run_schemas.SweepResults)
async def results(
    service: Service,
    run_id: UUID,
    by: Annotated[str | None, Query(max_length=40, description="A metric; default: the sweep's objective.")] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 100,
    offset: Annotated[int, Query(ge=0, le=100_000_000, description="How many better ones to leave out.")] = 0,
) -> dict[str, Any]:
    """Scores of the sets that fulfil the constraints, the best first, also while the sweep runs."""
    row = await service.database.fetchrow("select config, final_stage, tried from sweeps where run_id = $1", run_id)
    if row is None:
        raise _RUNS.unknown(run_id)
    config = json.loads(row["config"])
    metric = by or config["objective"]
    check_metric(metric, "by", own=config["objective"] == OWN)
    async with service.database.connection() as connection:
        found = await stored.read_page(
            connection, run_id, row["final_stage"], filter_of(config, metric), limit=limit, offset=offset
        )
    items = [
        {
            "number": item["number"],
            "params": json.loads(item["params"]),
            "metrics": json.loads(item["metrics"]),
            "trades": item["trades"],
        }
        for item in found
    ]
    return {"by": metric, "tried": row["tried"], "items": items}


@router.get(
    "/{run_id}/report",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def report(service: Service, run_id: UUID) -> Response:
    """The report of a finished sweep as a page that stands alone."""
    async with service.database.connection() as connection:
        found = await read_report(connection, run_id)
        status = await connection.fetchval("select status from sweeps where run_id = $1", run_id)
    if status is None:
        raise _RUNS.unknown(run_id)
    if found is None:
        raise Refused(
            f"This sweep is {status}, so it has no report.", field="run_id", fix="Wait until it is done, or resume it."
        )
    return page_answer(await asyncio.to_thread(found.page, str(run_id)))


@router.post("/{run_id}/stop", status_code=204)
async def stop(service: Service, run_id: UUID) -> Response:
    """Stop it; what it has found is kept, and `manta sweep resume` goes on with it."""
    await _RUNS.stop(service, run_id)
    return Response(status_code=204)


@router.delete("/{run_id}", status_code=204)
async def delete(
    service: Service,
    run_id: UUID,
    force: Annotated[bool, Query(description="Also one that has not finished, such as after a crash.")] = False,
) -> Response:
    """Remove a sweep and all its scores. One that runs ends by itself."""
    async with service.database.connection() as connection, connection.transaction():
        await _RUNS.remove(connection, run_id, force=force)
    return Response(status_code=204)


async def _request(service: Services, body: run_schemas.SweepRequest) -> dict[str, Any]:
    """The request with every default filled in, as the one who runs it will read it; BadInput names the field."""
    request = {"backtest": await request_of(service, body), **{name: getattr(body, name) for name in _SEARCH}}

    def check(folder: Path) -> None:
        wanted = read_sweep(request)
        widest(wanted)
        engine, why = engine_of(wanted.backtest)
        if wanted.combos > _MOST[engine]:
            raise BadInput(
                f"{wanted.combos:,} combinations are too many: this is scored by {why}.",
                field="grid",
                value=wanted.combos,
                fix=f"Try at most {_MOST[engine]:,}, such as with method random or optuna and trials.",
            )

    await service.shelf.ask(check)
    return request
