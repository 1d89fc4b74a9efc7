"""The data itself: which markets there are, how fresh and complete they are, and what was wrong with them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from serve import data_queries, data_schemas, schemas
from serve.parameters import InSpan, Paged, WhichMarket, interval_name
from serve.services import Service, Services, json_text
from trading.condition import STALE_AFTER_S
from trading.errors import BadInput
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.condition import read_now

__all__ = ["router"]

router = APIRouter(tags=["data"])
_MOST_DAYS = 1100
Reason = Annotated[str | None, Query(max_length=40, description="Only this reason.")]


@router.get("/markets", response_model=data_schemas.Markets)
async def markets(service: Service, paging: Paged) -> Response:
    """Every market that has data or is configured: its rules, its freshness, its intervals, its last 24 hours."""
    configured = service.config.markets
    async with service.database.connection() as connection:
        _, now_ms = await read_now(connection, configured[0], [])
    listing = data_queries.market_rows(configured, now_ms)
    return json_text((await listing.page(service.database, paging, forward=True, reverse=False)).json())


@router.get("/holes", response_model=schemas.Listed[data_schemas.Hole])
async def holes(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    interval: Annotated[str | None, Query(max_length=20, description="Only this interval.")] = None,
    reason: Reason = None,
    explained: Annotated[
        bool | None, Query(description="true: only minutes the venue cannot give; false: only those unknown to us.")
    ] = None,
    least_minutes: Annotated[int | None, Query(ge=1, le=10_000_000, description="Only as long as this.")] = None,
) -> Response:
    """Holes in force that overlap the range, newest first, each with its reason. A healed hole is none any more."""
    market_id = await service.markets.find_id(which)
    name = interval and interval_name(interval)
    listing = data_queries.holes(market_id, name, reason, explained, least_minutes, within)
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/quality", response_model=schemas.Listed[data_schemas.QualityRow])
async def quality(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    kind: Annotated[str | None, Query(max_length=40, description="Only hole, anomaly or another kind.")] = None,
    not_kind: Annotated[str | None, Query(max_length=40, description="All kinds but this.")] = None,
    reason: Reason = None,
    resolved: Annotated[bool | None, Query(description="Only what is over, or only what is not.")] = None,
) -> Response:
    """Everything noted of the data: holes, healed ones too, and what venues sent that could not be used."""
    market_id = await service.markets.find_id(which)
    listing = data_queries.quality_rows(market_id, kind, not_kind, reason, resolved, within)
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/revisions", response_model=schemas.Listed[data_schemas.Revision])
async def revisions(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    interval: Annotated[str | None, Query(max_length=20, description="Only this interval.")] = None,
) -> Response:
    """Every change of a closed candle, newest first: what it was, what it is, and why."""
    market_id = await service.markets.find_id(which)
    listing = data_queries.revisions(market_id, interval and interval_name(interval), within)
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/quality/summary", response_model=data_schemas.Completeness)
async def summary(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    by: Annotated[Literal["month", "day"], Query(description="How the minutes are grouped, in UTC.")] = "month",
) -> Response:
    """How many minutes of each month or day were expected, are present, absent and missing.

    The last period ends with the newest candle; that of a live market that has fallen silent, now.
    """
    key, market_id = await service.markets.find(which)
    days = None if within.start_ms is None or within.end_ms is None else (within.end_ms - within.start_ms) / DAY_MS
    if by == "day" and (days is None or days > _MOST_DAYS):
        raise BadInput(
            f"By day at most {_MOST_DAYS} days are told at a time.",
            field="from",
            fix="Give from and to, or use by=month.",
        )
    due = await _due(service, key, market_id)
    rows = await service.database.fetch(data_queries.PERIODS, market_id, by, within.start_ms, within.end_ms, due)
    return JSONResponse({"market": key, "by": by, "items": [dict(row) for row in rows]})


async def _due(service: Services, market: str, market_id: int) -> int | None:
    """Up to when minutes of a live market should be there by now; None while it keeps up, or has none at all."""
    if market not in service.config.markets:
        return None
    async with service.database.connection() as connection:
        _, now_ms = await read_now(connection, market, [])
        last_ms = await connection.fetchval(data_queries.LAST_CLOSE, market_id)
    if last_ms is None or now_ms - last_ms <= STALE_AFTER_S * 1000:
        return None
    return now_ms // MINUTE_MS * MINUTE_MS
