"""Table freshness: what was last told of each market's data, for who decides on it and for who starts again."""

from __future__ import annotations

from collections.abc import Iterable

from trading.freshness import Standing, Turn
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["note_turns", "read_freshness", "stale_markets"]


async def note_turns(connection: Connection, turns: Iterable[Turn]) -> None:
    """Remember ``turns``; call it in the transaction of their events."""
    for turn in turns:
        await connection.execute(
            """
            insert into freshness (market_id, stale, reason, since) values ($1, $2, $3, at_ms($4))
            on conflict (market_id) do update set
                stale = excluded.stale, reason = excluded.reason, since = excluded.since
            """,
            await market_id(connection, turn.market),
            turn.stale,
            turn.reason,
            turn.at_ms,
        )


async def read_freshness(connection: Connection) -> dict[str, Standing]:
    """By market what was last told; a market that never was stale is left out."""
    rows = await connection.fetch(
        """
        select m.venue || ':' || m.symbol as market, f.stale, f.reason, ms(f.since) as since_ms
        from freshness f join markets m on m.id = f.market_id
        """
    )
    return {row["market"]: Standing(row["stale"], row["reason"], row["since_ms"]) for row in rows}


async def stale_markets(connection: Connection) -> dict[str, str]:
    """The markets that are stale, and why."""
    return {market: told.reason for market, told in (await read_freshness(connection)).items() if told.stale}
