"""Make ``golden.json``: what vectorbt 1.2 and backtesting.py 0.6 say of the series that the tests measure.

Neither is a dependency of Manta. To make the file again, in an environment of its own:

    pip install vectorbt==1.2.0 backtesting==0.6.6
    python tests/backtest/metrics/golden.py > tests/backtest/metrics/golden.json
"""

import json
import random
import sys

DAYS = 400
ENTRIES = ((5, 20), (30, 31), (40, 90), (100, 130), (150, 152), (200, 260), (300, 399))
"""Days on whose open one coin is bought and sold again."""


def returns(seed: int, drift: float) -> list[float]:
    source = random.Random(seed)
    return [drift + source.gauss(0, 0.02) for _ in range(DAYS)]


def prices() -> list[float]:
    """Opens of ``DAYS`` days, rounded to cents."""
    source, price, out = random.Random(11), 1000.0, []
    for _ in range(DAYS):
        out.append(round(price, 2))
        price *= 1 + source.gauss(0.001, 0.03)
    return out


def vectorbt_says() -> dict[str, float]:
    import pandas as pd
    import vectorbt as vbt

    index = pd.date_range("2024-01-01", periods=DAYS, freq="D")
    own, market = pd.Series(returns(1, 0.001), index), pd.Series(returns(2, 0.0005), index)
    seen = own.vbt.returns(freq="D", year_freq="365D", benchmark_rets=market)
    equity = pd.Series([1.0, *(1 + own).cumprod()], pd.date_range("2024-01-01", periods=DAYS + 1, freq="D"))
    drawdowns = vbt.Drawdowns.from_ts(equity, freq="D")
    return {
        "total_return": float(seen.total()),
        "cagr": float(seen.annualized()),
        "volatility": float(seen.annualized_volatility()),
        "sharpe": float(seen.sharpe_ratio()),
        "sortino": float(seen.sortino_ratio()),
        "calmar": float(seen.calmar_ratio()),
        "omega": float(seen.omega_ratio()),
        "max_drawdown": float(-seen.max_drawdown()),
        "beta": float(seen.beta()),
        "alpha_compounded": float(seen.alpha()),
        "longest_drawdown_days": float(drawdowns.max_duration() / pd.Timedelta(days=1)),
    }


def vectorbt_trades() -> dict[str, float]:
    import pandas as pd
    import vectorbt as vbt

    price = pd.Series(prices(), pd.date_range("2024-01-01", periods=DAYS, freq="D"))
    size = pd.Series(0.0, price.index)
    for entry, exit_ in ENTRIES:
        size.iloc[entry] += 1
        size.iloc[exit_] -= 1
    run = vbt.Portfolio.from_orders(price, size, size_type="amount", fees=0.001, init_cash=100_000, freq="D")
    trades = run.trades
    return {
        "trades": float(trades.count()),
        "win_rate": float(trades.win_rate()),
        "profit_factor": float(trades.profit_factor()),
        "expectancy": float(trades.expectancy()),
        "sqn": float(trades.sqn()),
        "best_return": float(trades.returns.max()),
        "worst_return": float(trades.returns.min()),
        "longest_win_streak": float(trades.winning_streak.max()),
        "longest_loss_streak": float(trades.losing_streak.max()),
        "fees": float(run.orders.fees.sum()),
    }


def backtesting_says() -> dict[str, float]:
    import pandas as pd
    from backtesting import Backtest, Strategy

    class Scripted(Strategy):
        def init(self) -> None:
            self.entries = {entry - 1 for entry, _ in ENTRIES}
            self.exits = {exit_ - 1 for _, exit_ in ENTRIES}

        def next(self) -> None:
            day = len(self.data) - 1
            if day in self.exits:
                self.position.close()
            if day in self.entries:
                self.buy(size=1)

    opens = prices()
    closes = [*opens[1:], opens[-1]]
    frame = pd.DataFrame(
        {"Open": opens, "High": list(map(max, opens, closes)), "Low": list(map(min, opens, closes)), "Close": closes},
        pd.date_range("2024-01-01", periods=DAYS, freq="D"),
    )
    seen = Backtest(frame, Scripted, cash=100_000, commission=0.0).run()
    return {
        "trades": float(seen["# Trades"]),
        "win_rate": float(seen["Win Rate [%]"]) / 100,
        "sqn": float(seen["SQN"]),
        "best_return": float(seen["Best Trade [%]"]) / 100,
        "worst_return": float(seen["Worst Trade [%]"]) / 100,
        "expectancy_return": float(seen["Expectancy [%]"]) / 100,
        "longest_days": float(seen["Max. Trade Duration"] / pd.Timedelta(days=1)),
        "total_return": float(seen["Return [%]"]) / 100,
        "final_equity": float(seen["Equity Final [$]"]),
    }


if __name__ == "__main__":
    made = {"vectorbt": vectorbt_says(), "vectorbt_trades": vectorbt_trades(), "backtesting": backtesting_says()}
    json.dump(made, sys.stdout, indent=2)
    sys.stdout.write("\n")
