"""The paper venue's book in the database: orders by account and client id, and their executions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trading.accounts.broker import OrderRequest, OrderStatus, VenueFill
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.venues.paper.book import PaperOrder

__all__ = ["insert_order", "read_order", "update_orders", "working_orders"]

_ORDERS = """
select o.client_id, m.venue || ':' || m.symbol as market, o.side, o.quantity, o.quote_amount,
    ms(o.placed_time) as placed, o.status, o.reason, ms(o.updated_time) as updated, o.type, o.price,
    ms(o.expires_time) as expires
from paper_orders o join markets m on m.id = o.market_id where o.account = $1
"""


async def insert_order(connection: Connection, account: str, order: PaperOrder) -> bool:
    """Store a new order with its executions; False, with nothing stored, when the account has one of that id."""
    request = order.request
    status = await connection.execute(
        """
        insert into paper_orders (account, client_id, market_id, side, quantity, quote_amount, placed_time, status,
                                  reason, updated_time, type, price, expires_time)
        values ($1, $2, $3, $4, $5, $6, at_ms($7), $8, $9, at_ms($10), $11, $12, at_ms($13)) on conflict do nothing
        """,
        account,
        request.client_id,
        await market_id(connection, request.market),
        request.side,
        request.quantity,
        request.quote_amount,
        request.placed_ms,
        order.status.value,
        order.reason,
        order.updated_ms,
        request.type,
        request.price,
        request.expires_ms,
    )
    if status.endswith(" 0"):
        return False
    await _insert_fills(connection, account, [order])
    return True


async def update_orders(connection: Connection, account: str, orders: Iterable[PaperOrder]) -> None:
    """Store what became of ``orders`` that were working."""
    changed = list(orders)
    for order in changed:
        await connection.execute(
            "update paper_orders set status = $3, reason = $4, updated_time = at_ms($5)"
            " where account = $1 and client_id = $2 and status = 'open'",
            account,
            order.request.client_id,
            order.status.value,
            order.reason,
            order.updated_ms,
        )
    await _insert_fills(connection, account, changed)


async def read_order(
    connection: Connection, account: str, client_id: str, *, for_update: bool = False
) -> PaperOrder | None:
    """One order, None when the account has none of that id."""
    lock = " for update of o" if for_update else ""
    rows = await connection.fetch(f"{_ORDERS} and o.client_id = $2{lock}", account, client_id)
    return (await _with_fills(connection, account, rows))[0] if rows else None


async def working_orders(
    connection: Connection, account: str, market: str | None = None, *, for_update: bool = False
) -> list[PaperOrder]:
    """The account's orders that are not finished, in the order of their arrival."""
    lock = " for update of o" if for_update else ""
    tail = (
        f" and o.status = 'open' and ($2::text is null or m.venue || ':' || m.symbol = $2) order by o.accepted_at{lock}"
    )
    return await _with_fills(connection, account, await connection.fetch(_ORDERS + tail, account, market))


async def _with_fills(connection: Connection, account: str, rows: list[Any]) -> list[PaperOrder]:
    found: dict[str, list[VenueFill]] = {row["client_id"]: [] for row in rows}
    if rows:
        fills = await connection.fetch(
            "select client_id, number, price, quantity, fee, slippage, ms(time) as time_ms from paper_fills"
            " where account = $1 and client_id = any($2) order by client_id, number",
            account,
            list(found),
        )
        for fill in fills:
            client_id, *values = fill
            found[client_id].append(VenueFill(*values))
    return [_order(row, tuple(found[row["client_id"]])) for row in rows]


def _order(row: Any, fills: tuple[VenueFill, ...]) -> PaperOrder:
    request = OrderRequest(
        row["client_id"], row["market"], row["side"], row["quantity"], row["quote_amount"], row["placed"],
        row["type"], row["price"], row["expires"],
    )  # fmt: skip
    return PaperOrder(request, OrderStatus(row["status"]), fills, row["reason"], row["updated"])


async def _insert_fills(connection: Connection, account: str, orders: list[PaperOrder]) -> None:
    rows = [
        (
            account,
            order.request.client_id,
            fill.number,
            fill.price,
            fill.quantity,
            fill.fee,
            fill.slippage,
            fill.time_ms,
        )
        for order in orders
        for fill in order.fills
    ]
    if rows:
        await connection.executemany(
            "insert into paper_fills (account, client_id, number, price, quantity, fee, slippage, time)"
            " values ($1, $2, $3, $4, $5, $6, $7, at_ms($8)) on conflict do nothing",
            rows,
        )
