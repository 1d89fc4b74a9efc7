"""Candles, features and their export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from serve import queries, schemas
from serve.parameters import InSpan, IntervalName, Paged, Paging, Span, WhichMarket, interval_name
from serve.problems import NotFound
from serve.services import Service, Services, json_text
from trading.intervals import parse_interval

__all__ = ["router"]

router = APIRouter(tags=["market data"])
_CSV_ROWS = 5000
_FAR_MS = 4_102_444_800_000


@router.get("/candles", response_model=schemas.CandleSeries)
async def candles(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    interval: IntervalName = "1m",
    forming: Annotated[bool, Query(description="Add the candle that is not closed yet.")] = False,
) -> Response:
    """Closed candles in time order: the newest ``limit``, or from ``from`` on. The cursor leads further the same
    way.
    """
    name = interval_name(interval)
    key, market_id = await service.markets.find(which)
    listing = queries.candles(market_id, name, within)
    forward = within.start_ms is not None
    page = await listing.page(service.database, paging, forward=forward, reverse=not forward)
    head: dict[str, object] = {"market": key, "interval": name}
    if forming:
        head["forming"] = await _forming(service, key, market_id, name)
    return json_text(page.json(**head))


@router.get("/candles/latest", response_model=schemas.Candle)
async def latest_candle(service: Service, which: WhichMarket, interval: IntervalName = "1m") -> Response:
    """The newest closed candle."""
    name = interval_name(interval)
    key, market_id = await service.markets.find(which)
    page = await queries.candles(market_id, name, Span()).page(
        service.database, Paging(1, None), forward=False, reverse=False
    )
    if not page.items:
        raise NotFound(f"{key} has no closed {name} candle yet.", field="interval", value=name)
    return json_text(page.items[0])


@router.get("/features", response_model=schemas.Series[schemas.FeatureValue])
@router.get("/indicators", response_model=schemas.Series[schemas.FeatureValue])
async def features(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    interval: IntervalName = "37m",
    name: Annotated[str | None, Query(max_length=80, description="One feature, by its configured name.")] = None,
) -> Response:
    """Stored feature values in time order. ``/indicators`` is the same list."""
    canonical = interval_name(interval)
    key, market_id = await service.markets.find(which)
    listing = queries.features(market_id, canonical, name, within)
    forward = within.start_ms is not None
    page = await listing.page(service.database, paging, forward=forward, reverse=not forward)
    return json_text(page.json(market=key, interval=canonical))


@router.get(
    "/export/csv", response_class=Response, responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
)
async def export_csv(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    interval: IntervalName = "1m",
) -> Response:
    """All candles of a range as CSV, oldest first. ``close_time`` is the last millisecond, as venues' own files have
    it.
    """
    name = interval_name(interval)
    key, market_id = await service.markets.find(which)
    end = within.end_ms or _FAR_MS
    first = await _csv_page(service, market_id, name, (within.start_ms or 0) - 1, end)
    file = (
        f"{key.replace(':', '_')}_{name}.csv".replace("/", "-").lower()
        if name != "1M"
        else f"{key.replace(':', '_')}_1mo.csv"
    )
    return StreamingResponse(
        _csv(service, market_id, name, end, first),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{file}"'},
    )


async def _csv(service: Services, market_id: int, interval: str, end: int, page: Any) -> AsyncIterator[str]:
    """Pages by key, so that a slow download holds no connection between them."""
    yield queries.CSV_HEADER
    while page["text"]:
        yield page["text"] + "\n"
        if page["rows"] < _CSV_ROWS:
            return
        page = await _csv_page(service, market_id, interval, page["last"], end)


async def _csv_page(service: Services, market_id: int, interval: str, after: int, end: int) -> Any:
    return await service.database.fetchrow(queries.CANDLE_CSV, market_id, interval, after, end, _CSV_ROWS)


async def _forming(service: Services, market: str, market_id: int, interval: str) -> dict[str, Any] | None:
    """The open candle of ``interval``: its closed minutes so far with the forming minute on top."""
    minute = service.hub.forming_of(market)
    newest = await service.database.fetchrow(
        "select ms(close_time) as upto from candles where market_id = $1 and interval = '1m' order by open_time"
        " desc limit 1",
        market_id,
    )
    upto = newest["upto"] if newest else 0
    if minute is not None and minute["open_time"] < upto:
        minute = None
    if interval == "1m" or (minute is None and not upto):
        return _shape(minute) if minute and interval == "1m" else None
    width = parse_interval(interval)
    opened = width.open_of(minute["open_time"] if minute else upto)
    row = await service.database.fetchrow(
        """select (array_agg(open order by open_time))[1] as open, max(high) as high, min(low) as low,
            (array_agg(close order by open_time desc))[1] as close, coalesce(sum(volume), 0) as volume
        from candles where market_id = $1 and interval = '1m' and open_time >= at_ms($2)""",
        market_id,
        opened,
    )
    parts = [part for part in (dict(row) if row and row["open"] is not None else None, minute) if part]
    if not parts:
        return None
    return {
        "open_time": opened,
        "close_time": width.close_of(opened),
        "open": parts[0]["open"],
        "high": max(part["high"] for part in parts),
        "low": min(part["low"] for part in parts),
        "close": parts[-1]["close"],
        "volume": round(sum(part["volume"] for part in parts), 8),
        "complete": False,
        "closed": False,
    }


def _shape(minute: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in minute.items() if name not in ("market", "interval")}
