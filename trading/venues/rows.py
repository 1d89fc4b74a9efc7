"""Rows of one REST answer as candles: what each holds is the venue's to say, what they prove together is said here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trading.candles import Candle
from trading.feed_events import Anomaly
from trading.venues.adapter import Rows

__all__ = ["read_rows"]


def read_rows(
    rows: Iterable[Any], read: Callable[[Any], Candle | Anomaly], out_of_order: Callable[[Any, Candle], Anomaly]
) -> Rows:
    """``rows``, which must ascend, each as ``read`` makes it out: a candle, or what is wrong with it.

    A row that does not even tell its minute, or that comes out of order, leaves nothing of the answer to believe.
    """
    candles: list[Candle] = []
    unusable: set[int] = set()
    anomalies: list[Anomaly] = []
    last = -1
    for row in rows:
        candle = read(row)
        if isinstance(candle, Anomaly):
            anomalies.append(candle)
            if not candle.to_ms:
                return Rows((), (), tuple(anomalies), is_whole=False)
            unusable.add(candle.from_ms)
        elif candle.open_time_ms <= last:
            anomalies.append(out_of_order(row, candle))
            return Rows((), (), tuple(anomalies), is_whole=False)
        else:
            last = candle.open_time_ms
            candles.append(candle)
    unusable.difference_update(candle.open_time_ms for candle in candles)
    return Rows(tuple(candles), tuple(sorted(unusable)), tuple(anomalies))
