"""What a book's execution needs of what it stored to go on after a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trading.accounts.decisions import LastDecision
from trading.accounts.records import (
    Decision,
    Fill,
    LotExtremes,
    Order,
    SleeveKey,
    Transfer,
)
from trading.candles import Candle
from trading.events import Signal
from trading.storage import candles, records
from trading.storage.database import Connection

__all__ = ["Restart", "read_restart", "read_stream"]

# An order waits for the next present minute: a month is longer than any outage that a book should survive unseen.
_LONGEST_WAIT_MS = 31 * 86_400_000


class Restart(NamedTuple):
    """Committed rows of one book, in order of time; the fields are what ``ExecutionState.restore`` takes."""

    fills: list[Fill]
    transfers: list[Transfer]
    open_orders: list[tuple[Order, Decision]]
    decided: dict[SleeveKey, LastDecision]
    last_candles: list[Candle]
    extremes: Sequence[LotExtremes] = ()


async def read_restart(connection: Connection, book: str, positions: Mapping[str, int]) -> Restart:
    """``positions`` is the book's committed cursor by market."""
    unfinished = await records.read_unfinished_orders(connection, book)
    causes = await _decisions_of(connection, book, unfinished)
    last, extremes = [], list[LotExtremes]()
    for market, position_ms in positions.items():
        # A minute that was not finished is handled again, and must not know its own high and low beforehand.
        seen = await records.read_extremes(connection, book, upto_ms=position_ms)
        extremes += [item for item in seen if item.market == market]
        # A candle healed after execution passed it was never handled: the newest mark says how far it really came.
        marked = await connection.fetchval(
            "select ms(max(e.time)) from equity e join markets m on m.id = e.market_id"
            " where e.book = $1 and m.venue || ':' || m.symbol = $2",
            book,
            market,
        )
        last += await candles.read_candles(
            connection, market, "1m", to_ms=min(position_ms, marked or position_ms), limit=1, newest=True
        )
    return Restart(
        fills=await records.read_fills(connection, book),
        transfers=await records.read_transfers(connection, book),
        open_orders=[(order, causes[order.decision_id]) for order in unfinished if order.decision_id is not None],
        decided=await records.read_last_decisions(connection, book),
        last_candles=last,
        extremes=extremes,
    )


async def read_stream(
    connection: Connection, book: str, market: str, after_ms: int, upto_ms: int
) -> list[Candle | Signal]:
    """1m candles and the book's signals that closed in (after, upto], each candle before the signals of its close."""
    minutes = await candles.read_closed(connection, market, "1m", after_ms, upto_ms)
    signals = await records.read_signals(connection, book, after_ms=after_ms, upto_ms=upto_ms)
    told: list[tuple[int, int, Candle | Signal]] = [(candle.close_time_ms, 0, candle) for candle in minutes]
    told += [(signal.close_time_ms, 1, signal) for signal in signals if signal.market == market]
    told.sort(key=lambda entry: entry[:2])
    return [entry[2] for entry in told]


async def _decisions_of(connection: Connection, book: str, orders: list[Order]) -> dict[str, Decision]:
    if not orders:
        return {}
    oldest_ms = min(order.created_ms for order in orders)
    wanted = {order.decision_id for order in orders}
    # A flip's second leg is created when the first one fills, so its decision may be some candles older.
    found = await records.read_decisions(connection, book, after_ms=oldest_ms - _LONGEST_WAIT_MS)
    return {decision.decision_id: decision for decision in found if decision.decision_id in wanted}
