"""Walk-forwards: ask for one, watch it, read it, delete it. They happen elsewhere; the table says how far they are."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from starlette.responses import Response

from backtest.honesty.walkforward import check_size, read_walkforward
from backtest.report.walkforward_page import walkforward_page
from serve import queries, run_schemas, schemas
from serve.launching import request_of
from serve.parameters import Paged
from serve.problems import Refused
from serve.report_pages import page_answer
from serve.runs import UNFINISHED, Runs
from serve.services import Service, Services, json_text
from trading.storage import walkforwards as stored
from trading.storage.searches import STATUS

__all__ = ["router"]

router = APIRouter(prefix="/walkforwards", tags=["walkforwards"])
_RUNS = Runs("walkforwards", stored.JOBS, "walk-forward", "manta walkforward run", most=4, status=STATUS)
_ASKED = (
    "grid", "method", "trials", "halving", "objective", "min_trades", "constraints", "mode", "train", "test", "purge",
    "embargo", "seed",
)  # fmt: skip


@router.post("", status_code=202, response_model=run_schemas.WalkforwardAccepted)
async def start(service: Service, body: run_schemas.WalkforwardRequest) -> Response:
    """Queue a walk-forward over recorded candles. Answers at once; the row shows progress, then results."""
    launch = await _RUNS.room(service, service.launch_walkforward)
    request = await _request(service, body)
    run_id = uuid4()
    async with service.database.connection() as connection:
        await stored.JOBS.queue(connection, run_id, request)
    return await _RUNS.launched(service, launch, run_id, request)


@router.get("", response_model=schemas.Listed[run_schemas.Walkforward])
async def walkforwards(
    service: Service,
    paging: Paged,
    status: Annotated[
        Literal["queued", "running", "interrupted", "stopped", "done", "failed"] | None,
        Query(description="Only these."),
    ] = None,
) -> Response:
    """Walk-forwards, newest first, each with what it found out of sample."""
    page = await queries.walkforwards(status, whole=False).page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())


@router.get("/{run_id}", response_model=run_schemas.Walkforward)
async def walkforward(service: Service, run_id: UUID) -> Response:
    """One walk-forward: its progress; when it is done all it found, and what it was made of."""
    listing = queries.walkforwards(None, whole=True)
    listing.match("s.run_id = {}", run_id)
    return await _RUNS.shown(service, listing, run_id)


@router.get(
    "/{run_id}/report",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def report(service: Service, run_id: UUID) -> Response:
    """The report of a finished walk-forward as a page that stands alone."""
    row = await service.database.fetchrow(
        "select status, error, results, provenance from walkforwards where run_id = $1", run_id
    )
    if row is None:
        raise _RUNS.unknown(run_id)
    if row["results"] is None:
        fix = "Wait until it is done." if row["status"] in UNFINISHED else "Run it again."
        said = f"This walk-forward is {row['status']}, so it has no report. {row['error']}".strip()
        raise Refused(said, field="run_id", fix=fix)
    results, made_of = (json.loads(row[name]) for name in ("results", "provenance"))
    return page_answer(await asyncio.to_thread(walkforward_page, results, made_of, str(run_id)))


@router.delete("/{run_id}", status_code=204)
async def delete(
    service: Service,
    run_id: UUID,
    force: Annotated[bool, Query(description="Also one that has not finished, such as after a crash.")] = False,
) -> Response:
    """Remove a walk-forward. It has no book: its row is all there is of it."""
    async with service.database.connection() as connection, connection.transaction():
        await _RUNS.remove(connection, run_id, force=force)
    return Response(status_code=204)


@router.post("/{run_id}/stop", status_code=204)
async def stop(service: Service, run_id: UUID) -> Response:
    """Stop it; what it has found is kept, and `manta walkforward resume` goes on with it."""
    await _RUNS.stop(service, run_id)
    return Response(status_code=204)


async def _request(service: Services, body: run_schemas.WalkforwardRequest) -> dict[str, Any]:
    """The request with every default filled in, as the one who runs it will read it; BadInput names the field."""
    request = {"backtest": await request_of(service, body), **{name: getattr(body, name) for name in _ASKED}}

    def check(folder: Path) -> None:
        check_size(read_walkforward(request))

    await service.shelf.ask(check)
    return request
