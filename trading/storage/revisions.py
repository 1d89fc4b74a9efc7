"""Table candle_revisions: how a closed candle came to be another one (I2), and the one way to make it so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from trading.candles import UNIT, Candle
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection
from trading.storage.markets import market_id, market_ids

__all__ = ["Revision", "read_revisions", "revise", "revise_all"]

_BATCH = 5000
_STORED = """
select c.market_id, c.interval, ms(c.open_time) as open_ms, c.open, c.high, c.low, c.close, c.volume, c.quote_volume,
    c.trade_count, c.taker_buy_volume, c.complete, c.origin, c.revision
from unnest($1::int[], $2::text[], $3::bigint[]) as n(market_id, interval, open_ms)
join candles c on c.market_id = n.market_id and c.interval = n.interval and c.open_time = at_ms(n.open_ms)
"""


class Revision(NamedTuple):
    """One change of one candle: ``old`` and ``new`` map its columns to values; it has ``revision`` since then."""

    market: str
    interval: str
    open_time_ms: int
    revision: int
    old: dict[str, Any]
    new: dict[str, Any]
    why: str
    at_ms: int


async def revise(connection: Connection, candle: Candle, why: str) -> bool:
    """Make ``candle`` what is stored; returns whether anything changed. Call it in a transaction.

    Stored with other values, it gets the next revision and old and new are logged with ``why``. Not stored at all, it
    is stored as it is. Equal in what both tell, or telling less, nothing happens. What was derived from it is for
    ``trading.storage.rederive``.
    """
    return bool(await revise_all(connection, [candle], why))


async def revise_all(connection: Connection, candles: Iterable[Candle], why: str) -> list[Candle]:
    """``revise`` each of ``candles``, whose open times differ; returns those that changed something, as stored now."""
    rows = list(candles)
    numbers = await market_ids(connection, {candle.market for candle in rows})
    changed: list[Candle] = []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        keys = [(numbers[row.market], row.interval, row.open_time_ms) for row in batch]
        found = await connection.fetch(_STORED, *(list(column) for column in zip(*keys, strict=True)))
        stored = {(row["market_id"], row["interval"], row["open_ms"]): row for row in found}
        fresh = []
        for key, row in zip(keys, batch, strict=True):
            old = stored.get(key)
            if old is None:
                fresh.append(row)
            elif _differs(old, row):
                fresh.append(row._replace(revision=old["revision"] + 1))
        await upsert_candles(connection, fresh, why=why)
        changed += fresh
    return changed


async def read_revisions(
    connection: Connection, market: str, *, interval: str | None = None, from_ms: int = 0, to_ms: int | None = None
) -> list[Revision]:
    """Changes of candles that open in [``from_ms``, ``to_ms``), in the order in which they were made."""
    rows = await connection.fetch(
        """
        select interval, ms(open_time), revision, old, new, why, ms(at) from candle_revisions
        where market_id = $1 and ($2::text is null or interval = $2) and open_time >= at_ms($3)
            and ($4::bigint is null or open_time < at_ms($4))
        order by id
        """,
        await market_id(connection, market),
        interval,
        from_ms,
        to_ms,
    )
    return [Revision(market, *row) for row in rows]


def _differs(old: Any, new: Candle) -> bool:
    """Whether ``new`` contradicts what is stored, or tells more. What it does not tell is no difference."""
    firm = (*(units / UNIT for units in new[4:9]), new.complete, new.origin)
    if firm != tuple(old[name] for name in ("open", "high", "low", "close", "volume", "complete", "origin")):
        return True
    return any(
        value is not None and value != old[name]
        for name, value in (
            ("quote_volume", _number(new.quote_volume)),
            ("trade_count", new.trade_count),
            ("taker_buy_volume", _number(new.taker_buy_volume)),
        )
    )


def _number(units: int | None) -> float | None:
    return None if units is None else units / UNIT
