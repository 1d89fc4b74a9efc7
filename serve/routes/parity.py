"""Nightly truth: what the reference backtest said of each day that a book has lived."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from serve import queries, schemas
from serve.parameters import Paged, Paging
from serve.problems import NotFound
from serve.services import Service, json_text

__all__ = ["router"]

router = APIRouter(prefix="/parity", tags=["parity"])
BookName = Annotated[str, Path(max_length=80)]
Status = Literal["identical", "explained", "different", "failed"]


@router.get("", response_model=schemas.Listed[schemas.ParityRun])
async def results(
    service: Service,
    paging: Paged,
    book: Annotated[str | None, Query(max_length=80, description="Only this book.")] = None,
    status: Annotated[Status | None, Query(description="Only these.")] = None,
) -> Response:
    """Results, newest day first."""
    listing = queries.parity(book, status)
    return json_text((await listing.page(service.database, paging, forward=False, reverse=False)).json())


@router.get("/{book}/{day}", response_model=schemas.ParityDay)
async def result(service: Service, book: BookName, day: dt.date) -> Response:
    """One UTC day of one book with its differences, those without a cause first: at most 500, the result counts all."""
    listing = queries.parity(book, None, with_differences=True)
    listing.match("r.day = {}", day)
    page = await listing.page(service.database, Paging(1, None), forward=False, reverse=False)
    if not page.items:
        raise NotFound(
            f"Book {book!r} was not checked on {day}.",
            field="day",
            value=str(day),
            fix=f"Days are checked after their end; by hand: manta verify parity --day {day} --book {book}",
        )
    return json_text(page.items[0])
