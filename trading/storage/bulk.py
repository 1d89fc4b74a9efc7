"""Candles by the hundred thousand: one binary COPY and one statement for each batch of columns.

For files and downloads. ``candles.upsert_candles`` serves the few that arrive one by one.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers
from trading.candles import UNIT
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.revisions import revise_all

__all__ = ["Compared", "Difference", "Stored", "compare_columns", "floats_of", "store_columns"]

_SHOWN = 5
# Above this an integer has no float of its own, and dividing the nearest one would round twice.
_EXACT_FLOAT = 2**53
_POSTGRES_EPOCH_MS = 946_684_800_000
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"
_PRICES = ("open", "high", "low", "close", "volume")
_EXTRAS = ("quote_volume", "trade_count", "taker_buy_volume")
_TABLE = """
create temporary table if not exists incoming (
    open_time timestamptz, close_time timestamptz, open float8, high float8, low float8, close float8, volume float8,
    quote_volume float8, trade_count bigint, taker_buy_volume float8
) on commit delete rows
"""
_INSERT = """
insert into candles (market_id, interval, open_time, close_time, open, high, low, close, volume, quote_volume,
    trade_count, taker_buy_volume, source)
select $1, $2, open_time, close_time, open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume, $3
from incoming
"""
# What one source does not tell (null) is no difference.
_DIFFERENT = """
select ms(c.open_time) as open_ms, c.revision, count(*) over () as total,
    array[c.open, c.high, c.low, c.close, c.volume] as old, array[n.open, n.high, n.low, n.close, n.volume] as new
from incoming n join candles c on c.market_id = $1 and c.interval = $2 and c.open_time = n.open_time
where (n.open, n.high, n.low, n.close, n.volume) is distinct from (c.open, c.high, c.low, c.close, c.volume)
    or n.quote_volume <> c.quote_volume or n.trade_count <> c.trade_count or n.taker_buy_volume <> c.taker_buy_volume
order by c.open_time
"""


class Difference(NamedTuple):
    """A stored candle and another one of the same time: open, high, low, close and volume of each."""

    open_time_ms: int
    stored: tuple[float, ...]
    given: tuple[float, ...]


class Stored(NamedTuple):
    """What became of a batch. ``different`` were stored with other values; ``replaced`` says how many of them gave way.

    ``fresh`` means that nothing had been stored between the first and the last of them.
    """

    inserted: int
    unchanged: int
    different: int
    replaced: int
    examples: tuple[Difference, ...]
    fresh: bool


class Compared(NamedTuple):
    """How many candles of a batch are stored with the same values, with others, or not at all."""

    same: int
    different: int
    absent: int
    examples: tuple[Difference, ...]


async def compare_columns(connection: Connection, columns: CandleColumns) -> Compared:
    """Compare ``columns`` with what is stored, changing nothing."""
    async with connection.transaction():
        number = await market_id(connection, columns.market)
        await _bring(connection, columns)
        rows = await connection.fetch(f"{_DIFFERENT} limit {_SHOWN}", number, columns.interval.name)
        stored = await connection.fetchval(
            "select count(*) from incoming n join candles c on c.market_id = $1 and c.interval = $2"
            " and c.open_time = n.open_time",
            number,
            columns.interval.name,
        )
    different = int(rows[0]["total"]) if rows else 0
    return Compared(stored - different, different, len(columns) - stored, _examples(rows))


async def store_columns(
    connection: Connection, columns: CandleColumns, source: str, *, replace: bool = False, why: str = "import"
) -> Stored:
    """Store ``columns``, ascending and of unique times; repeats change nothing.

    A candle that is stored with other values stays as it is and is counted; with ``replace`` it gives way to the new
    one as in a repair: with a higher revision, old and new values logged with ``why``.
    """
    # The table of incoming rows lives until the end of a transaction.
    async with connection.transaction():
        return await _store(connection, columns, source, why if replace else None)


async def _store(connection: Connection, columns: CandleColumns, source: str, replaced_why: str | None) -> Stored:
    number = await market_id(connection, columns.market)
    interval = columns.interval.name
    await _bring(connection, columns)
    fresh = not await connection.fetchval(
        "select exists (select from candles where market_id = $1 and interval = $2"
        " and open_time between at_ms($3) and at_ms($4))",
        number,
        interval,
        columns.start_ms,
        int(columns.open_time_ms[-1]),
    )
    inserted = await _insert(connection, number, interval, source, fresh=fresh)
    if inserted == len(columns):
        return Stored(inserted, 0, 0, 0, (), fresh)
    query = f"{_DIFFERENT} limit {_SHOWN}" if replaced_why is None else _DIFFERENT
    rows = await connection.fetch(query, number, interval)
    different = int(rows[0]["total"]) if rows else 0
    examples = _examples(rows)
    if replaced_why is not None and rows:
        times = np.array([row["open_ms"] for row in rows], np.int64)
        changed = columns.at(np.isin(columns.open_time_ms, times)).candles(source)
        await revise_all(connection, changed, replaced_why)
    unchanged = len(columns) - inserted - different
    return Stored(inserted, unchanged, different, 0 if replaced_why is None else different, examples, fresh)


def floats_of(units: Integers) -> NDArray[np.float64]:
    """The floats of integers at 10**-8, as ``n / UNIT`` gives them one by one."""
    values = units / UNIT
    large = np.abs(units) > _EXACT_FLOAT
    if large.any():
        values[large] = [number / UNIT for number in units[large].tolist()]
    return values


async def _insert(connection: Connection, number: int, interval: str, source: str, *, fresh: bool) -> int:
    """Without the search for conflicts where there can be none, which is a third faster; with it if we were wrong."""
    if fresh:
        try:
            async with connection.transaction():
                return _count(await connection.execute(_INSERT, number, interval, source))
        except asyncpg.UniqueViolationError:
            pass  # Another session stored some of them just now.
    return _count(await connection.execute(f"{_INSERT} on conflict do nothing", number, interval, source))


async def _bring(connection: Connection, columns: CandleColumns) -> None:
    """Put ``columns`` into the table of incoming rows, alone."""
    await connection.execute(_TABLE)
    await connection.execute("truncate incoming")
    await connection.copy_to_table(
        "incoming", source=io.BytesIO(_copy_bytes(columns)), columns=_names(columns), format="binary"
    )


def _examples(rows: list[asyncpg.Record]) -> tuple[Difference, ...]:
    return tuple(Difference(row["open_ms"], tuple(row["old"]), tuple(row["new"])) for row in rows[:_SHOWN])


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[1])


def _names(columns: CandleColumns) -> list[str]:
    return ["open_time", "close_time", *_PRICES, *(name for name in _EXTRAS if getattr(columns, name) is not None)]


def _copy_bytes(columns: CandleColumns) -> bytes:
    """Postgres's binary COPY format: each row is its number of fields, and each field its length and its bytes."""
    fields: list[tuple[str, str, NDArray[Any]]] = [
        ("open_time", ">i8", (columns.open_time_ms - _POSTGRES_EPOCH_MS) * 1000),
        ("close_time", ">i8", (columns.close_time_ms - _POSTGRES_EPOCH_MS) * 1000),
    ]
    for name in _names(columns)[2:]:
        array: Integers = getattr(columns, name)
        fields.append((name, ">i8", array) if name == "trade_count" else (name, ">f8", floats_of(array)))
    layout = [("fields", ">i2")]
    for name, kind, _ in fields:
        layout += [(f"{name} length", ">i4"), (name, kind)]
    rows = np.empty(len(columns), np.dtype(layout))
    rows["fields"] = len(fields)
    for name, _, values in fields:
        rows[f"{name} length"] = 8
        rows[name] = values
    return _HEAD + rows.tobytes() + _TAIL
