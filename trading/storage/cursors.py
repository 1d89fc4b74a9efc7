"""Cursors: up to which close time a consumer has handled every minute. Moved in the transaction of their effect."""

from __future__ import annotations

from collections.abc import Mapping

from trading.storage.database import Connection

__all__ = ["advance", "get_cursor", "read_cursors", "set_cursor", "set_cursors"]


async def get_cursor(connection: Connection, name: str) -> int | None:
    """The position of cursor ``name``, None before its first commit."""
    position: int | None = await connection.fetchval("select position from cursors where name = $1", name)
    return position


async def read_cursors(connection: Connection, prefix: str = "") -> dict[str, int]:
    """All cursors whose names begin with ``prefix``."""
    rows = await connection.fetch(
        "select name, position from cursors where starts_with(name, $1) order by name", prefix
    )
    return {row["name"]: row["position"] for row in rows}


async def set_cursor(connection: Connection, name: str, position: int) -> None:
    """Move cursor ``name`` to ``position``; it never moves back, a lower position changes nothing."""
    await set_cursors(connection, {name: position})


async def set_cursors(connection: Connection, moves: Mapping[str, int]) -> None:
    """Move each cursor of ``moves`` to its position; none moves back."""
    if not moves:
        return
    names = sorted(moves)
    await connection.execute(
        """
        insert into cursors (name, position)
        select n.name, n.position from unnest($1::text[], $2::bigint[]) as n(name, position) order by n.name
        on conflict (name) do update set position = excluded.position, updated_at = clock_timestamp()
            where cursors.position < excluded.position
        """,
        names,
        [moves[name] for name in names],
    )


async def advance(connection: Connection, moves: Mapping[str, int]) -> bool:
    """Move all cursors of ``moves``; False, having changed nothing, when all stand there or beyond already.

    The first thing a repeatable transaction does: False means that an earlier try was committed after all. The rows
    stay locked until commit, so a try whose COMMIT is still under way is waited for.
    """
    names = sorted(moves)
    await connection.execute(
        "insert into cursors (name, position) select n, -9223372036854775808 from unnest($1::text[]) n order by n "
        "on conflict do nothing",
        names,
    )
    rows = await connection.fetch(
        "select name, position from cursors where name = any($1) order by name for update", names
    )
    if all(row["position"] >= moves[row["name"]] for row in rows):
        return False
    await set_cursors(connection, moves)
    return True
