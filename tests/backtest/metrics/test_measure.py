"""All figures of a real run: they agree with its score, its books and its candles, and are plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from backtest.metrics.measure import Run, daily_closes, measure
from backtest.reference import ReferenceResult
from backtest.run import BacktestRequest, Source, run_backtest
from tests.trading.series import MARKET, at, flat_minutes, random_minutes
from trading.accounts.score import EquityCurve
from trading.intervals import DAY_MS, HOUR_MS
from trading.markets import Market

START = at("2025-06-02 00:00")
CANDLES = random_minutes(START, 5 * 1440, 3, extras=False)
BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))


@pytest.fixture(scope="module")
def ran() -> tuple[ReferenceResult, dict[str, Any]]:
    request = BacktestRequest(
        strategy="ma44", market=MARKET, intervals=("5m",), params={"period": 9}, start_ms=START + 7 * HOUR_MS
    )
    return run_backtest(request, [Source(list(CANDLES), [], BTC, known_market=True)], "b")[:2]


@pytest.mark.covers("S1-42")
def test_the_figures_of_a_run_agree_with_its_score_and_its_books(ran: tuple[ReferenceResult, dict[str, Any]]) -> None:
    result, summary = ran
    figures = summary["metrics"]
    for name in ("total_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "exposure"):
        assert figures[name] == pytest.approx(summary[name], rel=1e-12)
    assert (figures["trades"], figures["days"]) == (summary["trades"], summary["days"])
    assert figures["fees"] == pytest.approx(float(summary["fees"]))
    money = figures["net_profit"] + figures["funding"]
    unrealized = float(result.records.equity[-1].equity) - 10_000 - money
    assert abs(unrealized) < 500
    closed = [trade for trade in result.trades if trade.pnl is not None]
    assert figures["expectancy"] * len(closed) == pytest.approx(float(sum(trade.pnl or 0 for trade in closed)))
    assert figures["drawdown"]["share"] == figures["max_drawdown"]
    assert figures["turnover"] > 100
    assert figures["slippage_cost"] > 0
    assert 0 < figures["mean_adverse"] <= figures["worst_adverse"]
    # No trade gains more than the price went for it, and none loses more than it went against it and its costs.
    assert figures["best_return"] < figures["best_favourable"]
    assert figures["worst_return"] > -figures["worst_adverse"] - 0.01


def test_the_figures_are_plain_json_without_infinity(ran: tuple[ReferenceResult, dict[str, Any]]) -> None:
    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, dict):
            for item in value.values():
                yield from numbers(item)
        elif isinstance(value, float):
            yield value

    figures = ran[1]["metrics"]
    assert json.loads(json.dumps(figures)) == figures
    assert all(math.isfinite(number) for number in numbers(figures))


def test_holding_the_market_has_beta_one_and_no_alpha() -> None:
    equity = EquityCurve(Decimal(1000), START)
    first = Decimal(CANDLES[0].open)
    for candle in CANDLES:
        equity.add(candle.close_time_ms, 1000 * Decimal(candle.close) / first, True)
    figures, _ = measure(Run(equity, [], [], [], CANDLES))
    assert figures["beta"] == pytest.approx(1)
    assert figures["alpha"] == pytest.approx(0, abs=1e-9)
    assert figures["exposure"] == 1


def test_a_run_without_a_candle_has_no_figures_that_need_one() -> None:
    figures, reached = measure(Run(EquityCurve(Decimal(1000), START), [], [], [], []))
    assert (figures["total_return"], figures["max_drawdown"], figures["trades"], reached) == (0, 0, 0, [])
    for name in ("annual_return", "cagr", "sharpe", "alpha", "beta", "exposure", "turnover", "drawdown", "sqn"):
        assert figures[name] is None


def test_daily_closes_begin_with_the_price_at_the_start_and_keep_it_over_empty_days() -> None:
    day = flat_minutes(START, [10.0] * 1440)
    later = flat_minutes(START + 3 * DAY_MS, [20.0] * 720)
    end_ms = later[-1].close_time_ms
    assert daily_closes([*day, *later], START, end_ms) == [10, 10, 10, 10, 20]
    assert daily_closes([*day, *later], START + 2 * DAY_MS, end_ms) == [10, 10, 20]
    assert daily_closes([*day, *later], START, START + DAY_MS) == [10, 10]
    assert daily_closes([], START, end_ms) == []
