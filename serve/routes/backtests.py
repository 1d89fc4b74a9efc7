"""Backtests: ask for one, watch it, read its report, delete it. They run elsewhere; the table says how far they are."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from backtest.report.page import page_of
from backtest.report.table import trades_csv
from backtest.run import book_of
from serve import queries, run_schemas, schemas
from serve.launching import book_request_of, request_of, title_of
from serve.parameters import Paged
from serve.problems import Refused
from serve.report_pages import page_answer
from serve.runs import UNFINISHED, Runs
from serve.services import Service, Services, json_text
from trading.storage import backtests as stored

__all__ = ["router"]

router = APIRouter(prefix="/backtests", tags=["backtests"])
_RUNS = Runs("backtest_runs", stored.JOBS, "backtest", "manta backtest run", most=16)
_TEXT: dict[str, dict[int | str, dict[str, Any]]] = {
    media: {200: {"content": {media: {"schema": {"type": "string"}}}}} for media in ("text/csv", "text/html")
}


@router.post("", status_code=202, response_model=schemas.BacktestAccepted)
async def start(service: Service, body: schemas.BookBacktestRequest) -> Response:
    """Queue a backtest over recorded candles. Answers at once; the row shows progress, then results.

    With ``strategies``, ``markets`` or ``book`` they share one book; ``results.parts`` then has each one's.
    """
    launch = await _RUNS.room(service, service.launch)
    several = body.strategies is not None or body.markets is not None or body.book is not None
    request = await (book_request_of(service, body) if several else request_of(service, body))
    strategy, market, intervals = title_of(request)
    run_id = uuid4()
    book = book_of(run_id)
    async with service.database.connection() as connection:
        await stored.queue(
            connection, run_id, book=book, strategy=strategy, market=market, intervals=intervals, config=request
        )
    decisions = f"/api/v1/decisions?book={book}"
    return await _RUNS.launched(service, launch, run_id, request, decisions=decisions)


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
    return await _RUNS.shown(service, listing, run_id)


@router.get(
    "/{run_id}/trades",
    response_model=schemas.Listed[run_schemas.BacktestTrade],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def trades(service: Service, request: Request, run_id: UUID, paging: Paged) -> Response:
    """Trades of a finished run as its report has them, newest entry first. ``Accept: text/csv`` gets all of them as
    ``trades.csv`` does.
    """
    wanted = request.headers.get("accept", "")
    if "text/csv" in wanted and "json" not in wanted:
        return await trades_as_csv(service, run_id)
    await _reported(service, run_id, "run_id")
    page = await queries.backtest_trades(run_id).page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())


@router.get("/{run_id}/trades.csv", response_class=Response, responses=_TEXT["text/csv"])
async def trades_as_csv(service: Service, run_id: UUID) -> Response:
    """All trades of a finished run, oldest first, times in ISO 8601."""
    row = await _reported(service, run_id, "report -> 'trades' as trades")
    text = await asyncio.to_thread(lambda: trades_csv({"trades": json.loads(row["trades"])}))
    headers = {"Content-Disposition": f'attachment; filename="backtest-{run_id}.csv"'}
    return Response(text, media_type="text/csv", headers=headers)


@router.get("/{run_id}/report", response_class=Response, responses=_TEXT["text/html"])
async def report(service: Service, run_id: UUID) -> Response:
    """The report of a finished run as a page that stands alone."""
    row = await _reported(service, run_id, "report, provenance")
    document, made_of = (json.loads(row[name]) for name in ("report", "provenance"))
    page = await asyncio.to_thread(partial(page_of, document, made_of, str(run_id)))
    return page_answer(page)


@router.delete("/{run_id}", status_code=204)
async def delete(
    service: Service,
    run_id: UUID,
    force: Annotated[bool, Query(description="Also one that has not finished, such as after a crash.")] = False,
) -> Response:
    """Remove a run and everything in its book. Candles and live decisions are append-only and cannot be deleted."""
    async with service.database.connection() as connection, connection.transaction():
        row = await _RUNS.remove(connection, run_id, force=force)
        # A book that is not the run's own must never be touched, whatever the row says.
        own = await connection.fetchval("select book from books where book = $1 and mode = 'backtest'", row["book"])
        if own is not None:
            for table in ("fills", "orders", "decisions", "positions", "equity", "transfers", "lot_extremes"):
                await connection.execute(f"delete from {table} where book = $1", own)  # noqa: S608 - fixed names
            await connection.execute("update instances set active = false where book = $1", own)
            await connection.execute("delete from instances where book = $1", own)
            await connection.execute("delete from books where book = $1", own)
    return Response(status_code=204)


async def _reported(service: Services, run_id: UUID, columns: str) -> Any:
    """``columns`` of a run that has a report; says why of one that has none."""
    row = await service.database.fetchrow(
        f"select status, error, report is not null as reported, {columns} from backtest_runs where run_id = $1",  # noqa: S608 - fixed names
        run_id,
    )
    if row is None:
        raise _RUNS.unknown(run_id)
    if not row["reported"]:
        was = "was run before reports were stored" if row["status"] == "done" else f"is {row['status']}"
        fix = "Wait until it is done." if row["status"] in UNFINISHED else "Run it again."
        raise Refused(f"This backtest {was}, so it has no report. {row['error']}".strip(), field="run_id", fix=fix)
    return row
