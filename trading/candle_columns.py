"""Candles of one market and interval as columns of exact integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trading.candles import Candle, Source
from trading.errors import BadInput
from trading.intervals import CANONICAL, Interval, parse_interval

__all__ = ["CandleColumns", "Integers", "columns_from", "columns_of"]

Integers = NDArray[np.int64]
_Part: TypeAlias = "slice | NDArray[np.bool_]"


@dataclass(frozen=True, slots=True)
class CandleColumns:
    """Candles of one market and interval as arrays of one length, ascending by open time.

    ``open_time_ms`` is unix ms; prices and volumes are int64 at 10**-8; ``trade_count`` is a plain count.
    The last four are None when the file does not have them.
    """

    market: str
    interval: Interval
    open_time_ms: Integers
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers
    quote_volume: Integers | None = None
    trade_count: Integers | None = None
    taker_buy_volume: Integers | None = None
    taker_buy_quote_volume: Integers | None = None

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @property
    def start_ms(self) -> int:
        """Open time of the first candle."""
        return int(self.open_time_ms[0])

    @property
    def end_ms(self) -> int:
        """Exclusive close time of the last candle."""
        return self.interval.close_of(int(self.open_time_ms[-1]))

    def slice(self, start_ms: int | None = None, end_ms: int | None = None) -> CandleColumns:
        """Return the candles that open at or after ``start_ms`` and before ``end_ms``."""
        first = 0 if start_ms is None else int(np.searchsorted(self.open_time_ms, start_ms))
        last = len(self) if end_ms is None else int(np.searchsorted(self.open_time_ms, end_ms))
        return self.at(slice(first, last))

    def at(self, part: _Part) -> CandleColumns:
        """Return the candles that ``part``, a slice or a flag for each, chooses."""
        return CandleColumns(
            self.market,
            self.interval,
            self.open_time_ms[part],
            self.open[part],
            self.high[part],
            self.low[part],
            self.close[part],
            self.volume[part],
            *(None if array is None else array[part] for array in self._optional),
        )

    @property
    def close_time_ms(self) -> Integers:
        """Exclusive close times."""
        if self.interval.width_ms is not None:
            return self.open_time_ms + self.interval.width_ms
        return np.array([self.interval.close_of(time) for time in self.open_time_ms.tolist()], np.int64)

    @property
    def _optional(self) -> tuple[Integers | None, ...]:
        return self.quote_volume, self.trade_count, self.taker_buy_volume, self.taker_buy_quote_volume

    def candles(self, source: str = Source.IMPORT) -> list[Candle]:
        """Return the rows as candles."""
        times = self.open_time_ms.tolist()
        closes = self.close_time_ms.tolist()
        nothing: list[int | None] = [None] * len(times)
        quote, count, taker = (nothing if array is None else array.tolist() for array in self._optional[:3])
        name, market = self.interval.name, self.market
        return [
            Candle(market, name, opens, closes_at, open, high, low, close, volume, q, n, v, source)
            for opens, closes_at, open, high, low, close, volume, q, n, v in zip(
                times,
                closes,
                self.open.tolist(),
                self.high.tolist(),
                self.low.tolist(),
                self.close.tolist(),
                self.volume.tolist(),
                quote,
                count,
                taker,
                strict=True,
            )
        ]


def columns_of(candles: Sequence[Candle]) -> CandleColumns:
    """Return the columns of ``candles`` of one market and interval; raise BadInput if they are out of order."""
    if not candles:
        raise BadInput("There are no candles.", field="candles", value=0, fix="Give at least one.")
    table = {
        name: [getattr(candle, field) for candle in candles]
        for name, field in (("open_time", "open_time_ms"), ("quote_volume",) * 2, ("count", "trade_count"))
    }
    for name in ("open", "high", "low", "close", "volume", "taker_buy_volume"):
        table[name] = [getattr(candle, name) for candle in candles]
    if any(later <= earlier for earlier, later in zip(table["open_time"], table["open_time"][1:], strict=False)):
        raise BadInput("Candles do not ascend.", field="candles", value=len(candles), fix="Sort them by open time.")
    arrays = {name: np.array(values, np.int64) for name, values in table.items() if None not in values}
    return columns_from(candles[0].market, parse_interval(candles[0].interval), arrays)


def columns_from(market: str, interval: Interval | None, arrays: Mapping[str, Integers]) -> CandleColumns:
    """Return columns of arrays named as in a candle file; no ``interval`` means the least distance of open times."""
    return CandleColumns(
        market,
        interval or _infer(arrays["open_time"]),
        arrays["open_time"],
        arrays["open"],
        arrays["high"],
        arrays["low"],
        arrays["close"],
        arrays["volume"],
        quote_volume=arrays.get("quote_volume"),
        trade_count=arrays.get("count"),
        taker_buy_volume=arrays.get("taker_buy_volume"),
        taker_buy_quote_volume=arrays.get("taker_buy_quote_volume"),
    )


def _infer(times: Integers) -> Interval:
    """The interval of open times: their least distance, brought to a month for 28 days and more."""
    if len(times) < 2:
        return parse_interval("1m")
    step_ms = int(np.diff(times).min())
    for name in CANONICAL:
        if parse_interval(name).width_ms == step_ms:
            return parse_interval(name)
    if step_ms % 60_000 or step_ms <= 0:
        return parse_interval("1m")
    return parse_interval("1M" if step_ms >= 28 * 86_400_000 else f"{step_ms // 60_000}m")
