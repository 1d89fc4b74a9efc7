"""Instances, decisions, trades, positions and equity of books. Backtests' books show only when named."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse, Response

from serve import queries, run_schemas, schemas
from serve.parameters import InSpan, Paged, WhichMarket, interval_name
from serve.problems import NotFound
from serve.services import Service, Services, json_text
from trading.explain import explain
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.explained import read_decision

__all__ = ["router"]

router = APIRouter(tags=["account"])
BookName = Annotated[str | None, Query(max_length=80, description="Default: every book that is no backtest.")]
OptionalInterval = Annotated[str | None, Query(max_length=20, description="Only this interval.")]
Outcome = Literal["acted", "hold", "warming", "hole", "late", "stale", "risk"]


@router.get("/decisions", response_model=schemas.Listed[schemas.Decision])
async def decisions(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    book: BookName = None,
    interval: OptionalInterval = None,
    outcome: Annotated[Outcome | None, Query(description="Only this outcome.")] = None,
    acting: Annotated[
        bool | None, Query(description="true: only those that open or close; false: only the rest.")
    ] = None,
) -> Response:
    """Decisions by the close they were made at, newest first; HOLD and suppressed ones too, with every number they
    saw.
    """
    listing = queries.decisions(
        await _book(service, book),
        await service.markets.find_id(which),
        _interval(interval),
        outcome,
        acting,
        within,
    )
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/decisions/{decision_id}", response_model=run_schemas.ExplainedDecision)
async def decision(service: Service, decision_id: Annotated[str, Path(max_length=80)]) -> Response:
    """Why one decision came out as it did: what it saw, each condition, the gate, and the orders and fills it led to.

    ``manta decisions explain`` prints the same.
    """
    async with service.database.connection() as connection:
        stored = None if "\0" in decision_id else await read_decision(connection, decision_id)
    if stored is None:
        raise NotFound(
            f"There is no decision {decision_id!r}.",
            field="decision_id",
            value=decision_id,
            fix="GET /api/v1/decisions lists them.",
        )
    return JSONResponse(await service.shelf.ask(lambda _: explain(stored)))


@router.get("/orders", response_model=schemas.Listed[schemas.Order])
async def orders(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    book: BookName = None,
    interval: OptionalInterval = None,
    finished: Annotated[
        bool | None, Query(description="true: only filled, rejected and canceled ones; false: only the rest.")
    ] = None,
) -> Response:
    """Orders by the event time they were made at, newest first, each as it stands now."""
    listing = queries.orders(
        await _book(service, book), await service.markets.find_id(which), _interval(interval), finished, within
    )
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/trades", response_model=schemas.Listed[schemas.Trade])
async def trades(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    book: BookName = None,
    interval: OptionalInterval = None,
) -> Response:
    """Trades by entry time, newest first; an open one has no exit yet."""
    listing = queries.trades(
        await _book(service, book), await service.markets.find_id(which), _interval(interval), within
    )
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/positions", response_model=schemas.Listed[schemas.Position])
async def positions(
    service: Service,
    which: WhichMarket,
    paging: Paged,
    book: BookName = None,
) -> Response:
    """What every sleeve (instance, market, interval) of a book holds, flat ones too."""
    listing = queries.positions(await _book(service, book), await service.markets.find_id(which))
    return json_text((await listing.page(service.database, paging, forward=True, reverse=False)).json())


@router.get("/instances", response_model=schemas.Listed[run_schemas.Instance])
async def instances(service: Service, paging: Paged, book: BookName = None) -> Response:
    """The strategy instances that run, by name; of each market and interval its position and its last decision."""
    listing = queries.instances(await _book(service, book))
    return json_text((await listing.page(service.database, paging, forward=True, reverse=False)).json())


@router.get("/equity", response_model=schemas.Listed[schemas.EquityPoint])
async def equity(
    service: Service,
    which: WhichMarket,
    within: InSpan,
    paging: Paged,
    book: Annotated[str | None, Query(max_length=80, description="Default: the first configured book.")] = None,
    step_minutes: Annotated[int, Query(ge=1, le=DAY_MS // MINUTE_MS, description="Only every this many minutes.")] = 1,
) -> Response:
    """A book's equity in time order, marked at each closed minute: the newest ``limit`` points, or from ``from`` on."""
    name = await _book(service, book) or next(iter(service.config.books))
    market_id = await service.markets.find_id(which)
    listing = queries.equity(name, market_id, within, step_minutes * MINUTE_MS)
    forward = within.start_ms is not None
    page = await listing.page(service.database, paging, forward=forward, reverse=not forward)
    return json_text(page.json(book=name))


def _interval(text: str | None) -> str | None:
    return None if text is None else interval_name(text)


async def _book(service: Services, name: str | None) -> str | None:
    if name is None:
        return None
    known = await service.database.fetch(
        "select book from books where mode <> 'backtest' or book = $1 order by book", name
    )
    if name not in [row["book"] for row in known]:
        listed = ", ".join(row["book"] for row in known) or "none yet"
        raise NotFound(f"There is no book {name!r}.", field="book", value=name, fix=f"Known: {listed}.")
    return name
