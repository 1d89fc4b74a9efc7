"""Price gaps: the three-candle pattern and what became of it; never holes in the data."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from serve import queries, schemas
from serve.parameters import InSpan, Paged, WhichMarket, interval_name
from serve.services import Service, json_text

__all__ = ["router"]

router = APIRouter(tags=["market data"])


@router.get("/gaps", response_model=schemas.Listed[schemas.PriceGap])
async def gaps(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    interval: Annotated[str | None, Query(max_length=20, description="Like 1h, 4h or 1d; default: all.")] = None,
    mode: Annotated[Literal["strict", "body", "open", "b2dir"] | None, Query(description="Default: all.")] = None,
    status: Annotated[
        Literal["open", "touched", "filled"] | None, Query(description="How far its life has come; default: all.")
    ] = None,
) -> Response:
    """Price gaps by their start, newest first; those that start within ``from`` and ``to``."""
    name = interval_name(interval) if interval is not None else None
    listing = queries.gaps(await service.markets.find_id(which), name, mode, status, within)
    page = await listing.page(service.database, paging, forward=False, reverse=False)
    return json_text(page.json())
