"""What a venue calls the markets that the configuration names otherwise: ``hyperliquid:cbBTC`` is its ``BTC``."""

from __future__ import annotations

from collections.abc import Mapping

from trading.storage.database import Connection

__all__ = ["alias_of", "note_alias", "read_aliases", "store_aliases"]

_PREFIX = "alias:"


async def store_aliases(connection: Connection, aliases: Mapping[str, str]) -> None:
    """Remember that each key of ``aliases`` is stored under its value, and forget what was remembered before."""
    await connection.execute("delete from database_info where key like $1", _PREFIX + "%")
    await connection.executemany(
        "insert into database_info (key, value) values ($1, $2)",
        [(_PREFIX + name, market) for name, market in aliases.items()],
    )


async def note_alias(connection: Connection, name: str, market: str) -> None:
    """Remember that ``name`` is stored under ``market``, beside what is remembered already."""
    await connection.execute(
        "insert into database_info (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value",
        _PREFIX + name,
        market,
    )


async def read_aliases(connection: Connection) -> dict[str, str]:
    """Written names and the markets that they mean, as Manta last resolved them."""
    rows = await connection.fetch("select key, value from database_info where key like $1", _PREFIX + "%")
    return {row["key"].removeprefix(_PREFIX): row["value"] for row in rows}


async def alias_of(connection: Connection, name: str) -> str | None:
    """The market that ``name`` means, None if it was never an alias."""
    found: str | None = await connection.fetchval("select value from database_info where key = $1", _PREFIX + name)
    return found
