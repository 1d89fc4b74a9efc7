"""Walk-forwards: ask for one, watch it, read it, delete it. They happen elsewhere; the table says how far they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from backtest.honesty.walkforward import WalkForwardRequest, combinations
from backtest.refusals import explained
from serve import queries, run_schemas, schemas
from serve.launching import launched, request_of
from serve.parameters import Paged, Paging
from serve.problems import NotFound, Refused
from serve.services import Service, Services, json_text

__all__ = ["router"]

router = APIRouter(prefix="/walkforwards", tags=["walkforwards"])
_UNFINISHED = ("queued", "running")
_MAX_WAITING = 4
_WINDOWS = ("mode", "train", "test", "purge", "embargo", "seed")


@router.post("", status_code=202, response_model=run_schemas.WalkforwardAccepted)
async def start(service: Service, body: run_schemas.WalkforwardRequest) -> Response:
    """Queue a walk-forward over recorded candles. Answers at once; the row shows progress, then results."""
    if service.launch_walkforward is None:
        raise Refused("This server cannot run walk-forwards.", fix="Use `manta walkforward run`.")
    waiting = await service.database.fetchval(
        "select count(*) from walkforwards where status = any($1)", list(_UNFINISHED)
    )
    if waiting >= _MAX_WAITING:
        raise Refused(f"{waiting} walk-forwards are waiting or running.", fix="Wait for one to finish, or delete one.")
    request = await _request(service, body)
    base, run_id = request["backtest"], uuid4()
    await service.database.fetchval(
        "insert into walkforwards (run_id, strategy, market, intervals, config, status)"
        " values ($1, $2, $3, $4, $5, 'queued')",
        run_id,
        base["strategy"],
        base["market"],
        base["intervals"],
        json.dumps(request),
    )
    await launched(service, service.launch_walkforward, "walkforwards", run_id, request)
    path = f"/api/v1/walkforwards/{run_id}"
    accepted = {"run_id": str(run_id), "status": "queued", "links": {"self": path}}
    return JSONResponse(accepted, 202, headers={"Location": path})


@router.get("", response_model=schemas.Listed[run_schemas.Walkforward])
async def walkforwards(
    service: Service,
    paging: Paged,
    status: Annotated[Literal["queued", "running", "done", "failed"] | None, Query(description="Only these.")] = None,
) -> Response:
    """Walk-forwards, newest first, each with what it found out of sample."""
    page = await queries.walkforwards(status, whole=False).page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())


@router.get("/{run_id}", response_model=run_schemas.Walkforward)
async def walkforward(service: Service, run_id: UUID) -> Response:
    """One walk-forward: its progress; when it is done all it found, and what it was made of."""
    listing = queries.walkforwards(None, whole=True)
    listing.match("w.run_id = {}", run_id)
    page = await listing.page(service.database, Paging(1, None), forward=False, reverse=False)
    if not page.items:
        raise _unknown(run_id)
    return json_text(page.items[0])


@router.delete("/{run_id}", status_code=204)
async def delete(
    service: Service,
    run_id: UUID,
    force: Annotated[bool, Query(description="Also one that has not finished, such as after a crash.")] = False,
) -> Response:
    """Remove a walk-forward. It has no book: its row is all there is of it."""
    async with service.database.connection() as connection, connection.transaction():
        status = await connection.fetchval("select status from walkforwards where run_id = $1 for update", run_id)
        if status is None:
            raise _unknown(run_id)
        if status in _UNFINISHED and not force:
            raise Refused(
                f"This walk-forward is {status}.", field="run_id", fix="Wait until it is done, or use force=true."
            )
        await connection.execute("delete from walkforwards where run_id = $1", run_id)
    return Response(status_code=204)


async def _request(service: Services, body: run_schemas.WalkforwardRequest) -> dict[str, Any]:
    """The request with every default filled in, as the one who runs it will read it; BadInput names the field."""
    request = {
        "backtest": await request_of(service, body),
        "grid": body.grid,
        **{name: getattr(body, name) for name in _WINDOWS},
    }

    def check(folder: Path) -> None:
        try:
            combinations(WalkForwardRequest.model_validate(request))
        except ValidationError as error:
            raise explained(error) from None

    await service.shelf.ask(check)
    return request


def _unknown(run_id: UUID) -> NotFound:
    return NotFound(
        f"There is no walk-forward {run_id}.",
        field="run_id",
        value=str(run_id),
        fix="GET /api/v1/walkforwards lists them.",
    )
