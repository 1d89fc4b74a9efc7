"""A stored series read in parts of bounded size, as text that a candle file may begin or go on with."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import NamedTuple

from trading.intervals import parse_interval
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["Extent", "read_csv_parts", "read_extent"]

_ROWS = 50_000
_ALWAYS = {
    "open_time": "ms(open_time)",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
}
_OPTIONAL = {"quote_volume": "quote_volume", "count": "trade_count", "taker_buy_volume": "taker_buy_volume"}


class Extent(NamedTuple):
    """How many candles a range of a series has, from which open time to which, and the columns that hold anything."""

    rows: int
    first_open_ms: int
    last_open_ms: int
    columns: tuple[str, ...]


async def read_extent(
    connection: Connection, market: str, interval: str, from_ms: int | None, to_ms: int | None
) -> Extent | None:
    """The candles that open in [``from_ms``, ``to_ms``); None when there are none."""
    row = await connection.fetchrow(
        """
        select count(*), ms(min(open_time)), ms(max(open_time)),
            count(quote_volume), count(trade_count), count(taker_buy_volume)
        from candles where market_id = $1 and interval = $2
            and open_time >= at_ms($3) and open_time < at_ms($4)
        """,
        await market_id(connection, market),
        parse_interval(interval).name,
        from_ms or 0,
        to_ms if to_ms is not None else 2**42,
    )
    if row is None or not row[0]:
        return None
    present = [name for name, count in zip(_OPTIONAL, row[3:], strict=True) if count]
    return Extent(row[0], row[1], row[2], (*_ALWAYS, *present))


async def read_csv_parts(
    connection: Connection, market: str, interval: str, extent: Extent
) -> AsyncIterator[tuple[bytes, int]]:
    """The candles of ``extent`` as csv lines without a header, ascending, each part with its number of rows.

    Call it in one transaction of isolation ``repeatable read``, and what is stored meanwhile shows in none of them.
    Numbers are the shortest texts that give the same float.
    """
    number = await market_id(connection, market)
    chosen = ", ".join((_ALWAYS | _OPTIONAL)[name] for name in extent.columns)
    at_ms = extent.first_open_ms
    while at_ms <= extent.last_open_ms:
        # The keys alone are read first: they say where the part ends, and cost little.
        end_ms = await connection.fetchval(
            "select ms(open_time) from candles where market_id = $1 and interval = $2 and open_time >= at_ms($3)"
            " order by open_time offset $4 limit 1",
            number,
            parse_interval(interval).name,
            at_ms,
            _ROWS,
        )
        upto_ms = extent.last_open_ms + 1 if end_ms is None else min(end_ms, extent.last_open_ms + 1)
        part = io.BytesIO()
        status = await connection.copy_from_query(
            f"select {chosen} from candles where market_id = $1 and interval = $2"  # noqa: S608 - constants
            " and open_time >= at_ms($3) and open_time < at_ms($4) order by open_time",
            number,
            parse_interval(interval).name,
            at_ms,
            upto_ms,
            output=part,
            format="csv",
        )
        yield part.getvalue(), int(status.rsplit(" ", 1)[1])
        at_ms = upto_ms
