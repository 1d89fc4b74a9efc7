"""The same series and trades measured by vectorbt and backtesting.py: ``golden.py`` made the numbers."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backtest.metrics import series
from backtest.metrics.trades import trade_figures
from tests.backtest.metrics.golden import DAYS, ENTRIES, prices, returns
from tests.trading.series import MARKET, at
from trading.accounts.score import DAYS_A_YEAR, EquityCurve, daily_returns, sharpe, sortino
from trading.accounts.trades import Trade
from trading.intervals import DAY_MS

GOLDEN: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "golden.json").read_text("utf-8"))
START = at("2024-01-01 00:00")


def values(seed: int, drift: float) -> list[float]:
    out = [1.0]
    for change in returns(seed, drift):
        out.append(out[-1] * (1 + change))
    return out


@pytest.mark.covers("S1-42")
def test_daily_figures_agree_with_vectorbt() -> None:
    own = values(1, 0.001)
    marks = ((START + n * DAY_MS, Decimal(repr(value)), True) for n, value in enumerate(own) if n)
    curve = EquityCurve.of(marks, Decimal(1), START)
    seen = daily_returns(curve.daily)
    growth = series.cagr(own)
    alpha, beta = series.alpha_beta(seen, returns(2, 0.0005))
    assert alpha is not None
    found: dict[str, Any] = {
        "total_return": own[-1] - 1,
        "cagr": growth,
        "volatility": series.volatility(seen),
        "sharpe": sharpe(seen),
        "sortino": sortino(seen),
        "calmar": series.calmar(growth, curve.max_drawdown),
        "omega": series.omega(seen),
        "max_drawdown": curve.max_drawdown,
        "beta": beta,
        # Theirs compounds the daily alpha, ours adds it up.
        "alpha_compounded": (1 + alpha / DAYS_A_YEAR) ** DAYS_A_YEAR - 1,
        # Theirs counts from the first day below the peak, ours from the peak.
        "longest_drawdown_days": curve.longest_ms / DAY_MS - 1,
    }
    assert len(seen) == DAYS
    assert found == pytest.approx(GOLDEN["vectorbt"], rel=1e-9)


def scripted(fee: Decimal) -> list[Trade]:
    price = [Decimal(str(value)) for value in prices()]
    made = []
    for no, (entry, exit_) in enumerate(ENTRIES, start=1):
        fees = (price[entry] + price[exit_]) * fee
        pnl = price[exit_] - price[entry] - fees
        times = START + entry * DAY_MS, START + exit_ * DAY_MS
        made.append(
            Trade(
                "a", MARKET, "1d", no, "LONG", Decimal(1), times[0], price[entry], times[1], price[exit_], pnl,
                pnl / price[entry], fees, "signal",
            )
        )  # fmt: skip
    return made


@pytest.mark.covers("S1-42")
@pytest.mark.parametrize(("of", "fee"), [("vectorbt_trades", "0.001"), ("backtesting", "0")])
def test_trade_figures_agree_with_vectorbt_and_backtesting_py(of: str, fee: str) -> None:
    trades = scripted(Decimal(fee))
    figures = trade_figures(trades)
    found = {
        **figures,
        "fees": float(sum(trade.fees for trade in trades)),
        "longest_days": figures["longest_ms"] / DAY_MS,
        "total_return": figures["net_profit"] / 100_000,
        "final_equity": 100_000 + figures["net_profit"],
    }
    assert {name: found[name] for name in GOLDEN[of]} == pytest.approx(GOLDEN[of], rel=1e-9)
