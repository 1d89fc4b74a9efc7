"""Stored candles as columns of floats, for comparisons that run over years: to the bit what the database holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers
from trading.candles import UNIT, Candle
from trading.intervals import parse_interval
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["StoredColumns", "floats_of", "missing_spans", "read_columns"]

_ROWS = 100_000
_NAMES = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count", "taker_buy_volume")


class StoredColumns(NamedTuple):
    """``columns`` hold float64, NaN where a candle does not tell; ``complete`` and ``native`` say what kind each is."""

    columns: CandleColumns
    complete: NDArray[np.bool_]
    native: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_]) -> StoredColumns:
        """The marked ones."""
        c = self.columns
        kept = [c.open_time_ms[which], *(getattr(c, name)[which] for name in _NAMES)]
        return StoredColumns(CandleColumns(c.market, c.interval, *kept), self.complete[which], self.native[which])


async def read_columns(connection: Connection, market: str, interval: str, from_ms: int, to_ms: int) -> StoredColumns:
    """The candles of ``interval`` that open in [``from_ms``, ``to_ms``)."""
    number = await market_id(connection, market)
    parts: list[list[NDArray[Any]]] = []
    after = from_ms - 1
    while True:
        rows = await connection.fetch(
            f"""
            select (date_part('epoch', open_time) * 1000)::bigint, {", ".join(_NAMES)}, complete, source = 'native'
            from candles where market_id = $1 and interval = $2 and open_time > at_ms($3) and open_time < at_ms($4)
            order by open_time limit {_ROWS}
            """,  # noqa: S608 - constants of this module
            number,
            interval,
            after,
            to_ms,
        )
        if rows:
            after = rows[-1][0]
            parts.append([np.array(column) for column in zip(*rows, strict=True)])
        if len(rows) < _ROWS:
            break
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.array([])] * 11
    floats: list[Any] = [np.asarray(column, np.float64) for column in joined[1:9]]
    columns = CandleColumns(market, parse_interval(interval), joined[0].astype(np.int64), *floats)
    return StoredColumns(columns, joined[9].astype(np.bool_), joined[10].astype(np.bool_))


def floats_of(market: str, interval: str, candles: Sequence[Candle]) -> StoredColumns:
    """``candles`` as ``read_columns`` would give them once they are stored."""
    times = np.array([candle.open_time_ms for candle in candles], np.int64)
    floats: list[Any] = []
    for name in _NAMES:
        scale = 1 if name == "trade_count" else UNIT
        values = [getattr(candle, name) for candle in candles]
        floats.append(np.array([np.nan if value is None else value / scale for value in values], np.float64))
    columns = CandleColumns(market, parse_interval(interval), times, *floats)
    complete = np.array([candle.complete for candle in candles], np.bool_)
    return StoredColumns(columns, complete, np.zeros(len(candles), np.bool_))


async def missing_spans(
    connection: Connection, market: str, from_ms: int, to_ms: int, reason: str = "missing"
) -> Integers:
    """Disjoint, ascending rows [from, to) of the minutes in holes in force of that ``reason``."""
    rows = await connection.fetch(
        """
        select ms(lower(r)), ms(upper(r)) from (
            select unnest(range_agg(tstzrange(from_time, to_time))) as r from data_quality
            where market_id = $1 and kind = 'hole' and not resolved and from_time < at_ms($3) and to_time > at_ms($2)
        ) u order by 1
        """,
        await market_id(connection, market),
        from_ms,
        to_ms,
    )
    return np.array([tuple(row) for row in rows], np.int64).reshape(-1, 2)
