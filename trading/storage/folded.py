"""Table folded_intervals: which intervals all of a market's minutes have been folded into so far."""

from __future__ import annotations

from collections.abc import Sequence

from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["folded_from", "folded_intervals", "note_folded", "unfolded"]


async def unfolded(connection: Connection, market: str, intervals: Sequence[str]) -> list[str]:
    """Those of ``intervals`` that stored minutes of ``market`` have not been folded into.

    Where that was never noted, an interval with a derived candle counts as folded.
    """
    number = await market_id(connection, market)
    known = await connection.fetchval("select intervals from folded_intervals where market_id = $1", number)
    if known is None:
        known = await connection.fetchval(
            "select coalesce(array_agg(i), '{}') from unnest($2::text[]) i where exists ("
            " select from candles where market_id = $1 and interval = i and source = 'derived')",
            number,
            list(intervals),
        )
    return [interval for interval in intervals if interval not in known]


async def folded_intervals(connection: Connection, market: str) -> list[str]:
    """The intervals that the minutes of ``market`` are folded into; none where no timeframe ever was at work."""
    found = await connection.fetchval(
        "select intervals from folded_intervals where market_id = $1", await market_id(connection, market)
    )
    return list(found or ())


async def folded_from(connection: Connection, market: str) -> int | None:
    """The first minute that was folded, open time; None when that was never noted."""
    found: int | None = await connection.fetchval(
        "select ms(first_time) from folded_intervals where market_id = $1", await market_id(connection, market)
    )
    return found


async def note_folded(connection: Connection, market: str, intervals: Sequence[str], first_ms: int | None) -> None:
    """``intervals``, and no others, are folded from ``first_ms`` up to the timeframe's cursor, and will be from now on.

    Without ``first_ms`` the one that was noted stays.
    """
    await connection.execute(
        "insert into folded_intervals (market_id, intervals, first_time) values ($1, $2, at_ms($3))"
        " on conflict (market_id) do update set intervals = excluded.intervals,"
        " first_time = coalesce(excluded.first_time, folded_intervals.first_time)",
        await market_id(connection, market),
        list(intervals),
        first_ms,
    )
