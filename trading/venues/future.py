"""REST rows that tell a time which has not come: they prove nothing about the minutes before them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trading.clock import TimeSample
from trading.feed_events import Anomaly
from trading.intervals import MINUTE_MS, Interval
from trading.venues.adapter import Rows

__all__ = ["without_future"]

# How far the clock that a venue tells may be behind its own candles.
_BEHIND_MS = 2 * MINUTE_MS


async def without_future(
    rows: Rows, market: str, width: Interval, closed_by_ms: int, ask_time: Callable[[], Awaitable[TimeSample]]
) -> Rows:
    """``rows`` without those that open later than the venue's present, each an anomaly ``future``.

    A row that follows the end of a replayed or a healed span is no such row, so the venue is asked for its time when
    one opens after ``closed_by_ms``. Raises what asking raises.
    """
    opens = [*(candle.open_time_ms for candle in rows.candles), *rows.unusable]
    if max(opens, default=0) <= closed_by_ms + _BEHIND_MS:
        return rows
    latest_ms = (await ask_time()).venue_ms + _BEHIND_MS
    notes = [
        Anomaly(
            market,
            "future",
            f"a row that opens at {each}; the venue's time is {latest_ms - _BEHIND_MS}",
            each,
            width.close_of(each),
        )
        for each in sorted(opens)
        if each > latest_ms
    ]
    return rows._replace(
        candles=tuple(candle for candle in rows.candles if candle.open_time_ms <= latest_ms),
        unusable=tuple(each for each in rows.unusable if each <= latest_ms),
        anomalies=(*rows.anomalies, *notes),
    )
