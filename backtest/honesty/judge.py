"""What a walk-forward found, in figures and in words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import accumulate
from math import inf
from statistics import fmean
from typing import Any

import numpy as np

from backtest.honesty.baselines import buy_and_hold, random_entry
from backtest.honesty.deflated_sharpe import deflated_sharpe, plain_sharpe, probabilistic_sharpe
from backtest.honesty.folds import Fold
from backtest.honesty.monte_carlo import monte_carlo
from backtest.honesty.neighbourhood import neighbourhood
from backtest.honesty.overfitting import overfitting
from backtest.honesty.reality_check import reality_check
from backtest.honesty.trials import Outcome
from backtest.honesty.words import words_of
from backtest.metrics.measure import Run, daily_closes, measure, turnover
from backtest.metrics.series import Floats, deepest_fall, excess_kurtosis, skewness
from backtest.run import BacktestRequest, Source
from trading.accounts.score import EquityCurve, sharpe
from trading.accounts.trades import Trade

__all__ = ["Chosen", "Trained", "Tried", "judge"]


@dataclass(frozen=True, slots=True)
class Tried:
    """All trials: their searched parameters, their daily returns (a column each), and how many sets were refused.

    ``runs`` is how many times any of them was run to be scored, in every training window that was searched by itself.
    """

    points: list[dict[str, int | float]]
    returns: Floats
    refused: int
    runs: int


@dataclass(frozen=True, slots=True)
class Trained:
    """How a set did over the training days: ``value`` is what the search looked for, ``trades`` so many as closed.

    ``trades`` is None where only daily returns were looked at, which do not tell them.
    """

    value: float | None
    sharpe: float | None
    total_return: float | None
    max_drawdown: float | None
    trades: int | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen in one fold, how it was ``trained``, and its test: ``returns`` has a number for each test day."""

    fold: Fold
    params: Mapping[str, int | float]
    trained: Trained
    outcome: Outcome
    returns: Floats


def judge(
    request: BacktestRequest,
    source: Source,
    tried: Tried,
    chosen: Sequence[Chosen],
    *,
    day_start: Callable[[int], int],
    seed: int,
) -> dict[str, Any]:
    """Out-of-sample figures first, then baselines, then how much the search itself would have promised."""
    curve = _stitched(chosen, request.capital, day_start)
    trades = [trade for item in chosen for trade in item.outcome.trades]
    out_of_sample = _figures(curve, chosen, trades, source)
    returns = np.concatenate([item.returns for item in chosen])
    tested = out_of_sample["sharpe"]
    result = {
        "out_of_sample": out_of_sample,
        "equity": _points(curve, day_start, chosen),
        "folds": [_fold(item, day_start) for item in chosen],
        "baselines": _baselines(request, source, curve, chosen, seed),
        "skill": _skill(returns),
        "monte_carlo": _plain(monte_carlo(_on_equity(chosen, request), seed=seed)),
        "search": _search(request, source, tried, tested, chosen, day_start, seed),
    }
    return {**result, "words": words_of(result)}


def _stitched(chosen: Sequence[Chosen], capital: Decimal, day_start: Callable[[int], int]) -> EquityCurve:
    """The tests in a row, from the capital on: one mark at the end of each day."""
    curve = EquityCurve(capital, day_start(chosen[0].fold.test.start))
    equity = float(capital)
    for item in chosen:
        for day, change in zip(item.fold.test, item.returns, strict=True):
            equity *= 1 + float(change)
            curve.add(day_start(day + 1), Decimal(repr(equity)), False)
    return curve


def _figures(curve: EquityCurve, chosen: Sequence[Chosen], trades: list[Trade], source: Source) -> dict[str, Any]:
    fills = [fill for item in chosen for fill in item.outcome.fills]
    transfers = [transfer for item in chosen for transfer in item.outcome.transfers]
    series = source.series
    seen = series.closing(curve.start_ms, int(series.close_time_ms[-1]))
    figures, _ = measure(Run(curve, trades, fills, transfers, seen))
    days = [len(item.returns) for item in chosen]
    shares = [item.outcome.exposure or 0.0 for item in chosen]
    own = [float(value) for item in chosen for value in item.outcome.equity[1:]]
    twin = 1.0
    for item in chosen:
        twin *= 1 + (item.outcome.twin or 0.0)
    figures |= {
        "exposure": sum(n * share for n, share in zip(days, shares, strict=True)) / sum(days),
        "turnover": turnover(fills, [float(curve.capital), *own]),
        "pessimistic_return": twin - 1,
    }
    return figures


def _points(curve: EquityCurve, day_start: Callable[[int], int], chosen: Sequence[Chosen]) -> list[tuple[int, float]]:
    days = [day for item in chosen for day in item.fold.test]
    times = [curve.start_ms, *(day_start(day + 1) for day in days)]
    return [(time_ms, round(float(value), 2)) for time_ms, value in zip(times, curve.daily, strict=True)]


def _fold(item: Chosen, day_start: Callable[[int], int]) -> dict[str, Any]:
    fold, worth = item.fold, np.concatenate(([1.0], np.cumprod(1 + item.returns)))
    return {
        "number": fold.number,
        "train_start": day_start(fold.train[0]),
        "train_end": day_start(fold.train[-1] + 1),
        "train_days": len(fold.train),
        "test_start": day_start(fold.test.start),
        "test_end": day_start(fold.test.stop),
        "params": dict(item.params),
        "train_sharpe": item.trained.sharpe,
        "train_value": item.trained.value,
        "train_return": item.trained.total_return,
        "train_drawdown": item.trained.max_drawdown,
        "train_trades": item.trained.trades,
        "test_sharpe": sharpe([float(x) for x in item.returns]),
        "test_return": float(worth[-1]) - 1,
        "test_drawdown": deepest_fall(worth),
        "pessimistic_return": item.outcome.twin,
        "trades": sum(1 for trade in item.outcome.trades if trade.pnl is not None),
    }


def _baselines(
    request: BacktestRequest, source: Source, curve: EquityCurve, chosen: Sequence[Chosen], seed: int
) -> dict[str, Any]:
    cost = float(request.charges.taker_fee + request.charges.slippage)
    seen = source.series.closing(curve.start_ms, curve.last_ms)
    weighed = _weighed(chosen, request)
    closed = [trade for trade, _ in weighed]
    prices = np.append(seen.open, seen.close[-1]) / 1e8
    begins = np.searchsorted(seen.open_time_ms, [trade.entry_ms for trade in closed])
    ends = np.searchsorted(seen.open_time_ms, [trade.exit_ms or 0 for trade in closed])
    return {
        "buy_and_hold": _plain(buy_and_hold(daily_closes(source.candles, curve.start_ms, curve.last_ms), cost)),
        "random_entry": _plain(
            random_entry(
                prices,
                [int(x) for x in ends - begins],
                [1 if trade.direction == "LONG" else -1 for trade in closed],
                _on_equity(chosen, request),
                cost=cost,
                weights=[weight for _, weight in weighed],
                seed=seed,
            )
        ),
    }


def _search(
    request: BacktestRequest,
    source: Source,
    tried: Tried,
    tested: float | None,
    chosen: Sequence[Chosen],
    day_start: Callable[[int], int],
    seed: int,
) -> dict[str, Any]:
    """The best trial of all days, as a search without a walk-forward would report it, and what to think of it."""
    returns = tried.returns
    columns = [returns[:, n] for n in range(returns.shape[1])]
    scores = [sharpe([float(x) for x in column]) for column in columns]
    best = max(range(len(scores)), key=lambda n: (scores[n] is not None, scores[n] or 0.0, -n))
    totals = [float(np.prod(1 + column) - 1) for column in columns]
    single = [plain_sharpe(column) or 0.0 for column in columns]
    closes = np.array(daily_closes(source.candles, day_start(0), day_start(len(returns))))
    trained = [item.trained.sharpe for item in chosen if item.trained.sharpe is not None]
    promised = fmean(trained) if trained else None
    return {
        "trials": len(columns),
        "runs": tried.runs,
        "refused": tried.refused,
        "days": len(returns),
        "best": {"params": tried.points[best], "sharpe": scores[best], "total_return": totals[best]},
        "deflated_sharpe": deflated_sharpe(columns[best], single),
        "overfitting": _plain(overfitting(returns)),
        "reality_check": {
            "against_cash": reality_check(returns, seed=seed),
            "against_market": reality_check(returns, closes[1:] / closes[:-1] - 1, seed=seed),
        },
        "neighbourhood": _plain(neighbourhood(tried.points, scores, best)),
        "train_sharpe": promised,
        "efficiency": tested / promised if tested is not None and promised is not None and promised > 0 else None,
        "points": [
            {"params": point, "sharpe": score, "total_return": total}
            for point, score, total in zip(tried.points, scores, totals, strict=True)
        ],
    }


def _skill(returns: Floats) -> float | None:
    """The probability that the true Sharpe ratio of the tests is above 0: nothing was chosen by them."""
    seen, skew, kurtosis = plain_sharpe(returns), skewness(returns), excess_kurtosis(returns)
    if seen is None or skew is None or kurtosis is None:
        return None
    return probabilistic_sharpe(seen, 0.0, len(returns), skew, kurtosis + 3)


def _on_equity(chosen: Sequence[Chosen], request: BacktestRequest) -> list[float]:
    return [float(trade.return_ or 0) * weight for trade, weight in _weighed(chosen, request)]


def _weighed(chosen: Sequence[Chosen], request: BacktestRequest) -> list[tuple[Trade, float]]:
    """Closed trades, each with the share of the test's equity that it put in: of the capital and what was gained with
    trades that had ended before.
    """
    out = []
    for item in chosen:
        closed = [trade for trade in item.outcome.trades if trade.pnl is not None]
        ended = sorted((trade.exit_ms or 0, float(trade.pnl or 0)) for trade in closed)
        gained = [0.0, *accumulate(pnl for _, pnl in ended)]
        for trade in closed:
            equity = float(request.capital) + gained[bisect_right(ended, (trade.entry_ms, inf))]
            value = float(trade.quantity * trade.entry_price)
            out.append((trade, value / equity if equity > 0 else 0.0))
    return out


def _plain(found: Any) -> dict[str, Any] | None:
    return asdict(found) if found is not None else None
