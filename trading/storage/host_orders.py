"""Table host_orders: the host process asks, the supervisor answers. Neither needs Ray to find the other."""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.storage.database import Connection, notify

__all__ = ["CHANNEL", "HostOrder", "answer_order", "ask", "read_answer", "unanswered"]

CHANNEL = "manta_host"


class HostOrder(NamedTuple):
    """One wish of the host; ``detail`` belongs to the verb."""

    id: int
    verb: str
    detail: dict[str, Any]


async def ask(connection: Connection, session: str, verb: str, detail: dict[str, Any]) -> int:
    """Leave an order to the supervisor of ``session``, who is told at commit; returns its number."""
    number: int = await connection.fetchval(
        "insert into host_orders (session, verb, detail) values ($1, $2, $3) returning id", session, verb, detail
    )
    await notify(connection, CHANNEL, str(number))
    return number


async def unanswered(connection: Connection, session: str) -> list[HostOrder]:
    """The orders that ``session``'s supervisor has not answered yet, oldest first."""
    rows = await connection.fetch(
        "select id, verb, detail from host_orders where session = $1 and answered_at is null order by id", session
    )
    return [HostOrder(*row) for row in rows]


async def answer_order(connection: Connection, number: int, answer: dict[str, Any]) -> None:
    await connection.execute(
        "update host_orders set answer = $2, answered_at = clock_timestamp() where id = $1 and answered_at is null",
        number,
        answer,
    )


async def read_answer(connection: Connection, number: int) -> dict[str, Any] | None:
    """The answer to order ``number``; None as long as there is none."""
    found: dict[str, Any] | None = await connection.fetchval("select answer from host_orders where id = $1", number)
    return found
