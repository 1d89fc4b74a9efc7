"""Markets in the database: each venue and symbol has a number that other tables use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from trading.errors import BadInput
from trading.markets import Market, split_market
from trading.storage.aliases import alias_of
from trading.storage.database import Connection

__all__ = ["market_id", "market_ids", "market_keys", "read_markets", "remember_markets", "upsert_market"]

_known: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


async def upsert_market(connection: Connection, market: Market) -> int:
    """Store what the venue says about ``market`` and return its number."""
    number: int = await connection.fetchval(
        """
        insert into markets (venue, symbol, kind, base, quote, price_decimals, size_decimals,
                             tick_size, lot_size, min_notional)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (venue, symbol) do update set
            kind = excluded.kind, base = excluded.base, quote = excluded.quote,
            price_decimals = excluded.price_decimals, size_decimals = excluded.size_decimals,
            tick_size = excluded.tick_size, lot_size = excluded.lot_size, min_notional = excluded.min_notional
        returning id
        """,
        market.venue,
        market.symbol,
        market.kind,
        market.base,
        market.quote,
        market.price_decimals,
        market.size_decimals,
        market.tick_size,
        market.lot_size,
        market.min_notional,
    )
    return number


async def read_markets(connection: Connection) -> list[Market]:
    """All markets, oldest first."""
    rows = await connection.fetch(
        """
        select venue, symbol, kind, base, quote, price_decimals, size_decimals, tick_size, lot_size, min_notional
        from markets order by id
        """
    )
    return [Market(**dict(row)) for row in rows]


async def remember_markets(connection: Connection) -> None:
    """Let ``market_ids`` on this connection know the numbers of the markets that are stored, without asking each time.

    To be called outside a transaction, as ``Database.on_connect`` does: what is committed keeps its number for good,
    while a number that was read within a transaction could go with it.
    """
    _known[connection] = {key: number for number, key in (await market_keys(connection)).items()}


async def market_ids(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Numbers of the markets ``keys`` (``venue:symbol``); BadInput for one that is not stored.

    Markets that are not remembered (``remember_markets``) are asked for anew each time.
    """
    wanted = set(keys)
    known = _known.get(connection, {})
    if wanted <= known.keys():
        return {key: known[key] for key in wanted}
    rows = await connection.fetch(
        "select id, venue || ':' || symbol as key from markets where venue || ':' || symbol = any($1)", list(wanted)
    )
    found = {row["key"]: int(row["id"]) for row in rows}
    for key in sorted(wanted - found.keys()):
        split_market(key)
        meant = await alias_of(connection, key)
        raise BadInput(
            f"Market {key} is not in the database.",
            field="market",
            value=key,
            fix=f"It is stored as {meant}: use that name."
            if meant is not None
            else "Add it to markets in the configuration and start Manta once, or import its candles.",
        )
    return found


async def market_id(connection: Connection, key: str) -> int:
    """Number of the market ``key``; BadInput when it is not stored."""
    return (await market_ids(connection, (key,)))[key]


async def market_keys(connection: Connection) -> dict[int, str]:
    """Keys of all markets by number."""
    rows = await connection.fetch("select id, venue || ':' || symbol as key from markets")
    return {row["id"]: row["key"] for row in rows}
