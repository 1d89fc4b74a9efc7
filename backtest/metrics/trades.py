"""Figures of the trades of a run, and of groups of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import sqrt
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from trading.accounts.trades import Trade
from trading.candle_series import CandleSeries, by_market
from trading.candles import Candle
from trading.intervals import MINUTE_MS

__all__ = ["Excursion", "excursions", "grouped", "trade_figures"]

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Excursion:
    """How far the price went against a trade (``adverse``) and for it (``favourable``): shares of the entry price."""

    adverse: float
    favourable: float


def trade_figures(trades: Sequence[Trade]) -> dict[str, Any]:
    """Figures of ``trades`` in the order of their entries; only closed ones count, except in ``open_trades``.

    Money is in quote currency, net of fees and without funding; times are ms. Streaks follow the order of the exits.
    """
    closed = sorted((trade for trade in trades if trade.pnl is not None), key=_exit_ms)
    profits = [float(trade.pnl or 0) for trade in closed]
    returns = [float(trade.return_ or 0) for trade in closed]
    durations = [_exit_ms(trade) - trade.entry_ms for trade in closed]
    wins, losses = [x for x in profits if x > 0], [-x for x in profits if x < 0]
    return {
        "trades": len(closed),
        "open_trades": len(trades) - len(closed),
        "wins": len(wins),
        "losses": len(losses),
        "win_rate": len(wins) / len(closed) if closed else None,
        "payoff": fmean(wins) / fmean(losses) if wins and losses else None,
        "profit_factor": sum(wins) / sum(losses) if losses else None,
        "expectancy": fmean(profits) if closed else None,
        "expectancy_return": fmean(returns) if closed else None,
        "sqn": _sqn(profits),
        "net_profit": sum(profits),
        "longest_win_streak": _streak(x > 0 for x in profits),
        "longest_loss_streak": _streak(x < 0 for x in profits),
        "best_return": max(returns, default=None),
        "worst_return": min(returns, default=None),
        "best_profit": max(profits, default=None),
        "worst_profit": min(profits, default=None),
        "mean_duration_ms": round(fmean(durations)) if closed else None,
        "median_duration_ms": round(median(durations)) if closed else None,
        "shortest_ms": min(durations, default=None),
        "longest_ms": max(durations, default=None),
    }


def grouped(trades: Sequence[Trade], names: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Figures by tag, side, market, exit, weekday and hour; the last two are of the entry, in UTC. By instance, too, if
    there is more than one in ``names``, which has them by their ids.
    """
    called = names or {}
    by: dict[str, Callable[[int], str]] = {
        "tag": lambda n: trades[n].tag,
        "side": lambda n: trades[n].direction,
        "market": lambda n: trades[n].market,
        "exit": lambda n: trades[n].exit_reason if trades[n].exit_ms is not None else "open",
        "weekday": lambda n: _WEEKDAYS[_entered(trades[n]).weekday()],
        "hour": lambda n: f"{_entered(trades[n]).hour:02d}",
    }
    if len(called) > 1:
        by = {"instance": lambda n: called[trades[n].instance_id], **by}
    return {name: _groups(trades, key, _WEEKDAYS if name == "weekday" else None) for name, key in by.items()}


def excursions(trades: Sequence[Trade], candles: Sequence[Candle] | Sequence[CandleSeries]) -> list[Excursion | None]:
    """MAE and MFE of each trade over the 1m ``candles`` that lie within it, and its own exit price.

    The candle in which a stop or target fills is not looked at beyond the fill: what came after it in that minute is
    unknown. None when the trade saw no candle, as one that was opened at the end of the data.
    """
    series = {name: CandleSeries.of(own) for name, own in by_market(candles).items()}
    return [_excursion(trade, series.get(trade.market)) for trade in trades]


def _excursion(trade: Trade, seen: CandleSeries | None) -> Excursion | None:
    if seen is None:
        return None
    first = int(np.searchsorted(seen.open_time_ms, trade.entry_ms // MINUTE_MS * MINUTE_MS, side="left"))
    until_ms = trade.exit_ms if trade.exit_ms is not None else int(seen.close_time_ms[-1])
    last = int(np.searchsorted(seen.close_time_ms, until_ms, side="right"))
    entry = float(trade.entry_price)
    prices = [] if trade.exit_price is None else [float(trade.exit_price)]
    if last > first:
        prices += [int(seen.low[first:last].min()) / 1e8, int(seen.high[first:last].max()) / 1e8]
    if not prices:
        return None
    moves = [(price / entry - 1) * (1 if trade.direction == "LONG" else -1) for price in prices]
    return Excursion(max(0.0, -min(moves)), max(0.0, *moves, 0.0))


def _groups(trades: Sequence[Trade], key: Callable[[int], str], order: Sequence[str] | None) -> dict[str, Any]:
    members: dict[str, list[Trade]] = {}
    for place, trade in enumerate(trades):
        members.setdefault(key(place), []).append(trade)
    names = sorted(members) if order is None else [name for name in order if name in members]
    kept = ("trades", "open_trades", "win_rate", "profit_factor", "expectancy", "expectancy_return", "net_profit")
    figures = {name: trade_figures(members[name]) for name in names}
    return {name: {item: own[item] for item in kept} for name, own in figures.items()}


def _exit_ms(trade: Trade) -> int:
    return trade.exit_ms if trade.exit_ms is not None else trade.entry_ms


def _entered(trade: Trade) -> datetime:
    return datetime.fromtimestamp(trade.entry_ms / 1000, UTC)


def _sqn(profits: Sequence[float]) -> float | None:
    """Van Tharp's system quality number: sqrt(n) times mean over standard deviation (n - 1) of the profits."""
    deviation = stdev(profits) if len(profits) >= 2 else 0.0
    return sqrt(len(profits)) * fmean(profits) / deviation if deviation > 0 else None


def _streak(hits: Iterable[bool]) -> int:
    return max((sum(1 for _ in run) for hit, run in groupby(hits) if hit), default=0)
