"""Backtests over files of longer candles, such as hours: each is played as two minutes, without looking ahead.

The first minute holds the opening price alone, so that an order of the candle before fills there. The last holds the
rest: high, low, close and volume become known when the candle ends, and not before. Folded, the two are the candle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trading.candles import Candle
from trading.errors import BadInput
from trading.intervals import MINUTE, MINUTE_MS, Interval, parse_interval

__all__ = ["as_minutes", "check_foldable"]


def as_minutes(candles: Iterable[Candle]) -> list[Candle]:
    """The two minutes of each of ``candles``, which are longer than a minute."""
    minutes: list[Candle] = []
    for candle in candles:
        price = candle.open
        opening = candle._replace(
            interval=MINUTE.name, close_time_ms=candle.open_time_ms + MINUTE_MS, high=price, low=price, close=price,
            volume=0, quote_volume=None if candle.quote_volume is None else 0,
            trade_count=None if candle.trade_count is None else 0,
            taker_buy_volume=None if candle.taker_buy_volume is None else 0,
        )  # fmt: skip
        rest = candle._replace(interval=MINUTE.name, open_time_ms=candle.close_time_ms - MINUTE_MS)
        minutes += (opening, rest)
    return minutes


def check_foldable(intervals: Sequence[str], width: Interval) -> None:
    """Raise BadInput for an interval that candles of ``width`` do not add up to."""
    for name in intervals:
        wanted = parse_interval(name)
        if width.width_ms is None:
            fits = wanted.width_ms is None
        else:
            wide_ms = wanted.width_ms or parse_interval("1d").typical_ms
            fits = wide_ms % width.width_ms == 0 and (wanted.offset_ms - width.offset_ms) % width.width_ms == 0
        if not fits:
            raise BadInput(
                f"Candles of {width} do not add up to {name}.",
                field="intervals",
                value=name,
                fix=f"Choose multiples of {width}, or give a file of 1m candles.",
            )
