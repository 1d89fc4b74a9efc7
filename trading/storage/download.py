"""Pages of a venue's past candles into a series: what is not known of it yet, and what a page makes known."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from trading.candle_columns import columns_of
from trading.candles import HoleReason
from trading.intervals import MINUTE, Interval
from trading.spans import Span, runs_between, without
from trading.storage.accounting import Accounted, account_between, account_minutes
from trading.storage.bulk import store_columns
from trading.storage.candles import first_open
from trading.storage.database import Connection
from trading.storage.follow import follow_minutes
from trading.storage.markets import market_id
from trading.storage.quality import holes_between
from trading.venues.adapter import Page

__all__ = ["PageStored", "Progress", "between_stored", "store_page", "unknown_spans"]

# Two holes this near are asked for at once: a request costs more than the rows between them.
_NEAR_BARS = 300


class PageStored(NamedTuple):
    """What a page brought: its candles, how many were new, how many contradict what is stored, and minutes without."""

    rows: int
    stored: int
    different: int
    absent: int
    missing: int


@dataclass(slots=True)
class Progress:
    """The sum of all pages so far."""

    rows: int = 0
    stored: int = 0
    different: int = 0
    absent: int = 0
    missing: int = 0

    def add(self, page: PageStored) -> None:
        for name, value in page._asdict().items():
            setattr(self, name, getattr(self, name) + value)

    def facts(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


async def unknown_spans(
    connection: Connection, market: str, interval: Interval, from_ms: int, to_ms: int
) -> list[Span]:
    """Where in [``from_ms``, ``to_ms``) nothing is known: no candle and, of minutes, no word that there is none."""
    rows = await connection.fetch(
        "select ms(open_time), ms(close_time) from candles where market_id = $1 and interval = $2"
        " and open_time >= at_ms($3) and open_time < at_ms($4) order by open_time",
        await market_id(connection, market),
        interval.name,
        from_ms,
        to_ms,
    )
    if interval.width_ms is not None:
        spans = list(runs_between((row[0] for row in rows), from_ms, to_ms, interval.width_ms))
    else:
        spans = without([(from_ms, to_ms)], [(row[0], row[1]) for row in rows])
    if interval == MINUTE:
        absent = await holes_between(connection, market, from_ms, to_ms, reason=HoleReason.ABSENT.value)
        spans = without(spans, [(hole.from_ms, hole.to_ms) for hole in absent])
    return _joined(spans, _NEAR_BARS * interval.typical_ms)


async def store_page(
    connection: Connection, market: str, interval: Interval, page: Page, from_ms: int, to_ms: int
) -> PageStored:
    """Store a page that is complete over [``from_ms``, ``to_ms``), and account for its minutes. In one transaction."""
    candles = [candle for candle in page.candles if from_ms <= candle.open_time_ms < to_ms]
    stored = different = 0
    if candles:
        told = await store_columns(connection, columns_of(candles), candles[0].source)
        stored, different = told.inserted, told.different
    accounted = Accounted(0, 0)
    if interval == MINUTE:
        # A market begins with its first candle: that there is none before it is no hole.
        first_ms = await first_open(connection, market)
        start_ms = max(from_ms, first_ms) if first_ms is not None else to_ms
        if start_ms < to_ms:
            known = await holes_between(connection, market, start_ms, to_ms, reason=HoleReason.MISSING.value)
            accounted = await account_minutes(
                connection,
                market,
                np.array([candle.open_time_ms for candle in candles], np.int64),
                start_ms,
                to_ms,
                unusable=page.unusable,
                detail="not at the venue",
            )
            if stored or known:
                await follow_minutes(connection, market, start_ms, to_ms, "downloaded")
    return PageStored(len(candles), stored, different, *accounted)


async def between_stored(connection: Connection, market: str, interval: Interval, from_ms: int, to_ms: int) -> None:
    """What lies between the span and older or newer minutes is missing until somebody tells."""
    if interval != MINUTE:
        return
    number = await market_id(connection, market)
    row = await connection.fetchrow(
        "select ms(min(open_time)), ms(max(close_time)) from candles where market_id = $1 and interval = '1m'"
        " and open_time >= at_ms($2) and open_time < at_ms($3)",
        number,
        from_ms,
        to_ms,
    )
    if row is not None and row[0] is not None:
        for start, end in await account_between(connection, market, row[0], row[1], "between what was downloaded"):
            await follow_minutes(connection, market, start, end, "downloaded")


def _joined(spans: list[Span], near_ms: int) -> list[Span]:
    joined: list[Span] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= near_ms:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
