"""Folds a whole series of minutes at once.

Shares nothing with the live folding but the interval anchor, and must agree with it to the last bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from trading.candles import Candle, Hole, HoleReason, Source
from trading.intervals import parse_interval

__all__ = ["fold"]


def fold(
    candles: Sequence[Candle],
    interval: str,
    holes: Iterable[Hole] = (),
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> list[Candle]:
    """The candles of ``interval`` that began and closed within the history.

    ``candles`` are the present minutes in order; those between them are absent unless a hole says *missing*, which
    makes the candles it touches incomplete. The history runs from ``start_ms`` to ``end_ms``, by default from the first
    to the last minute that ``candles`` and ``holes`` tell of. An interval without a present minute has no candle.
    """
    known_holes = sorted(holes, key=lambda hole: hole.from_ms)
    starts = [*(c.open_time_ms for c in candles[:1]), *(hole.from_ms for hole in known_holes[:1])]
    ends = [*(c.close_time_ms for c in candles[-1:]), *(hole.to_ms for hole in known_holes)]
    if not candles or not starts:
        return []
    first_ms = min(starts) if start_ms is None else start_ms
    last_ms = max(ends) if end_ms is None else end_ms
    opens = [candle.open_time_ms for candle in candles]
    missing = [(hole.from_ms, hole.to_ms) for hole in known_holes if hole.reason == HoleReason.MISSING]
    width = parse_interval(interval)
    result: list[Candle] = []
    index = bisect_left(opens, first_ms)
    next_hole = 0
    while index < len(candles):
        open_ms = width.open_of(opens[index])
        close_ms = width.close_of(open_ms)
        if close_ms > last_ms:
            break
        end = bisect_left(opens, close_ms, index)
        while next_hole < len(missing) and missing[next_hole][1] <= open_ms:
            next_hole += 1
        whole = next_hole == len(missing) or missing[next_hole][0] >= close_ms
        if open_ms >= first_ms:
            result.append(_join(candles[index:end], width.name, open_ms, close_ms, whole))
        index = end
    return result


def _join(minutes: Sequence[Candle], interval: str, open_ms: int, close_ms: int, whole: bool) -> Candle:
    return Candle(
        market=minutes[0].market,
        interval=interval,
        open_time_ms=open_ms,
        close_time_ms=close_ms,
        open=minutes[0].open,
        high=max(minute.high for minute in minutes),
        low=min(minute.low for minute in minutes),
        close=minutes[-1].close,
        volume=sum(minute.volume for minute in minutes),
        quote_volume=_total([minute.quote_volume for minute in minutes]),
        trade_count=_total([minute.trade_count for minute in minutes]),
        taker_buy_volume=_total([minute.taker_buy_volume for minute in minutes]),
        source=Source.DERIVED.value,
        complete=whole,
        origin=",".join(sorted({minute.origin for minute in minutes if minute.origin})) or None,
    )


def _total(values: list[int | None]) -> int | None:
    present = [value for value in values if value is not None]
    return sum(present) if len(present) == len(values) else None
