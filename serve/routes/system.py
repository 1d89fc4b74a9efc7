"""State of the whole: health, statistics, technical state and the live stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, WebSocket
from starlette.responses import JSONResponse, Response

from serve import schemas
from serve.parameters import WhichMarket
from serve.problems import DATABASE_DOWN
from serve.services import Service
from serve.stream import Wanted

__all__ = ["root", "router"]

router = APIRouter(tags=["state"])


@router.get("/health", response_model=schemas.Health, responses={503: {"model": schemas.Health}})
async def health(
    service: Service, quiet: Annotated[bool, Query(description="Answer 200 even when down, for pages.")] = False
) -> Response:
    """ok, degraded or down, with every reason, per market. 503 when down, unless ``quiet``."""
    try:
        found = await service.summaries.health()
    except DATABASE_DOWN:
        found = {"status": "down", "database": "down", "reasons": ["the database cannot be reached"], "markets": []}
    return JSONResponse(found, 503 if found["status"] == "down" and not quiet else 200)


@router.get("/stats", response_model=schemas.Stats)
async def stats(service: Service, which: WhichMarket) -> Response:
    """The last 24 hours of event time."""
    return JSONResponse(await service.summaries.stats(*await service.markets.find(which)))


@router.get("/ta", response_model=schemas.TechnicalState)
async def technical_state(service: Service, which: WhichMarket) -> Response:
    """Newest features and where the price stands against them, per interval; ``warming n/m`` where a value is
    missing.
    """
    return JSONResponse(await service.summaries.technical(*await service.markets.find(which)))


@router.websocket("/stream")
async def stream(
    socket: WebSocket,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    kind: Annotated[list[str] | None, Query()] = None,
    market: Annotated[list[str] | None, Query()] = None,
) -> None:
    """Events after ``after`` (default: from now on), filtered by ``kind`` and ``market`` (repeat, or separate by
    commas). Forming candles (``forming``) and how far sweeps and walk-forwards are (``run``) have no number: what
    is missed of them is not sent again.
    """
    hub = socket.app.state.services.hub
    await hub.serve(socket, after, Wanted(_names(kind), _names(market)))


def _names(given: list[str] | None) -> frozenset[str]:
    return frozenset(name for text in given or () for name in text.split(",") if name)


def root(request: Request) -> Response:
    """What runs here, and where to look."""
    links = dict(_LINKS)
    return JSONResponse({"name": "manta", "version": request.app.version, "status": "running", "links": links})


_LINKS = {
    "dashboard": "/dashboard",
    "docs": "/docs",
    "openapi": "/api/v1/openapi.json",
    "health": "/api/v1/health",
    "stream": "/api/v1/stream",
}
