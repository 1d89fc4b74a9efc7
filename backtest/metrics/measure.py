"""All figures of a run at once, as plain data that goes through JSON unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from backtest.metrics.series import (
    alpha_beta,
    cagr,
    calmar,
    excess_kurtosis,
    omega,
    skewness,
    ulcer_index,
    volatility,
)
from backtest.metrics.trades import Excursion, excursions, grouped, trade_figures
from trading.accounts.records import Fill, Transfer
from trading.accounts.score import DAYS_A_YEAR, EquityCurve, daily_returns, sharpe, sortino
from trading.accounts.trades import Trade
from trading.candle_series import CandleSeries, by_market
from trading.candles import Candle
from trading.intervals import DAY_MS

__all__ = ["Run", "daily_closes", "measure", "turnover"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did: its equity, its trades in order of entry, its money movements, and the 1m candles it saw, in one
    row or in a series of each market.

    ``names`` are those of its instances by their ids.
    """

    equity: EquityCurve
    trades: Sequence[Trade]
    fills: Sequence[Fill]
    transfers: Sequence[Transfer]
    candles: Sequence[Candle] | Sequence[CandleSeries]
    names: Mapping[str, str] = field(default_factory=dict)


def measure(run: Run) -> tuple[dict[str, Any], list[Excursion | None]]:
    """The figures of ``run``, those by group under ``by``, and the excursions of each trade."""
    values = [float(value) for value in run.equity.daily]
    returns = daily_returns(run.equity.daily)
    growth = cagr(values) if returns else None
    deepest, losses = run.equity.deepest, run.equity.max_drawdown
    alpha, beta = alpha_beta(returns, _market_returns(run)) if returns else (None, None)
    reached = excursions(run.trades, run.candles)
    known = [item for item in reached if item is not None]
    figures: dict[str, Any] = {
        "days": len(returns),
        "total_return": values[-1] / values[0] - 1,
        "annual_return": float(np.mean(returns)) * DAYS_A_YEAR if len(returns) >= 2 else None,
        "cagr": growth,
        "volatility": volatility(returns),
        "sharpe": sharpe(returns),
        "sortino": sortino(returns),
        "calmar": calmar(growth, losses),
        "omega": omega(returns),
        "skewness": skewness(returns),
        "excess_kurtosis": excess_kurtosis(returns),
        "best_day": max(returns, default=None),
        "worst_day": min(returns, default=None),
        "max_drawdown": losses,
        "drawdown": asdict(deepest) if deepest is not None else None,
        "longest_drawdown_ms": run.equity.longest_ms,
        "ulcer_index": ulcer_index(values) if returns else None,
        "alpha": alpha,
        "beta": beta,
        "exposure": run.equity.held / run.equity.marks if run.equity.marks else None,
        "turnover": turnover(run.fills, values),
        **trade_figures(run.trades),
        "mean_adverse": float(np.mean([item.adverse for item in known])) if known else None,
        "worst_adverse": max((item.adverse for item in known), default=None),
        "mean_favourable": float(np.mean([item.favourable for item in known])) if known else None,
        "best_favourable": max((item.favourable for item in known), default=None),
        "fees": float(sum((fill.fee for fill in run.fills), Decimal(0))),
        "slippage_cost": float(sum((fill.slippage for fill in run.fills), Decimal(0))),
        "funding": float(sum((item.amount for item in run.transfers if item.kind == "funding"), Decimal(0))),
        "by": grouped(run.trades, run.names),
    }
    return figures, reached


def daily_closes(candles: Sequence[Candle], start_ms: int, end_ms: int) -> list[float]:
    """The price of one market at ``start_ms`` and at the end of each UTC day from then, the last one cut at ``end_ms``.

    Days without candles keep their price; the first number is that of the first candle's open if none came before.
    """
    series = CandleSeries.of(candles)
    day_ends = np.arange(start_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1) * DAY_MS + DAY_MS
    seen = np.searchsorted(series.close_time_ms, [start_ms, *np.minimum(day_ends, end_ms).tolist()], side="right")
    if not seen[-1]:
        return []
    before = np.where(seen > 0, series.close[seen - 1], series.open[0])
    return [float(price) for price in before / 1e8]


def _market_returns(run: Run) -> list[float]:
    """Of the mean of the markets' prices, each as a multiple of its first: what holding all of them alike gives."""
    equity = run.equity
    series = [daily_closes(own, equity.start_ms, equity.last_ms) for own in by_market(run.candles).values()]
    worth = np.mean([np.array(prices) / prices[0] for prices in series if prices], axis=0)
    return [float(x) for x in worth[1:] / worth[:-1] - 1]


def turnover(fills: Iterable[Fill], values: Sequence[float]) -> float | None:
    """How often a year the mean equity was bought and sold again: half of all traded value over it, times 365/days."""
    mean = float(np.mean(values))
    days = len(values) - 1
    if days < 1 or mean <= 0:
        return None
    traded = float(sum((fill.price * fill.quantity for fill in fills), Decimal(0)))
    return traded / 2 / mean * DAYS_A_YEAR / days
