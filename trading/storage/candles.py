"""Table candles: closed candles that never change unless a repair raises their revision (I2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg

from trading.candles import UNIT, Candle
from trading.intervals import WEEK_MS, parse_interval
from trading.spans import Span
from trading.storage.database import Connection
from trading.storage.markets import market_id, market_ids

__all__ = [
    "Upserted",
    "first_open",
    "incomplete_spans",
    "last_close",
    "lent_spans",
    "lock_markets",
    "read_candles",
    "read_closed",
    "span_sql",
    "units_of",
    "upsert_candles",
]

_BATCH = 5000
_PRODUCT_MAY_MISS = 2**25 * UNIT
_COLUMNS = """market_id, interval, open_time, close_time, open, high, low, close, volume, quote_volume, trade_count,
    taker_buy_volume, source, revision, complete, origin"""
_ROWS = """unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::float8[], $6::float8[], $7::float8[],
    $8::float8[], $9::float8[], $10::float8[], $11::bigint[], $12::float8[], $13::text[], $14::int[], $15::boolean[],
    $16::text[])
    as n(market_id, interval, open_ms, close_ms, open, high, low, close, volume, quote_volume, trade_count,
         taker_buy_volume, source, revision, complete, origin)"""
_INSERT = f"""
insert into candles ({_COLUMNS})
select market_id, interval, at_ms(open_ms), at_ms(close_ms), open, high, low, close, volume, quote_volume, trade_count,
    taker_buy_volume, source, revision, complete, origin
from {_ROWS}
on conflict do nothing
"""  # noqa: S608 - constants of this module
# What one source does not tell (null) is no difference.
_DIFFERENT = f"""
select c.market_id, c.interval, ms(c.open_time) as open_ms, c.revision as old_revision, n.revision as new_revision,
    jsonb_build_object('open', c.open, 'high', c.high, 'low', c.low, 'close', c.close, 'volume', c.volume,
        'quote_volume', c.quote_volume, 'trade_count', c.trade_count, 'taker_buy_volume', c.taker_buy_volume,
        'complete', c.complete, 'source', c.source, 'revision', c.revision, 'origin', c.origin) as old,
    jsonb_build_object('open', n.open, 'high', n.high, 'low', n.low, 'close', n.close, 'volume', n.volume,
        'quote_volume', n.quote_volume, 'trade_count', n.trade_count, 'taker_buy_volume', n.taker_buy_volume,
        'complete', n.complete, 'source', n.source, 'revision', n.revision, 'origin', n.origin) as new
from {_ROWS}
join candles c on c.market_id = n.market_id and c.interval = n.interval and c.open_time = at_ms(n.open_ms)
where n.revision > c.revision or n.revision = c.revision and (
    (n.open, n.high, n.low, n.close, n.volume, n.complete, at_ms(n.close_ms))
        is distinct from (c.open, c.high, c.low, c.close, c.volume, c.complete, c.close_time)
    or n.quote_volume <> c.quote_volume or n.trade_count <> c.trade_count or n.taker_buy_volume <> c.taker_buy_volume)
order by c.market_id, c.interval, c.open_time
"""  # noqa: S608
_REPAIR = f"""
update candles c set
    close_time = at_ms(n.close_ms), open = n.open, high = n.high, low = n.low, close = n.close, volume = n.volume,
    quote_volume = n.quote_volume, trade_count = n.trade_count, taker_buy_volume = n.taker_buy_volume,
    source = n.source, revision = n.revision, complete = n.complete, origin = n.origin, recorded_at = clock_timestamp()
from {_ROWS}
where c.market_id = n.market_id and c.interval = n.interval and c.open_time = at_ms(n.open_ms)
    and n.revision > c.revision
"""  # noqa: S608
# Rows of compressed chunks cannot be locked one by one, so whoever changes candles of a market locks the market.
_LOCK = "select pg_advisory_xact_lock($1, m) from (select distinct unnest($2::int[]) as m order by m) o"
_LOCKED = 0x6D63  # "mc" in ASCII: no other lock of two numbers may begin with it.
_REFUSED = """
insert into data_quality (market_id, interval, kind, reason, from_time, to_time, detail, resolved, resolution)
select n.market_id, n.interval, 'anomaly', 'revised', at_ms(n.from_ms), at_ms(n.to_ms), n.detail, true, 'old'
from unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::jsonb[])
    as n(market_id, interval, from_ms, to_ms, detail)
where not exists (
    select from data_quality q
    where q.market_id = n.market_id and q.kind = 'anomaly' and q.reason = 'revised' and q.interval = n.interval
        and q.from_time = at_ms(n.from_ms) and q.detail = n.detail)
"""
_REPAIRED = """
insert into candle_revisions (market_id, interval, open_time, revision, old, new, why)
select n.market_id, n.interval, at_ms(n.open_ms), n.revision, n.old, n.new, $7
from unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::jsonb[], $6::jsonb[])
    as n(market_id, interval, open_ms, revision, old, new)
on conflict do nothing
"""
_READ = """
select ms(open_time), ms(close_time), open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume,
    source, revision, complete, origin
from candles where market_id = $1 and interval = $2
"""


class Upserted(NamedTuple):
    """How many candles were new, how many repaired an older revision, how many contradicted what is stored and lost."""

    inserted: int
    repaired: int
    refused: int


async def upsert_candles(connection: Connection, candles: Iterable[Candle], *, why: str = "repair") -> Upserted:
    """Store ``candles``; repeats change nothing. Call it in a transaction.

    A candle that is stored with other values stays as it is, and the contradiction goes to ``data_quality`` as an
    anomaly ``revised``, unless the new one has a higher revision: then old and new values go to ``candle_revisions``
    with ``why``. A lower revision than the stored one is an old repeat and is passed over.
    """
    rows = list(candles)
    numbers = await market_ids(connection, {candle.market for candle in rows})
    total = Upserted(0, 0, 0)
    for start in range(0, len(rows), _BATCH):
        for batch in _layers(rows[start : start + _BATCH]):
            done = await _upsert_batch(connection, batch, numbers, why)
            total = Upserted(*(a + b for a, b in zip(total, done, strict=True)))
    return total


async def read_candles(
    connection: Connection,
    market: str,
    interval: str,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    limit: int | None = None,
    newest: bool = False,
    source: str | None = None,
) -> list[Candle]:
    """Candles that open in [``from_ms``, ``to_ms``), ascending; beyond ``limit`` the oldest, or the ``newest``.

    With ``source`` only those that came from there.
    """
    query, arguments = [_READ], [await market_id(connection, market), interval]
    for bound, comparison in ((from_ms, ">="), (to_ms, "<")):
        if bound is not None:
            arguments.append(bound)
            query.append(f" and open_time {comparison} at_ms(${len(arguments)})")
    if source is not None:
        arguments.append(source)
        query.append(f" and source = ${len(arguments)}")
    query.append(f" order by open_time {'desc' if newest else 'asc'}")
    if limit is not None:
        arguments.append(limit)
        query.append(f" limit ${len(arguments)}")
    rows = await connection.fetch("".join(query), *arguments)
    if newest:
        rows.reverse()
    return [_candle(market, interval, row) for row in rows]


async def read_closed(connection: Connection, market: str, interval: str, from_ms: int, to_ms: int) -> list[Candle]:
    """Candles that close in (``from_ms``, ``to_ms``], ascending."""
    rows = await connection.fetch(
        _READ + " and open_time >= at_ms($3) and open_time < at_ms($5) and close_time > at_ms($4)"
        " and close_time <= at_ms($5) order by open_time",
        await market_id(connection, market),
        interval,
        # The key is the open time: a bound on it keeps the search short.
        from_ms - parse_interval(interval).typical_ms,
        from_ms,
        to_ms,
    )
    return [_candle(market, interval, row) for row in rows]


async def first_open(connection: Connection, market: str, interval: str = "1m") -> int | None:
    """Open time of the oldest candle."""
    found: int | None = await connection.fetchval(
        "select ms(min(open_time)) from candles where market_id = $1 and interval = $2",
        await market_id(connection, market),
        interval,
    )
    return found


async def incomplete_spans(connection: Connection, market: str) -> list[tuple[int, int]]:
    """[open, close) of the derived candles that were told before one of their minutes was known, oldest first."""
    rows = await connection.fetch(
        "select ms(open_time), ms(close_time) from candles where market_id = $1 and interval <> '1m' and not complete"
        " order by open_time, close_time",
        await market_id(connection, market),
    )
    return [(row[0], row[1]) for row in rows]


async def last_close(connection: Connection, market: str, interval: str = "1m") -> int | None:
    """Close time of the newest candle."""
    found: int | None = await connection.fetchval(
        "select ms(close_time) from candles where market_id = $1 and interval = $2 order by open_time desc limit 1",
        await market_id(connection, market),
        interval,
    )
    return found


async def lent_spans(connection: Connection, market: str, from_ms: int, limit: int) -> list[Span]:
    """[from, to) of the newest ``limit`` minutes that open at or after ``from_ms`` and that another market lent."""
    rows = await connection.fetch(
        "select ms(open_time), ms(close_time) from candles where market_id = $1 and interval = '1m'"
        " and open_time >= at_ms($2) and origin is not null order by open_time desc limit $3",
        await market_id(connection, market),
        from_ms,
        limit,
    )
    spans: list[Span] = []
    for row in reversed(rows):
        spans = (
            [*spans[:-1], (spans[-1][0], row[1])] if spans and spans[-1][1] == row[0] else [*spans, (row[0], row[1])]
        )
    return spans


def _layers(rows: Sequence[Candle]) -> list[list[Candle]]:
    """Parts of ``rows`` that hold each candle once, in order: one statement cannot meet the same key twice."""
    layers: list[list[Candle]] = [[]]
    seen: dict[tuple[str, str, int], int] = {}
    for row in rows:
        level = seen.get(row[:3], 0)
        seen[row[:3]] = level + 1
        if level == len(layers):
            layers.append([])
        layers[level].append(row)
    return layers if rows else []


async def _upsert_batch(connection: Connection, rows: list[Candle], numbers: dict[str, int], why: str) -> Upserted:
    columns = _columns(rows, numbers)
    status = await connection.execute(_INSERT, *columns)
    inserted = int(status.rsplit(" ", 1)[1])
    if inserted == len(rows):
        return Upserted(inserted, 0, 0)
    await lock_markets(connection, numbers.values())
    different = await connection.fetch(_DIFFERENT, *columns)
    if not different:
        return Upserted(inserted, 0, 0)
    repaired = [row for row in different if row["new_revision"] > row["old_revision"]]
    refused = [row for row in different if row["new_revision"] == row["old_revision"]]
    if repaired:
        await _repair(connection, rows, {tuple(row)[:3] for row in repaired}, numbers)
        names = ("market_id", "interval", "open_ms", "new_revision", "old", "new")
        await connection.execute(_REPAIRED, *([row[name] for row in repaired] for name in names), why)
    if refused:
        closes = {(numbers[row.market], row.interval, row.open_time_ms): row.close_time_ms for row in rows}
        await connection.execute(
            _REFUSED,
            *([row[name] for row in refused] for name in ("market_id", "interval", "open_ms")),
            [closes[row["market_id"], row["interval"], row["open_ms"]] for row in refused],
            [{"old": row["old"], "new": row["new"]} for row in refused],
        )
    return Upserted(inserted, len(repaired), len(refused))


async def _repair(
    connection: Connection, rows: list[Candle], keys: set[tuple[Any, ...]], numbers: dict[str, int]
) -> None:
    """Overwrite what is stored under ``keys``, a week of one series at a time."""
    windows: dict[tuple[str, str, int], list[Candle]] = {}
    for row in rows:
        if (numbers[row.market], row.interval, row.open_time_ms) in keys:
            windows.setdefault((row.market, row.interval, row.open_time_ms // WEEK_MS), []).append(row)
    for (market, interval, _), batch in windows.items():
        times = [row.open_time_ms for row in batch]
        within = span_sql("c", numbers[market], interval, min(times), max(times))
        await connection.execute(f"{_REPAIR} and {within}", *_columns(batch, numbers))


async def lock_markets(connection: Connection, numbers: Iterable[int]) -> None:
    """Keep others from changing stored candles of these markets until the transaction ends; new ones may come."""
    await connection.execute(_LOCK, _LOCKED, list(numbers))


def span_sql(alias: str, number: int, interval: str, first_ms: int, last_ms: int) -> str:
    """The condition that names a stretch of one series in constants.

    A statement that changes rows of compressed chunks unpacks all that its constants do not rule out; a join rules out
    nothing.
    """
    name = interval.replace("'", "''")
    return (
        f"{alias}.market_id = {number:d} and {alias}.interval = '{name}'"
        f" and {alias}.open_time >= at_ms({first_ms:d}) and {alias}.open_time <= at_ms({last_ms:d})"
    )


def _columns(rows: list[Candle], numbers: dict[str, int]) -> list[Sequence[Any]]:
    (
        market, interval, open_ms, close_ms, first, high, low, last, volume,
        quote_volume, trade_count, taker_buy_volume, source, revision, complete, _, origin,
    ) = zip(*rows, strict=True)  # fmt: skip
    return [
        [numbers[key] for key in market],
        interval,
        open_ms,
        close_ms,
        *([units / UNIT for units in column] for column in (first, high, low, last, volume)),
        [None if units is None else units / UNIT for units in quote_volume],
        trade_count,
        [None if units is None else units / UNIT for units in taker_buy_volume],
        source,
        revision,
        complete,
        origin,
    ]


def units_of(value: float) -> int:
    """The integer at 10**-8 whose float is ``value``: exact below 2**26, where no two of them share a float.

    From 2**25 on the product alone can miss by one.
    """
    units = round(value * UNIT)
    if units >= _PRODUCT_MAY_MISS and units / UNIT != value:
        return next((near for near in (units - 1, units + 1) if near / UNIT == value), units)
    return units


def _candle(market: str, interval: str, row: asyncpg.Record) -> Candle:
    (
        open_ms, close_ms, first, high, low, last, volume, quote_volume, trade_count, taker_buy_volume,
        source, revision, complete, origin,
    ) = row  # fmt: skip
    return Candle(
        market,
        interval,
        open_ms,
        close_ms,
        units_of(first),
        units_of(high),
        units_of(low),
        units_of(last),
        units_of(volume),
        None if quote_volume is None else units_of(quote_volume),
        trade_count,
        None if taker_buy_volume is None else units_of(taker_buy_volume),
        source,
        revision,
        complete,
        origin=origin,
    )
