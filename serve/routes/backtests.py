"""Backtests: ask for one, watch it, read it, delete it. Runs happen elsewhere; the table says how far they are."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from serve import queries, schemas
from serve.parameters import Naming, Paged, Paging, interval_name, span
from serve.problems import NotFound, Refused
from serve.services import Service, Services, json_text
from trading.config.model import StrategyInstance
from trading.errors import BadInput
from trading.strategies.registry import load_strategy

__all__ = ["router"]

router = APIRouter(prefix="/backtests", tags=["backtests"])
_log = structlog.get_logger(__name__)
_UNFINISHED = ("queued", "running")
_MAX_WAITING = 16


@router.post("", status_code=202, response_model=schemas.BacktestAccepted)
async def start(service: Service, body: schemas.BacktestRequest) -> Response:
    """Queue a backtest over recorded candles. Answers at once; the row shows progress, then results."""
    if service.launch is None:
        raise Refused("This server cannot run backtests.", fix="Use `manta backtest run`.")
    waiting = await service.database.fetchval(
        "select count(*) from backtest_runs where status = any($1)", list(_UNFINISHED)
    )
    if waiting >= _MAX_WAITING:
        raise Refused(f"{waiting} backtests are waiting or running.", fix="Wait for one to finish, or delete one.")
    request = await _request(service, body)
    run_id = uuid4()
    await service.database.fetchval(
        "insert into backtest_runs (run_id, book, strategy, market, intervals, config, status) values ($1, $2,"
        " $3, $4, $5, $6, 'queued')",
        run_id,
        f"backtest-{run_id}",
        request["strategy"],
        request["market"],
        request["intervals"],
        json.dumps(request),
    )
    try:
        launched = service.launch(run_id, request)
        if inspect.isawaitable(launched):
            await launched
    except Exception as error:
        _log.error("backtest_launch_failed", run_id=str(run_id), exc_info=error)
        await service.database.fetchval(
            "update backtest_runs set status = 'failed', error = $2, finished_at = clock_timestamp() where run_id = $1",
            run_id,
            f"It could not be started: {type(error).__name__}",
        )
        raise
    path = f"/api/v1/backtests/{run_id}"
    accepted = {
        "run_id": str(run_id),
        "status": "queued",
        "links": {"self": path, "decisions": f"/api/v1/decisions?book=backtest-{run_id}"},
    }
    return JSONResponse(accepted, 202, headers={"Location": path})


@router.get("", response_model=schemas.Listed[schemas.Backtest])
async def backtests(
    service: Service,
    paging: Paged,
    status: Annotated[Literal["queued", "running", "done", "failed"] | None, Query(description="Only these.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Runs, newest first."""
    page = await queries.backtests(status).page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())


@router.get("/{run_id}", response_model=schemas.Backtest)
async def backtest(service: Service, run_id: UUID) -> Response:
    """One run: its progress, and its results when it is done."""
    listing = queries.backtests(None)
    listing.match("r.run_id = {}", run_id)
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
    """Remove a run and everything in its book. Candles and live decisions are append-only and cannot be deleted."""
    async with service.database.connection() as connection, connection.transaction():
        row = await connection.fetchrow("select book, status from backtest_runs where run_id = $1 for update", run_id)
        if row is None:
            raise _unknown(run_id)
        if row["status"] in _UNFINISHED and not force:
            raise Refused(
                f"This backtest is {row['status']}.", field="run_id", fix="Wait until it is done, or use force=true."
            )
        await connection.execute("delete from backtest_runs where run_id = $1", run_id)
        # A book that is not the run's own must never be touched, whatever the row says.
        own = await connection.fetchval("select book from books where book = $1 and mode = 'backtest'", row["book"])
        if own is not None:
            for table in ("fills", "orders", "decisions", "positions", "equity", "transfers"):
                await connection.execute(f"delete from {table} where book = $1", own)  # noqa: S608 - fixed names
            await connection.execute("update instances set active = false where book = $1", own)
            await connection.execute("delete from instances where book = $1", own)
            await connection.execute("delete from books where book = $1", own)
    return Response(status_code=204)


async def _request(service: Services, body: schemas.BacktestRequest) -> dict[str, Any]:
    """The request with every default filled in; BadInput or NotFound names the field."""
    market, _ = await service.markets.find(Naming(body.market, body.symbol))
    instance = _configured(service, body.strategy)
    strategy = body.strategy or (instance.strategy if instance else "ma44")
    params = {**(instance.params if instance else {}), **body.params}
    load_strategy(strategy, params)
    wanted = body.intervals or list(instance.intervals if instance else service.config.intervals)
    within = span(_text(body.start), _text(body.end), names=("start", "end"))
    return {
        "strategy": strategy,
        "market": market,
        "intervals": list(dict.fromkeys(_interval(name) for name in wanted)),
        "start_ms": within.start_ms,
        "end_ms": within.end_ms,
        "capital": str(body.capital),
        "profile": body.profile or (instance.profile if instance else "spot"),
        "params": params,
    }


def _configured(service: Services, strategy: str | None) -> StrategyInstance | None:
    return next((item for item in service.config.strategies if strategy in (None, item.strategy)), None)


def _interval(name: str) -> str:
    try:
        return interval_name(name)
    except BadInput as error:
        error.field = "intervals"
        raise


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _unknown(run_id: UUID) -> NotFound:
    return NotFound(f"There is no backtest {run_id}.", field="run_id", value=str(run_id))
