"""What is stored: each market and interval is a series of candles with a beginning, an end and holes."""

from __future__ import annotations

from typing import NamedTuple

from trading.intervals import Interval, parse_interval
from trading.storage.database import Connection

__all__ = ["Series", "bars_between", "read_series"]


class Series(NamedTuple):
    """One market and interval at a glance.

    ``without`` counts the bars between first and last that have no candle, ``sources`` the candles by source.
    ``bytes`` is the series' share of the table and its indexes, by its rows.
    """

    market: str
    interval: str
    first_open_ms: int
    last_close_ms: int
    rows: int
    without: int
    sources: dict[str, int]
    bytes: int


async def read_series(connection: Connection) -> list[Series]:
    """Every stored series, by market and then from short to long intervals."""
    rows = await connection.fetch(
        """
        select m.venue || ':' || m.symbol as market, c.interval, c.source, ms(min(c.open_time)) as first_ms,
            ms(max(c.close_time)) as last_ms, count(*) as rows
        from candles c join markets m on m.id = c.market_id
        group by m.id, m.venue, m.symbol, c.interval, c.source order by m.id, c.interval, c.source
        """
    )
    size = await _table_bytes(connection)
    total = sum(row["rows"] for row in rows)
    parts: dict[tuple[str, str], list[tuple[str, int, int, int]]] = {}
    for row in rows:
        part = row["source"], row["rows"], row["first_ms"], row["last_ms"]
        parts.setdefault((row["market"], row["interval"]), []).append(part)
    found = []
    for (market, interval), mixed in parts.items():
        first_ms, last_ms = min(part[2] for part in mixed), max(part[3] for part in mixed)
        count = sum(part[1] for part in mixed)
        without = bars_between(parse_interval(interval), first_ms, last_ms) - count
        sources = {part[0]: part[1] for part in mixed}
        found.append(
            Series(market, interval, first_ms, last_ms, count, without, sources, size * count // max(1, total))
        )
    markets = list(dict.fromkeys(series.market for series in found))
    return sorted(found, key=lambda s: (markets.index(s.market), parse_interval(s.interval).typical_ms))


def bars_between(interval: Interval, from_ms: int, to_ms: int) -> int:
    """How many ``interval`` bars lie between an open and a later close of it."""
    if interval.width_ms is not None:
        return (to_ms - from_ms) // interval.width_ms
    bars = 0
    while from_ms < to_ms:
        from_ms = interval.close_of(from_ms)
        bars += 1
    return bars


async def _table_bytes(connection: Connection) -> int:
    """The table with its indexes; of a hypertable, all its chunks, the compressed ones as they are."""
    hypertable = await connection.fetchval("select exists (select from pg_extension where extname = 'timescaledb')")
    measure = "hypertable_size" if hypertable else "pg_total_relation_size"
    size: int = await connection.fetchval(f"select coalesce({measure}('candles'), 0)::bigint")
    return size
