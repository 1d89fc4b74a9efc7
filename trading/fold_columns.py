"""Folds columns of candles at once with numpy: the batch path of sweeps and of checks.

Bit for bit the candles of ``trading.fold``, a hundred times as fast, with which it shares the interval anchor alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers
from trading.errors import BadInput
from trading.intervals import DAY_MS, Interval, parse_interval

__all__ = ["fold_columns", "open_times", "touched"]

# Sums of int64 wrap around silently: what comes near is refused.
_LARGEST_SUM = 9.0e18


def fold_columns(
    candles: CandleColumns, interval: str, *, start_ms: int | None = None, end_ms: int | None = None
) -> CandleColumns:
    """The candles of ``interval`` that began and closed within the history, from ``candles`` of any narrower interval.

    The history runs from ``start_ms`` to ``end_ms``, by default from the first to the last of ``candles``; what is not
    there between them is absent. An interval without a candle has none. A sum of a column that only some files have is
    left out (None) where it would pass 9·10¹⁰, the most that int64 holds at 10⁻⁸. Raises BadInput when candles do not
    nest in ``interval``, or the volume passes that bound.
    """
    width = parse_interval(interval)
    times = candles.open_time_ms
    if not len(candles):
        return _columns(candles, width, times, slice(0, 0), times)
    buckets = open_times(times, width)
    last = candles.interval.close_of(int(times[-1])) - 1
    if candles.interval.typical_ms > width.typical_ms or not _nests(candles, width, buckets):
        raise BadInput(
            f"{candles.interval} candles do not nest in {width}.",
            field="interval",
            value=interval,
            fix="Fold shorter candles, such as 1m.",
        )
    begins = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1))
    opens = buckets[begins]
    first_ms = int(times[0]) if start_ms is None else start_ms
    last_ms = last + 1 if end_ms is None else end_ms
    whole = (opens >= first_ms) & (_closes(opens, width) <= last_ms)
    kept = np.flatnonzero(whole)
    part = slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(0, 0)
    return _columns(candles, width, begins, part, opens)


def open_times(times: Integers, interval: Interval) -> Integers:
    """Open time of the ``interval`` candle that holds each of ``times``, unix ms."""
    if interval.width_ms is None:
        return times.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    return (times - interval.offset_ms) // interval.width_ms * interval.width_ms + interval.offset_ms


def touched(columns: CandleColumns, spans: Integers) -> NDArray[np.bool_]:
    """Whether each candle overlaps one of ``spans``, disjoint ascending rows of [from, to)."""
    if not len(spans):
        return np.zeros(len(columns), np.bool_)
    nearest = np.searchsorted(spans[:, 1], columns.open_time_ms, side="right")
    starts = np.append(spans[:, 0], np.iinfo(np.int64).max)
    return starts[nearest] < _closes(columns.open_time_ms, columns.interval)


def _closes(opens: Integers, interval: Interval) -> Integers:
    if interval.width_ms is not None:
        return opens + interval.width_ms
    return open_times(opens + 31 * DAY_MS, interval)


def _nests(candles: CandleColumns, width: Interval, buckets: Integers) -> bool:
    ends = _closes(candles.open_time_ms, candles.interval) - 1
    return bool(np.array_equal(open_times(ends, width), buckets))


def _columns(candles: CandleColumns, width: Interval, begins: Integers, part: slice, opens: Integers) -> CandleColumns:
    empty = not len(opens[part])

    def fold(values: Integers, reduce: np.ufunc) -> Integers:
        return values[:0] if empty else reduce.reduceat(values, begins)[part]

    def total(values: Integers | None, name: str) -> Integers | None:
        if values is None or empty:
            return values if values is None else values[:0]
        if float(np.add.reduceat(values.astype(np.float64), begins).max()) < _LARGEST_SUM:
            return fold(values, np.add)
        if name == "volume":
            raise BadInput(f"The {width} volume of {candles.market} passes 9e10.", field="volume", value=width.name)
        return None

    ends = np.append(begins[1:], len(candles)) - 1
    volume = total(candles.volume, "volume")
    assert volume is not None  # noqa: S101 - only what is optional may be None
    return CandleColumns(
        candles.market,
        width,
        opens[part],
        candles.open[begins][part] if not empty else candles.open[:0],
        fold(candles.high, np.maximum),
        fold(candles.low, np.minimum),
        candles.close[ends][part] if not empty else candles.close[:0],
        volume,
        total(candles.quote_volume, "quote_volume"),
        total(candles.trade_count, "trade_count"),
        total(candles.taker_buy_volume, "taker_buy_volume"),
        total(candles.taker_buy_quote_volume, "taker_buy_quote_volume"),
    )
