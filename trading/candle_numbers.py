"""The numbers of candle files as exact integers: from texts one by one, and from Arrow columns at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import Integers
from trading.candles import to_units
from trading.errors import BadInput

__all__ = ["INT64_MAX", "PLAIN_INTEGERS", "integers_of", "rounded_of", "units_of_text"]

PLAIN_INTEGERS = frozenset({"open_time", "close_time", "count"})
INT64_MAX = 2**63 - 1
_LONGEST_TEXT = 64


def units_of_text(text: str, name: str) -> int:
    """The integer at 10**-8 of column ``name``; a volume with more than eight places is rounded, a price refused."""
    if len(text) > _LONGEST_TEXT:
        raise BadInput(f"{name} {text[:20]!r}… is not a number.", field=name, value=text[:20])
    try:
        return to_units(text, name)
    except BadInput:
        if not name.endswith("volume"):
            raise
        try:
            return round(Decimal(text).scaleb(8))
        except (ArithmeticError, ValueError) as error:
            raise BadInput(f"{name} {text!r} is not a number.", field=name, value=text) from error


def integers_of(column: Any, name: str) -> Integers:
    """One Arrow column as int64; ValueError or ArrowInvalid if a value is null, not finite, finer, or does not fit."""
    import pyarrow as pa

    if column.null_count:
        raise ValueError(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.int64() if name in PLAIN_INTEGERS else pa.decimal128(38, 8))
    array = _whole(column)
    if pa.types.is_decimal(array.type):
        words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]
        low: Integers = words[:, 0].copy()
        if not bool(np.all(words[:, 1] == low >> 63)):
            raise OverflowError(name)
        return low
    values = array.to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        return _from_floats(values, name)
    whole: Integers = values.astype(np.int64)
    if name in PLAIN_INTEGERS:
        return whole
    if len(whole) and int(np.abs(whole).max()) > INT64_MAX // 10**8:
        raise OverflowError(name)
    return whole * np.int64(10**8)


def rounded_of(column: Any, name: str) -> Integers:
    """As ``integers_of``, of volumes as texts that have more than eight places."""
    import pyarrow as pa
    from pyarrow import compute

    # Twenty places are more than a venue gives, and leave room for a volume of 10**17.
    exact = column.cast(pa.decimal128(38, 20))
    return integers_of(compute.round(exact, 8, round_mode="half_to_even").cast(pa.decimal128(38, 8)), name)


def _whole(column: Any) -> Any:
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        return column
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _from_floats(values: NDArray[np.float64], name: str) -> Integers:
    """Parquet often has float prices: the nearest unit is meant, which is exact below 9e7."""
    scaled = np.rint(values if name in PLAIN_INTEGERS else values * 1e8)
    if not bool(np.all(np.isfinite(scaled))) or (len(scaled) and float(np.abs(scaled).max()) >= INT64_MAX):
        raise ValueError(name)
    return scaled.astype(np.int64)
