"""What brains and books write down, and reading it back for a rebuild or a comparison.

Every insert is repeatable: a row that is there already stays as it is, or is brought to its newer state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from trading.accounts.decisions import LastDecision
from trading.accounts.records import (
    Decision,
    EquityMark,
    Fill,
    LotExtremes,
    Order,
    Position,
    Record,
    SleeveKey,
    Transfer,
)
from trading.brain import FeatureValue
from trading.config.model import Book
from trading.events import Signal
from trading.instances import Instance
from trading.plan import NO_PLAN, Plan
from trading.storage.database import Connection
from trading.storage.rows import Field, Table, insert_together

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
    "read_extremes",
    "read_features",
    "read_fills",
    "read_last_decisions",
    "read_orders",
    "read_plans",
    "read_positions",
    "read_run",
    "read_signals",
    "read_transfers",
    "read_unfinished_orders",
    "store_records",
    "upsert_book",
    "upsert_equity",
    "upsert_instances",
    "upsert_orders",
    "upsert_positions",
]

R = TypeVar("R", bound=Record)

_END_OF_TIME = 253_370_764_800_000
_PLAN = "plan"
# Sleeves side by side have no order of their own; within one, a trade's entry comes before its exit.
_FILL_ORDER = "order by t.time, t.instance_id, m.id, t.interval, t.trade_no, t.role, t.fill_id"


class StoredFeature(NamedTuple):
    """A configured feature's value at the candle that opened at ``open_time_ms``; None before warm-up."""

    market: str
    interval: str
    name: str
    open_time_ms: int
    value: float | None
    params: dict[str, int | float | str]


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


def _signal_row(signal: Signal) -> Signal:
    """What a strategy wants beside its target is stored with the numbers it saw, under a name no feature may have."""
    if signal.plan == NO_PLAN:
        return signal
    told: dict[str, Any] = {**signal.features, _PLAN: signal.plan.to_json()}
    return signal._replace(features=told)


def _read_signal(*, features: dict[str, Any], **values: Any) -> Signal:
    plan = features.pop(_PLAN, None)
    return Signal(**values, features=features, plan=NO_PLAN if plan is None else Plan.from_json(plan))


_signals: Table[Signal] = Table(
    "signals",
    _read_signal,
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


def _decision_row(decision: Decision) -> Any:
    return replace(decision, plan=decision.plan.to_json())  # type: ignore[arg-type]


def _read_decision(*, plan: dict[str, Any], **values: Any) -> Decision:
    return Decision(**values, plan=Plan.from_json(plan))


_decisions: Table[Decision] = Table(
    "decisions",
    _read_decision,
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
        Field("plan", "jsonb"),
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
        Field("price", "numeric"),
        Field("expires_ms", "time", "expires_time"),
    ),
    key="order_id",
    # A finished order has no rank and stays as it is; an earlier stage that is told late changes nothing.
    update="quantity = excluded.quantity, quote_amount = excluded.quote_amount, status = excluded.status,"
    " reason = excluded.reason, updated_time = excluded.updated_time"
    " where order_rank(orders.status) is not null and (order_rank(excluded.status) is null"
    " or order_rank(excluded.status) > order_rank(orders.status)"
    " or (excluded.status = 'partial' and excluded.updated_time >= orders.updated_time"
    " and excluded.quantity is distinct from orders.quantity))",
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
        Field("stop_distance", "numeric"),
        Field("target_distance", "numeric"),
        Field("trail_distance", "numeric"),
        Field("lot", "text"),
        Field("tag", "text"),
        Field("highest", "numeric"),
        Field("lowest", "numeric"),
    ),
)
_extremes: Table[LotExtremes] = Table(
    "lot_extremes",
    LotExtremes,
    (
        Field("book", "text"),
        *_SLEEVE,
        Field("trade_no", "int"),
        Field("time_ms", "time", "time"),
        Field("highest", "numeric"),
        Field("lowest", "numeric"),
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
            insert into instances
                (instance_id, name, strategy, params, profile, book, markets, intervals, live_from, exits)
            values ($1, $2, $3, $4, $5, $6, $7, $8, at_ms($9), $10)
            on conflict (instance_id) do update set
                active = true, book = excluded.book, markets = excluded.markets, intervals = excluded.intervals,
                exits = excluded.exits
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
            row.exits.model_dump(mode="json", exclude_defaults=True),
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
    return await _signals.insert(connection, map(_signal_row, signals))


async def insert_decisions(connection: Connection, decisions: Iterable[Decision]) -> int:
    """Store decisions; one decision key has one decision, the first (I6). Returns how many were new."""
    return await _decisions.insert(connection, map(_decision_row, decisions))


async def upsert_orders(connection: Connection, orders: Iterable[Order]) -> int:
    """Store orders or what became of them; a finished one stays as it is. Of repeats in one call the last counts."""
    return await _orders.insert(connection, _newest_orders(orders))


async def insert_fills(connection: Connection, fills: Iterable[Fill]) -> int:
    """Store fills, each once. Returns how many were new."""
    return await _fills.insert(connection, fills)


async def insert_transfers(connection: Connection, transfers: Iterable[Transfer]) -> int:
    """Store transfers, each once. Returns how many were new."""
    return await _transfers.insert(connection, transfers)


async def upsert_positions(connection: Connection, positions: Iterable[Position]) -> int:
    """Store how sleeves stand now; an older standing never replaces a newer one."""
    return await _positions.insert(connection, _newest_positions(positions))


async def upsert_equity(connection: Connection, marks: Iterable[EquityMark]) -> int:
    """Store equity marks; of repeats the last counts."""
    return await _equity.insert(connection, _newest_marks(marks))


async def store_records(connection: Connection, told: Iterable[Record], positions: Iterable[Position]) -> None:
    """Store what a book's execution returned and how its sleeves stand, as the functions above do, in one statement."""
    rows = list(told)

    def of(kind: type[R]) -> list[R]:
        return [row for row in rows if isinstance(row, kind)]

    await insert_together(
        connection,
        (
            (_decisions, [_decision_row(row) for row in of(Decision)]),
            (_orders, _newest_orders(of(Order))),
            (_fills, of(Fill)),
            (_transfers, of(Transfer)),
            (_extremes, of(LotExtremes)),
            (_equity, _newest_marks(of(EquityMark))),
            (_positions, _newest_positions(positions)),
        ),
    )


def _newest_orders(orders: Iterable[Order]) -> Iterable[Order]:
    return {order.order_id: order for order in orders}.values()


def _newest_positions(positions: Iterable[Position]) -> Iterable[Position]:
    return {(row.book, row.instance_id, row.market, row.interval): row for row in positions}.values()


def _newest_marks(marks: Iterable[EquityMark]) -> Iterable[EquityMark]:
    return {(mark.book, mark.market, mark.time_ms): mark for mark in marks}.values()


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


async def read_unfinished_orders(connection: Connection, book: str) -> list[Order]:
    """The book's orders without final outcome, by time, decision and leg."""
    return await _orders.select(
        connection,
        "where t.book = $1 and t.status not in ('filled', 'rejected', 'canceled')"
        " order by t.created_time, t.decision_id, t.leg, t.order_id",
        book,
    )


async def read_fills(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[Fill]:
    """The book's fills up to ``upto_ms``, by time, and within a sleeve in the order in which they happened."""
    return await _fills.select(connection, f"where t.book = $1 and t.time <= at_ms($2) {_FILL_ORDER}", book, upto_ms)


async def read_extremes(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[LotExtremes]:
    """The newest extremes, up to ``upto_ms``, of each of the book's trades."""
    return await _extremes.select(
        connection,
        "where t.book = $1 and t.time = (select max(e.time) from lot_extremes e where e.book = t.book"
        " and e.instance_id = t.instance_id and e.market_id = t.market_id and e.interval = t.interval"
        " and e.trade_no = t.trade_no and e.time <= at_ms($2))",
        book,
        upto_ms,
    )


async def read_last_decisions(
    connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME
) -> dict[SleeveKey, LastDecision]:
    """The newest decision, on candles closed up to ``upto_ms``, of each of the book's sleeves."""
    found = await _decisions.select(
        connection,
        "where t.decision_id in (select distinct on (d.instance_id, d.market_id, d.interval) d.decision_id"
        " from decisions d where d.book = $1 and d.close_time <= at_ms($2)"
        " order by d.instance_id, d.market_id, d.interval, d.open_time desc)",
        book,
        upto_ms,
    )
    return {(item.instance_id, item.market, item.interval): LastDecision.of(item) for item in found}


async def read_transfers(connection: Connection, book: str, *, upto_ms: int = _END_OF_TIME) -> list[Transfer]:
    """The book's transfers up to ``upto_ms``, by time and id."""
    return await _transfers.select(
        connection, "where t.book = $1 and t.time <= at_ms($2) order by t.time, t.transfer_id", book, upto_ms
    )


async def read_positions(connection: Connection, book: str) -> list[Position]:
    """How the book's sleeves stand, by instance, market and interval."""
    return await _positions.select(connection, "where t.book = $1 order by t.instance_id, m.id, t.interval", book)


async def read_equity(
    connection: Connection, book: str, *, after_ms: int = 0, upto_ms: int = _END_OF_TIME
) -> list[EquityMark]:
    """The book's equity marks in (``after_ms``, ``upto_ms``], by time and market."""
    return await _equity.select(
        connection,
        "where t.book = $1 and t.time > at_ms($2) and t.time <= at_ms($3) order by t.time, m.id",
        book,
        after_ms,
        upto_ms,
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


async def read_plans(
    connection: Connection, keys: Iterable[SleeveKey], upto_ms: Mapping[str, int]
) -> dict[SleeveKey, Plan]:
    """The plan of the newest signal of each of ``keys`` that closed by its market's ``upto_ms``, where there is one."""
    found = {}
    for instance_id, market, interval in keys:
        newest = await _signals.select(
            connection,
            "where t.instance_id = $1 and m.venue || ':' || m.symbol = $2 and t.interval = $3"
            " and t.close_time <= at_ms($4) order by t.open_time desc limit 1",
            instance_id,
            market,
            interval,
            upto_ms.get(market, 0),
        )
        if newest:
            found[instance_id, market, interval] = newest[0].plan
    return found


async def read_features(
    connection: Connection, *, after_ms: int = 0, upto_ms: int = _END_OF_TIME
) -> list[StoredFeature]:
    """Feature values of candles that closed in (``after_ms``, ``upto_ms``], by open, market, interval and name."""
    return await _features.select(
        connection,
        "join candles c using (market_id, interval, open_time)"
        " where c.close_time > at_ms($1) and c.close_time <= at_ms($2) order by t.open_time, m.id, t.interval, t.name",
        after_ms,
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
