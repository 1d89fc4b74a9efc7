"""Stored candles as a series: one binary COPY, read into arrays, because a row each would take seconds a year."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import Integers
from trading.candle_series import CandleSeries, Column, Same
from trading.candles import UNIT, Source
from trading.storage.candles import units_of
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["read_series"]

_POSTGRES_EPOCH_MS = 946_684_800_000
# Before and after the rows of a binary COPY: signature, flags and the length of an extension; then an end mark.
_HEAD_BYTES, _TAIL_BYTES = 19, 2
# From here on a product with 10**8 may be rounded by one unit.
_PRODUCT_MAY_MISS = 2**25
# What is larger has no integer of 64 bits at 10**-8.
_LARGEST = 9e10
_SOURCES = tuple(Source)
# Every field has a fixed width: NaN and -1 stand for what a candle does not tell.
_FIELDS = (
    ("open_time", "open_time", ">i8"),
    ("close_time", "close_time", ">i8"),
    *((name, name, ">f8") for name in ("open", "high", "low", "close", "volume")),
    ("quote_volume", "coalesce(quote_volume, 'NaN')", ">f8"),
    ("trade_count", "coalesce(trade_count, -1)", ">i8"),
    ("taker_buy_volume", "coalesce(taker_buy_volume, 'NaN')", ">f8"),
    ("source", f"array_position(array{[item.value for item in _SOURCES]}, source)", ">i4"),
    ("revision", "revision", ">i4"),
    ("complete", "complete", "?"),
    ("lent", "origin is not null", "?"),
)
_ROW = np.dtype(
    [("fields", ">i2"), *(part for name, _, kind in _FIELDS for part in ((f"{name} bytes", ">i4"), (name, kind)))]
)


async def read_series(
    connection: Connection, market: str, interval: str, *, from_ms: int | None = None, to_ms: int | None = None
) -> CandleSeries:
    """Candles that open in [``from_ms``, ``to_ms``), ascending; the same as ``candles.read_candles`` gives."""
    where, arguments = ["market_id = $1 and interval = $2"], [await market_id(connection, market), interval]
    for bound, comparison in ((from_ms, ">="), (to_ms, "<")):
        if bound is not None:
            arguments.append(bound)
            where.append(f"open_time {comparison} at_ms(${len(arguments)})")
    condition = " and ".join(where)
    told = bytearray()

    async def take(part: bytes) -> None:
        told.extend(part)

    await connection.copy_from_query(
        f"select {', '.join(text for _, text, _ in _FIELDS)} from candles where {condition} order by open_time",  # noqa: S608
        *arguments,
        output=take,
        format="binary",
    )
    count = (len(told) - _HEAD_BYTES - _TAIL_BYTES) // _ROW.itemsize
    rows = np.frombuffer(told, _ROW, count, _HEAD_BYTES)
    origin: Column = Same(None)
    if rows["lent"].any():
        lent = await connection.fetch(
            f"select open_time, origin from candles where {condition} and origin is not null",  # noqa: S608 - as above
            *arguments,
        )
        lenders = {round(time.timestamp() * 1000): name for time, name in lent}
        origin = [lenders.get(time_ms) for time_ms in _ms(rows["open_time"]).tolist()]
    numbers = [_ms(rows["open_time"]), _ms(rows["close_time"])]
    numbers += [_units(rows[name]) for name in ("open", "high", "low", "close", "volume")]
    return CandleSeries(
        market,
        interval,
        [np.ascontiguousarray(values, np.int64) for values in numbers],
        [
            _told(rows["quote_volume"], np.isnan(rows["quote_volume"]), scaled=True),
            _told(rows["trade_count"], rows["trade_count"] < 0, scaled=False),
            _told(rows["taker_buy_volume"], np.isnan(rows["taker_buy_volume"]), scaled=True),
            _shared([_SOURCES[number - 1].value for number in rows["source"].tolist()], rows["source"]),
            _shared(rows["revision"].astype(np.int64), rows["revision"]),
            _shared(rows["complete"].tolist(), rows["complete"]),
            Same(0),
            origin,
        ],
    )


def _ms(times: NDArray[Any]) -> Integers:
    """Unix ms of Postgres's microseconds since 2000."""
    found: Integers = times.astype(np.int64) // 1000 + _POSTGRES_EPOCH_MS
    return found


def _told(values: NDArray[Any], unknown: NDArray[np.bool_], *, scaled: bool) -> Column:
    """An optional column: its numbers, at 10**-8 where they are ``scaled``, and None where they are ``unknown``."""
    if unknown.all():
        return Same(None)
    if not unknown.any() and values.max() < _LARGEST:
        return _units(values) if scaled else values.astype(np.int64)
    return [
        None if no else units_of(value) if scaled else value
        for value, no in zip(values.tolist(), unknown.tolist(), strict=True)
    ]


def _units(values: NDArray[Any]) -> Integers:
    """What ``units_of`` makes of each."""
    floats = values.astype(np.float64)
    units = np.rint(floats * UNIT).astype(np.int64)
    for place in np.flatnonzero(floats >= _PRODUCT_MAY_MISS).tolist():
        units[place] = units_of(float(floats[place]))
    return units


def _shared(values: list[Any] | Integers, of: NDArray[Any]) -> Column:
    """One value where all are alike."""
    if not len(of) or (of == of[0]).all():
        return Same(values[0] if isinstance(values, list) else int(values[0])) if len(of) else Same(None)
    return values
