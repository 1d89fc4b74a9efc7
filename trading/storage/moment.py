"""What a book had committed at a moment of event time, and what it wrote in the span after it.

A moment T lies after the candles and signals that closed up to T and before what happens at the open of the candle that
begins at T. So an order decided at T is there and waits, and what fills at T, or is paid for holding over T, is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from trading.accounts.broker import FINAL, OrderStatus
from trading.accounts.decisions import Action
from trading.accounts.records import Decision, EquityMark, Fill, Order, Transfer
from trading.candles import Candle
from trading.events import Signal
from trading.storage import candles, records
from trading.storage.database import Connection
from trading.storage.rebuild import Restart
from trading.storage.records import StoredFeature

__all__ = ["Written", "happened_after", "open_orders", "read_moment", "read_written"]

# An order waits for the next present minute: a month is longer than any outage that a book should survive unseen.
_LONGEST_WAIT_MS = 31 * 86_400_000


class Written(NamedTuple):
    """What the book's actors wrote in (from, to], orders as they stand now and with those that waited at ``from``.

    Features are those of ``markets``, whichever book they are shown for.
    """

    signals: list[Signal]
    features: list[StoredFeature]
    decisions: list[Decision]
    orders: list[Order]
    fills: list[Fill]
    transfers: list[Transfer]
    equity: list[EquityMark]


async def read_moment(connection: Connection, book: str, markets: Iterable[str], at_ms: int) -> Restart:
    """What ``ExecutionState.restore`` takes to go on from ``at_ms``."""
    orders = await records.read_orders(connection, book, upto_ms=at_ms)
    oldest_ms = min((order.created_ms for order in orders if not _finished_before(order, at_ms)), default=at_ms)
    decisions = await records.read_decisions(connection, book, after_ms=oldest_ms - _LONGEST_WAIT_MS, upto_ms=at_ms)
    fills = await records.read_fills(connection, book, upto_ms=at_ms)
    transfers = await records.read_transfers(connection, book, upto_ms=at_ms)
    last = [candle for market in markets for candle in await _last_candle(connection, book, market, at_ms)]
    return Restart(
        fills=[item for item in fills if not happened_after(item, at_ms)],
        transfers=[item for item in transfers if not happened_after(item, at_ms)],
        open_orders=open_orders(orders, decisions, at_ms),
        decided=await records.read_last_decisions(connection, book, upto_ms=at_ms),
        last_candles=last,
        extremes=await records.read_extremes(connection, book, upto_ms=at_ms),
    )


async def read_written(connection: Connection, book: str, markets: Iterable[str], from_ms: int, to_ms: int) -> Written:
    """Everything that followed from the candles closing in (``from_ms``, ``to_ms``]."""
    wanted = set(markets)
    orders = await records.read_orders(connection, book, upto_ms=to_ms)
    fills = await records.read_fills(connection, book, upto_ms=to_ms)
    transfers = await records.read_transfers(connection, book, upto_ms=to_ms)
    features = await records.read_features(connection, after_ms=from_ms, upto_ms=to_ms)
    return Written(
        signals=await records.read_signals(connection, book, after_ms=from_ms, upto_ms=to_ms),
        features=[item for item in features if item.market in wanted],
        decisions=await records.read_decisions(connection, book, after_ms=from_ms, upto_ms=to_ms),
        orders=[item for item in orders if not (happened_after(item, to_ms) or _finished_before(item, from_ms))],
        fills=[item for item in fills if happened_after(item, from_ms) and not happened_after(item, to_ms)],
        transfers=[item for item in transfers if happened_after(item, from_ms) and not happened_after(item, to_ms)],
        equity=await records.read_equity(connection, book, after_ms=from_ms, upto_ms=to_ms),
    )


def happened_after(item: Order | Fill | Transfer, at_ms: int) -> bool:
    """Whether ``item`` followed from a candle or signal that closed after ``at_ms``."""
    match item:
        case Fill():
            return item.time_ms >= at_ms
        case Transfer():
            # Deposits and transfers are made at a close, funding is paid at the open that follows.
            return item.time_ms >= at_ms if item.kind == "funding" else item.time_ms > at_ms
        case Order():
            return item.created_ms > at_ms if _decided_at_close(item) else item.created_ms >= at_ms


def open_orders(orders: Iterable[Order], decisions: Iterable[Decision], at_ms: int) -> list[tuple[Order, Decision]]:
    """Of ``orders``, as they stand now, those that waited at ``at_ms``, as they were then, each with its decision."""
    causes = {decision.decision_id: decision for decision in decisions}
    found = []
    for order in orders:
        if happened_after(order, at_ms) or _finished_before(order, at_ms):
            continue
        cause = causes.get(order.decision_id or "")
        if cause is not None:
            quantity = None if Action(order.action).opens else order.quantity
            waiting = replace(
                order, status=OrderStatus.INTENT.value, quantity=quantity, reason="", updated_ms=order.created_ms
            )
            found.append((waiting, cause))
    return found


def _finished_before(order: Order, at_ms: int) -> bool:
    return order.status in FINAL and not happened_after(order, at_ms) and order.updated_ms < at_ms


def _decided_at_close(order: Order) -> bool:
    """The first leg is made at a close; later legs and liquidations are made inside the candle that opens then."""
    return order.leg == 0 and order.decision_id is not None


async def _last_candle(connection: Connection, book: str, market: str, at_ms: int) -> list[Candle]:
    # A candle healed after execution passed it was never handled: the newest mark says how far it really came.
    marked = await connection.fetchval(
        "select ms(max(e.time)) from equity e join markets m on m.id = e.market_id"
        " where e.book = $1 and m.venue || ':' || m.symbol = $2 and e.time <= at_ms($3)",
        book,
        market,
        at_ms,
    )
    if marked is None:
        return []
    return await candles.read_candles(connection, market, "1m", to_ms=marked, limit=1, newest=True)
