"""Sleeves that hold something and that no configured instance has any more."""

from __future__ import annotations

from collections.abc import Iterable

from trading.accounts.capital import RetiredSleeve
from trading.config.rules import Exits
from trading.instances import Instance
from trading.storage.database import Connection

__all__ = ["read_retired", "retired_markets"]

_HOLDING = """
select p.book, p.instance_id, m.venue || ':' || m.symbol as market, p.interval, coalesce(i.profile, 'perp') as profile,
    coalesce(i.exits, '{}') as exits
from positions p join markets m on m.id = p.market_id left join instances i using (instance_id)
where ($1::text is null or p.book = $1) and (
    p.quantity <> 0 or p.cash <> 0 or exists (
        select from orders o
        where o.book = p.book and o.instance_id = p.instance_id and o.market_id = p.market_id
            and o.interval = p.interval and o.status not in ('filled', 'rejected', 'canceled')
    )
)
order by p.book, p.instance_id, market, p.interval
"""


async def read_retired(connection: Connection, book: str, instances: Iterable[Instance]) -> list[RetiredSleeve]:
    """The sleeves of ``book`` that hold cash, a position or an order, and that none of ``instances`` has."""
    configured = {
        (item.instance_id, market, interval)
        for item in instances
        if item.book == book
        for market in item.markets
        for interval in item.intervals
    }
    rows = await connection.fetch(_HOLDING, book)
    return [
        RetiredSleeve(row[1], row[2], row[3], row[4], Exits.model_validate(row["exits"]))
        for row in rows
        if (row[1], row[2], row[3]) not in configured
    ]


async def retired_markets(connection: Connection, instances: Iterable[Instance]) -> set[tuple[str, str]]:
    """(book, market) of every such sleeve of any book."""
    own = list(instances)
    books = {row[0] for row in await connection.fetch(_HOLDING, None)}
    return {(book, item.market) for book in books for item in await read_retired(connection, book, own)}
