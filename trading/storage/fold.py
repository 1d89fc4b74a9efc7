"""Aggregation in SQL: minutes folded to any interval, for backfills and for checking what was folded live (I3).

Bit for bit the candles of ``trading.fold``: opens and closes are picked by order, highs and lows compared, and volumes
added as integers at 10**-8, so no order of addition can show.
"""

from __future__ import annotations

import asyncpg

from trading.candles import Candle, Source
from trading.intervals import Interval, parse_interval
from trading.spans import Span
from trading.storage.candles import units_of
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["bucket_sql", "fold_minutes"]

# Below this a float8 times 1e8 rounds to the integer that it was made of.
_EXACT_BELOW = "33554432"


def bucket_sql(interval: str, column: str = "open_time") -> str:
    """The SQL expression of the open time of the ``interval`` candle that holds ``column``, with Manta's own anchor.

    date_bin takes the anchor as its argument; months have no fixed width and are cut by the calendar.
    """
    width = parse_interval(interval)
    if width.width_ms is None:
        return f"date_trunc('month', {column}, 'UTC')"
    # A day of 24 hours: an SQL interval in days would follow the clock changes of the session's time zone.
    return f"date_bin('{width.width_ms // 1000} seconds', {column}, at_ms({width.offset_ms}))"


async def fold_minutes(connection: Connection, market: str, interval: str, from_ms: int, to_ms: int) -> list[Candle]:
    """The ``interval`` candles that open and close within [``from_ms``, ``to_ms``], from stored minutes, ascending.

    Minutes in a hole *missing* make a candle incomplete; one without any minute is left out.
    """
    width = parse_interval(interval)
    rows = await connection.fetch(
        f"""
        with minutes as (
            select {bucket_sql(interval)} as bucket, * from candles
            where market_id = $1 and interval = '1m' and open_time >= at_ms($2) and open_time < at_ms($3)
        )
        select ms(bucket) as open_ms,
            (array_agg(open order by open_time))[1] as open, max(high) as high, min(low) as low,
            (array_agg(close order by open_time desc))[1] as close,
            {_total("volume")} as volume,
            case when count(quote_volume) = count(*) then {_total("quote_volume")} end as quote_volume,
            case when count(trade_count) = count(*) then sum(trade_count)::bigint end as trade_count,
            case when count(taker_buy_volume) = count(*) then {_total("taker_buy_volume")} end as taker_buy_volume,
            string_agg(distinct origin collate "C", ',' order by origin collate "C") as origin
        from minutes group by bucket order by bucket
        """,  # noqa: S608 - built from constants and a parsed interval
        await market_id(connection, market),
        from_ms,
        to_ms,
    )
    missing = await _missing(connection, market, from_ms, to_ms)
    folded = []
    for row in rows:
        open_ms = row["open_ms"]
        close_ms = width.close_of(open_ms)
        while missing and missing[-1][1] <= open_ms:
            missing.pop()
        if open_ms >= from_ms and close_ms <= to_ms:
            whole = not missing or missing[-1][0] >= close_ms
            folded.append(_candle(market, width, row, close_ms, whole))
    return folded


def _total(column: str) -> str:
    """The exact sum in units where floats are exact, else the nearest."""
    return f"""case when max({column}) < {_EXACT_BELOW}
                then sum((least({column}, {_EXACT_BELOW}) * 1e8)::bigint)
                else (sum({column}) * 1e8)::numeric end"""


async def _missing(connection: Connection, market: str, from_ms: int, to_ms: int) -> list[Span]:
    """Spans of missing minutes, the newest first."""
    rows = await connection.fetch(
        """
        select ms(range_start), ms(range_end) from (
            select unnest(range_agg(tstzrange(from_time, to_time))) as r from data_quality
            where market_id = $1 and kind = 'hole' and not resolved and from_time < at_ms($3) and to_time > at_ms($2)
        ) u cross join lateral (select lower(r) as range_start, upper(r) as range_end) e
        order by 1 desc
        """,
        await market_id(connection, market),
        from_ms,
        to_ms,
    )
    return [(row[0], row[1]) for row in rows]


def _candle(market: str, width: Interval, row: asyncpg.Record, close_ms: int, whole: bool) -> Candle:
    quote_volume, taker_buy_volume = row["quote_volume"], row["taker_buy_volume"]
    return Candle(
        market=market,
        interval=width.name,
        open_time_ms=row["open_ms"],
        close_time_ms=close_ms,
        open=units_of(row["open"]),
        high=units_of(row["high"]),
        low=units_of(row["low"]),
        close=units_of(row["close"]),
        volume=int(row["volume"]),
        quote_volume=None if quote_volume is None else int(quote_volume),
        trade_count=row["trade_count"],
        taker_buy_volume=None if taker_buy_volume is None else int(taker_buy_volume),
        source=Source.DERIVED.value,
        complete=whole,
        origin=row["origin"],
    )
