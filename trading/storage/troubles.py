"""Table troubles: what was told as trouble and is not over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trading.storage.database import Connection

__all__ = ["OpenTrouble", "close_troubles", "open_trouble", "read_troubles"]


class OpenTrouble(NamedTuple):
    """Trouble that was told: its name, what the alert said, and since when (epoch ms)."""

    name: str
    title: str
    began_ms: int


async def read_troubles(connection: Connection) -> list[OpenTrouble]:
    """All that is not over, oldest first."""
    rows = await connection.fetch("select name, title, ms(began_at) from troubles order by began_at, name")
    return [OpenTrouble(*row) for row in rows]


async def open_trouble(connection: Connection, trouble: OpenTrouble) -> None:
    """Remember that ``trouble`` was told; call it in the transaction of its alert."""
    await connection.execute("insert into troubles values ($1, $2, at_ms($3)) on conflict do nothing", *trouble)


async def close_troubles(connection: Connection, names: Iterable[str]) -> None:
    """Forget what is over; call it in the transaction of the alert that says so."""
    await connection.execute("delete from troubles where name = any($1)", [*names])
