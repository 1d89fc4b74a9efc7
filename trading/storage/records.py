"""What brains and books write down, and reading it back for a rebuild or a comparison.

Every insert is repeatable: a row that is there already stays as it is, or is brought to its newer state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Transfer
from trading.brain import FeatureValue
from trading.config.model import Book
from trading.events import Signal
from trading.instances import Instance
from trading.storage.database import Connection
from trading.storage.rows import Field, Table

__all__ = [
    "StoredFeature",
    "StoredRun",
    "insert_decisions",
    "insert_features",
    "insert_fills",
    "insert_signals",
    "insert_transfers",
    "live_from",
    "read_decisions",
    "read_equity",
    "read_features",
    "read_fills",
    "read_intents",
    "read_orders",
    "read_positions",
    "read_run",
    "read_signals",
    "read_transfers",
    "upsert_book",
    "upsert_equity",
    "upsert_instances",
    "upsert_orders",
    "upsert_positions",
]

_END_OF_TIME = 253_370_764_800_000
# Sleeves side by side have no order of their own; within one, a trade's entry comes before its exit.
_FILL_ORDER = "order by t.time, t.instance_id, m.id, t.interval, t.trade_no, t.role, t.fill_id"


class StoredFeature(NamedTuple):
    """A configured feature's value at the candle that opened at ``open_time_ms``; None before warm-up."""

    market: str
    interval: str
    name: str
    open_time_ms: int
    value: float | None
    params: dict[str, int | float]


class StoredRun(NamedTuple):
    """Everything that one book's run wrote, each list in an order of its own that never varies."""

    signals: list[Signal]
    features: list[StoredFeature]
    decisions: list[Decision]
    orders: list[Order]
    fills: list[Fill]
    transfers: list[Transfer]
    positions: list[Position]
    equity: list[EquityMark]


_SLEEVE = (Field("instance_id", "text"), Field("market", "market"), Field("interval", "text"))

_features: Table[StoredFeature] = Table(
    "features",
    StoredFeature,
    (
        Field("market", "market"),
        Field("interval", "text"),
        Field("name", "text"),
        Field("open_time_ms", "time", "open_time"),
        Field("value", "float8"),
        Field("params", "jsonb"),
    ),
    key="market_id, interval, name, open_time",
    update="value = excluded.value, params = excluded.params"
    " where (features.value, features.params) is distinct from (excluded.value, excluded.params)",
)
_signals: Table[Signal] = Table(
    "signals",
    Signal,
    (
        *_SLEEVE,
        Field("open_time_ms", "time", "open_time"),
        Field("close_time_ms", "time", "close_time"),
        Field("target", "text"),
        Field("confidence", "float8"),
        Field("status", "text"),
        Field("warm_have", "int"),
        Field("warm_need", "int"),
        Field("price", "units"),
        Field("features", "jsonb"),
        Field("candle_revision", "int"),
        Field("received_ns", "bigint"),
    ),
)
_decisions: Table[Decision] = Table(
    "decisions",
    Decision,
    (
        Field("decision_id", "text"),
        Field("book", "text"),
        *_SLEEVE,
        Field("open_ms", "time", "open_time"),
        Field("close_ms", "time", "close_time"),
        Field("actions", "texts"),
        Field("target", "text"),
        Field("confidence", "float8"),
        Field("outcome", "text"),
        Field("reason", "text"),
        Field("price", "numeric"),
        Field("position_before", "numeric"),
        Field("features", "jsonb"),
        Field("candle_revision", "int"),
        Field("received_ns", "bigint"),
    ),
)
_orders: Table[Order] = Table(
    "orders",
    Order,
    (
        Field("order_id", "text"),
        Field("decision_id", "text"),
        Field("leg", "smallint"),
        Field("book", "text"),
        *_SLEEVE,
        Field("action", "text"),
        Field("side", "text"),
        Field("type", "text"),
        Field("quantity", "numeric"),
        Field("quote_amount", "numeric"),
        Field("status", "text"),
        Field("reason", "text"),
        Field("created_ms", "time", "created_time"),
        Field("updated_ms", "time", "updated_time"),
    ),
    key="order_id",
    # A finished order stays finished: a late repeat of its intent changes nothing.
    update="quantity = excluded.quantity, quote_amount = excluded.quote_amount, status = excluded.status,"
    " reason = excluded.reason, updated_time = excluded.updated_time"
    " where orders.status = 'intent' and excluded.status <> 'intent'",
)
_fills: Table[Fill] = Table(
    "fills",
    Fill,
    (
        Field("fill_id", "text"),
        Field("order_id", "text"),
        Field("book", "text"),
        *_SLEEVE,
        Field("trade_no", "int"),
        Field("role", "text"),
        Field("side", "text"),
        Field("price", "numeric"),
        Field("quantity", "numeric"),
        Field("fee", "numeric"),
        Field("fee_asset", "text"),
        Field("slippage", "numeric"),
        Field("realized_pnl", "numeric"),
        Field("reason", "text"),
        Field("time_ms", "time", "time"),
    ),
)
_positions: Table[Position] = Table(
    "positions",
    Position,
    (
        Field("book", "text"),
        *_SLEEVE,
        Field("quantity", "numeric"),
        Field("entry_price", "numeric"),
        Field("entry_ms", "time", "entry_time"),
        Field("cash", "numeric"),
        Field("mark", "numeric"),
        Field("equity", "numeric"),
        Field("as_of_ms", "time", "as_of"),
    ),
    key="book, instance_id, market_id, interval",
    update="quantity = excluded.quantity, entry_price = excluded.entry_price, entry_time = excluded.entry_time,"
    " cash = excluded.cash, mark = excluded.mark, equity = excluded.equity, as_of = excluded.as_of"
    " where positions.as_of <= excluded.as_of",
)
_equity: Table[EquityMark] = Table(
    "equity",
    EquityMark,
    (
        Field("book", "text"),
        Field("market", "market"),
        Field("time_ms", "time", "time"),
        Field("cash", "numeric"),
        Field("position_value", "numeric"),
        Field("equity", "numeric"),
    ),
    key="book, market_id, time",
    update="cash = excluded.cash, position_value = excluded.position_value, equity = excluded.equity",
)
_transfers: Table[Transfer] = Table(
    "transfers",
    Transfer,
    (
        Field("transfer_id", "text"),
        Field("book", "text"),
        *_SLEEVE,
        Field("kind", "text"),
        Field("amount", "numeric"),
        Field("currency", "text"),
        Field("time_ms", "time", "time"),
    ),
)


async def upsert_book(connection: Connection, name: str, book: Book) -> None:
    """Store the account ``name`` as configured. What it holds follows from its transfers and fills alone."""
    await connection.execute(
        """
        insert into books (book, mode, capital, currency, config) values ($1, $2, $3, $4, $5)
        on conflict (book) do update set
            mode = excluded.mode, capital = excluded.capital, currency = excluded.currency, config = excluded.config
        """,
        name,
        book.mode,
        book.capital,
        book.currency,
        book.model_dump(mode="json"),
    )


async def upsert_instances(connection: Connection, instances: Iterable[Instance]) -> None:
    """Store ``instances`` as the active ones and no others. The time from which a known one decides never changes."""
    rows = list(instances)
    await connection.execute(
        "update instances set active = false where active and instance_id <> all($1)", [row.instance_id for row in rows]
    )
    for row in rows:
        await connection.execute(
            """
            insert into instances (instance_id, name, strategy, params, profile, book, markets, intervals, live_from)
            values ($1, $2, $3, $4, $5, $6, $7, $8, at_ms($9))
            on conflict (instance_id) do update set
                active = true, book = excluded.book, markets = excluded.markets, intervals = excluded.intervals
            """,
            row.instance_id,
            row.name,
            row.strategy,
            dict(row.params),
            row.profile,
            row.book,
            list(row.markets),
            list(row.intervals),
            row.live_from_ms,
        )


async def live_from(connection: Connection) -> dict[str, int]:
    """Since when each known instance decides (epoch ms), by instance id."""
    rows = await connection.fetch("select instance_id, ms(live_from) from instances")
    return {row[0]: row[1] for row in rows}


async def insert_features(connection: Connection, values: Iterable[FeatureValue | StoredFeature]) -> None:
    """Store feature values; after a rebuild the newer one holds. Of repeats in one call the last counts."""
    newest = {(value.market, value.interval, value.name, value.open_time_ms): value for value in values}
    await _features.insert(
        connection, (StoredFeature(*key, value.value, dict(value.params)) for key, value in newest.items())
    )


async def insert_signals(connection: Connection, signals: Iterable[Signal]) -> int:
    """Store signals; the first of a candle holds. Returns how many were new."""
    return await _signals.insert(connection, signals)


async def insert_decisions(connection: Connection, decisions: Iterable[Decision]) -> int:
    """Store decisions; one decision key has one decision, the first (I6). Returns how many were new."""
    return await _decisions.insert(connection, decisions)


async def upsert_orders(connection: Connection, orders: Iterable[Order]) -> int:
    """Store orders or what became of them; a finished one stays as it is. Of repeats in one call the last counts."""
    newest = {order.order_id: order for order in orders}
    return await _orders.insert(connection, newest.values())


async def insert_fills(connection: Connection, fills: Iterable[Fill]) -> int:
    """Store fills, each once. Returns how many were new."""
    return await _fills.insert(connection, fills)


async def insert_transfers(connection: Connection, transfers: Iterable[Transfer]) -> int:
    """Store transfers, each once. Returns how many were new."""
    return await _transfers.insert(connection, transfers)


async def upsert_positions(connection: Connection, positions: Iterable[Position]) -> int:
    """Store how sleeves stand now; an older standing never replaces a newer one."""
    newest = {(row.book, row.instance_id, row.market, row.interval): row for row in positions}
    return await _positions.insert(connection, newest.values())


async def upsert_equity(connection: Connection, marks: Iterable[EquityMark]) -> int:
    """Store equity marks; of repeats the last counts."""
    newest = {(mark.book, mark.market, mark.time_ms): mark for mark in marks}
    return await _equity.insert(connection, newest.values())


async def read_decisions(
    connection: Connection, book: str, *, after_ms: int = 0, upto_ms: int = _END_OF_TIME
) -> list[Decision]:
    """The book's decisions on candles closed in (``after_ms``, ``upto_ms``], by close, instance, market, interval."""
    return await _decisions.select(
        connection,
        "where t.book = $1 and t.close_time > at_ms($2) and t.close_time <= at_ms($3)"
        " order by t.close_time, t.instance_id, m.id, t.interval",
        book,
        after_ms,
        upto_ms,
    )


async def read_orders(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[Order]:
    """The book's orders created up to ``upto_ms``, by time, decision and leg."""
    return await _orders.select(
        connection,
        "where t.book = $1 and t.created_time <= at_ms($2) order by t.created_time, t.decision_id, t.leg, t.order_id",
        book,
        upto_ms,
    )


async def read_intents(connection: Connection, book: str) -> list[Order]:
    """The book's orders whose outcome is still open, by time, decision and leg."""
    return await _orders.select(
        connection,
        "where t.book = $1 and t.status = 'intent' order by t.created_time, t.decision_id, t.leg, t.order_id",
        book,
    )


async def read_fills(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[Fill]:
    """The book's fills up to ``upto_ms``, by time, and within a sleeve in the order in which they happened."""
    return await _fills.select(connection, f"where t.book = $1 and t.time <= at_ms($2) {_FILL_ORDER}", book, upto_ms)


async def read_transfers(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[Transfer]:
    """The book's transfers up to ``upto_ms``, by time and id."""
    return await _transfers.select(
        connection, "where t.book = $1 and t.time <= at_ms($2) order by t.time, t.transfer_id", book, upto_ms
    )


async def read_positions(connection: Connection, book: str) -> list[Position]:
    """How the book's sleeves stand, by instance, market and interval."""
    return await _positions.select(connection, "where t.book = $1 order by t.instance_id, m.id, t.interval", book)


async def read_equity(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[EquityMark]:
    """The book's equity marks up to ``upto_ms``, by time and market."""
    return await _equity.select(
        connection, "where t.book = $1 and t.time <= at_ms($2) order by t.time, m.id", book, upto_ms
    )


async def read_signals(
    connection: Connection, book: str, *, after_ms: int = 0, upto_ms: int = _END_OF_TIME
) -> list[Signal]:
    """Signals of the book's instances on candles closed in (``after_ms``, ``upto_ms``], ordered as decisions are."""
    return await _signals.select(
        connection,
        "where t.instance_id in (select instance_id from instances where book = $1)"
        " and t.close_time > at_ms($2) and t.close_time <= at_ms($3)"
        " order by t.close_time, t.instance_id, m.id, t.interval",
        book,
        after_ms,
        upto_ms,
    )


async def read_features(connection: Connection, *, upto_ms: int = _END_OF_TIME) -> list[StoredFeature]:
    """Feature values of candles that closed up to ``upto_ms``, by open, market, interval and name."""
    return await _features.select(
        connection,
        "join candles c using (market_id, interval, open_time) where c.close_time <= at_ms($1)"
        " order by t.open_time, m.id, t.interval, t.name",
        upto_ms,
    )


async def read_run(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> StoredRun:
    """Everything that the book's run wrote up to ``upto_ms``; positions are those of now."""
    return StoredRun(
        signals=await read_signals(connection, book, upto_ms=upto_ms),
        features=await read_features(connection, upto_ms=upto_ms),
        decisions=await read_decisions(connection, book, upto_ms=upto_ms),
        orders=await read_orders(connection, book, upto_ms=upto_ms),
        fills=await read_fills(connection, book, upto_ms=upto_ms),
        transfers=await read_transfers(connection, book, upto_ms=upto_ms),
        positions=await read_positions(connection, book),
        equity=await read_equity(connection, book, upto_ms=upto_ms),
    )
