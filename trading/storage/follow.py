"""What follows from minutes that a command stored, replaced or dropped. Apart from ``rederive``, which actors load."""

from __future__ import annotations

from collections.abc import Sequence

from trading.intervals import parse_interval
from trading.storage.candles import first_open
from trading.storage.database import Connection
from trading.storage.folded import folded_from, folded_intervals, note_folded
from trading.storage.inspection import Suspect, drop_candles
from trading.storage.markets import market_id
from trading.storage.rederive import rederive

__all__ = ["follow_minutes"]


async def follow_minutes(connection: Connection, market: str, from_ms: int, to_ms: int, why: str) -> int:
    """``rederive`` what is kept of ``market``; nothing where no timeframe ever was at work.

    A derived candle that has no minute left goes, noted with its values. For commands that store, replace or drop
    minutes of [``from_ms``, ``to_ms``); call it in their transaction, after the holes are accounted for.
    """
    kept = await folded_intervals(connection, market)
    first, known = await first_open(connection, market), await folded_from(connection, market)
    if not kept or first is None or from_ms >= to_ms:
        return 0
    changed = await rederive(connection, market, kept, from_ms, to_ms, why)
    changed += await _drop_empty(connection, market, kept, from_ms, to_ms)
    if known is not None and first < known:
        await note_folded(connection, market, kept, first)
    return changed


async def _drop_empty(connection: Connection, market: str, intervals: Sequence[str], from_ms: int, to_ms: int) -> int:
    """Take out the derived candles that touch the span and have no minute at all any more."""
    dropped = 0
    for name in intervals:
        width = parse_interval(name)
        rows = await connection.fetch(
            """
            select ms(c.open_time) as open_time_ms, c.open, c.high, c.low, c.close, c.volume, c.source from candles c
            where c.market_id = $1 and c.interval = $2 and c.source = 'derived'
                and c.open_time >= at_ms($3) and c.open_time < at_ms($4)
                and not exists (select from candles m where m.market_id = $1 and m.interval = '1m'
                    and m.open_time >= c.open_time and m.open_time < c.close_time)
            """,
            await market_id(connection, market),
            name,
            width.open_of(from_ms),
            to_ms,
        )
        empty = [Suspect(rule="none of its minutes is left", **row) for row in rows]
        dropped += await drop_candles(connection, market, width, empty) if empty else 0
    return dropped
