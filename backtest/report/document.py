"""Everything that a report shows, as plain data: made once with the run and stored beside its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.metrics.measure import daily_closes
from backtest.metrics.trades import Excursion
from trading.accounts.trades import Trade
from trading.candle_series import CandleSeries
from trading.intervals import DAY_MS

if TYPE_CHECKING:
    from backtest.reference import ReferenceResult
    from backtest.requests import RunRequest
    from backtest.sources import Source

__all__ = ["document_of"]

_BARS = 240
"""Bars of the price chart: more would be narrower than a pixel on a phone."""

Point = tuple[int, float]


def document_of(
    request: RunRequest,
    sources: Sequence[Source],
    result: ReferenceResult,
    summary: dict[str, Any],
    reached: Sequence[Excursion | None],
) -> dict[str, Any]:
    """The report of ``result``: series for the charts, months, days, trades with their excursions, and the summary.

    ``prices`` are the bars of each market. ``holding`` is all markets bought at the start, for the same money each.
    """
    start_ms, end_ms = result.equity.start_ms, result.equity.last_ms
    worth = [
        [close / closes[0] for close in closes]
        for closes in (daily_closes(source.candles, start_ms, end_ms) for source in sources)
        if closes
    ]
    capital = float(request.capital)
    equity = _daily(result, start_ms, end_ms)
    strategy, market, intervals = request.title()
    instances = request.instances(start_ms)
    names = {item.instance_id: item.name for item in instances}
    return {
        "strategy": strategy,
        "market": market,
        "intervals": list(intervals),
        "instances": [
            {
                "instance_id": item.instance_id,
                "name": item.name,
                "strategy": item.strategy,
                "source": item.source,
                "params": dict(configured.params),
                "markets": list(item.markets),
                "intervals": list(item.intervals),
                "profile": item.profile,
                "leverage": str(item.leverage),
                "size": str(item.size),
                "share": str(item.share),
            }
            for item, configured in zip(instances, request.configured, strict=True)
        ],
        "currency": sources[0].market.quote,
        "equity": equity,
        "holding": [
            (time_ms, round(sum(day) / len(day) * capital, 2))
            for (time_ms, _), *day in zip(equity, *worth, strict=False)
            if day
        ],
        "drawdown": _drawdown(equity),
        "prices": {
            source.market.key: _bars(source.series.closing(start_ms, int(source.series.close_time_ms[-1])))
            for source in sources
        },
        "months": _months(equity),
        "trades": [_trade(trade, seen, names) for trade, seen in zip(result.trades, reached, strict=True)],
        "summary": summary,
    }


def _daily(result: ReferenceResult, start_ms: int, end_ms: int) -> list[Point]:
    values = result.equity.daily
    first = start_ms // DAY_MS
    times = [start_ms, *(min((first + day) * DAY_MS, end_ms) for day in range(1, len(values)))]
    return [(time_ms, round(float(value), 2)) for time_ms, value in zip(times, values, strict=True)]


def _drawdown(equity: Sequence[Point]) -> list[Point]:
    out, peak = [], 0.0
    for time_ms, value in equity:
        peak = max(peak, value)
        out.append((time_ms, round(value / peak - 1, 6) if peak > 0 else 0.0))
    return out


def _bars(series: CandleSeries) -> list[tuple[int, float, float, float, float]]:
    """Up to ``_BARS`` bars of equal time: open time, open, high, low, close."""
    if not series:
        return []
    first = int(series.open_time_ms[0])
    width = max(1, -(-(int(series.close_time_ms[-1]) - first) // _BARS))
    places = (series.open_time_ms - first) // width
    begins = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(begins[1:], len(series)) - 1
    columns = (
        first + places[begins] * width,
        series.open[begins] / 1e8,
        np.maximum.reduceat(series.high, begins) / 1e8,
        np.minimum.reduceat(series.low, begins) / 1e8,
        series.close[ends] / 1e8,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _months(equity: Sequence[Point]) -> dict[str, float | None]:
    """Return of each UTC month, such as 2025-07; the first and last may be part of one."""
    ends: dict[str, float] = {}
    for time_ms, value in equity[1:]:
        # Midnight ends the day before it.
        ends[datetime.fromtimestamp((time_ms - 1) / 1000, UTC).strftime("%Y-%m")] = value
    out: dict[str, float | None] = {}
    before = equity[0][1]
    for month, value in ends.items():
        out[month] = value / before - 1 if before > 0 else None
        before = value
    return out


def _trade(trade: Trade, seen: Excursion | None, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        **trade.to_dict(),
        "instance": names[trade.instance_id],
        "adverse": seen.adverse if seen is not None else None,
        "favourable": seen.favourable if seen is not None else None,
    }
