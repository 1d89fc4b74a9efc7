"""Runs in an environment of its own, which has vectorbt and nothing of ours: ``python rivals_vectorbt.py FOLDER``.

The folder holds ``opens.npy``, ``highs.npy``, ``lows.npy`` and ``closes.npy`` (float64, one value a candle) and
``job.json``: fee and slippage as shares, the capital, how often each contest is timed, and the contests. Of contest n
``codes_n.npy`` holds what is wanted at each close, 1 long, -1 short, 0 flat, 2 whatever is held; when it has stops,
``stops_n.npy`` and ``targets_n.npy`` their distances from the fill. Prints one JSON value: versions, engine, and of
each contest the processor seconds of every run; writes ``trades_n.npy`` with a row for each trade: side, rows of
entry and exit, their prices, and whether it was closed.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LONG, SHORT, FLAT = 1, -1, 0


def main(folder: Path) -> dict[str, Any]:
    import vectorbt as vbt
    from vectorbt._engine import is_rust_available

    engine = "rust" if is_rust_available() else "numba"
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    prices = {name: np.load(folder / f"{name}s.npy") for name in ("open", "high", "low", "close")}
    seconds = []
    for place, contest in enumerate(job["contests"]):
        signals = arguments(folder, place, prices, job, contest)

        def run(signals: dict[str, Any] = signals) -> Any:
            portfolio = vbt.Portfolio.from_signals(
                prices["close"],
                price=filled_at(prices["open"]),
                size=np.inf,
                fees=job["fee"],
                slippage=job["slippage"],
                init_cash=job["capital"],
                freq="1min",
                engine=engine,
                **signals,
            )
            return portfolio, eight_metrics(portfolio)

        # The first run compiles or loads.
        portfolio, _ = run()
        np.save(folder / f"trades_{place}.npy", trades_of(portfolio))
        times = []
        for _ in range(job["runs"]):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
        seconds.append(times)
    return {"vectorbt": vbt.__version__, "engine": engine, "seconds": seconds}


def filled_at(opens: Any) -> Any:
    """The price of an order decided at each close: the next open, none at the last.

    An order stands in the row of its decision, so that the row after it, whose open fills it, is the first one that
    its stops are looked for in.
    """
    return np.append(opens[1:], np.nan)


def arguments(folder: Path, place: int, prices: dict[str, Any], job: dict[str, Any], contest: dict[str, Any]) -> Any:
    """What vectorbt calls the decisions of a contest."""
    codes = np.load(folder / f"codes_{place}.npy")
    long, short = codes == LONG, codes == SHORT
    found = {"entries": long, "exits": short | (codes == FLAT)}
    if contest["shorts"]:
        found = {"entries": long, "exits": codes == FLAT, "short_entries": short, "short_exits": codes == FLAT}
    if contest["stops"]:
        worse = np.where(short, 1 - job["slippage"], 1 + job["slippage"])
        fill = filled_at(prices["open"]) * worse
        found |= {
            "sl_stop": np.load(folder / f"stops_{place}.npy") / fill,
            "tp_stop": np.load(folder / f"targets_{place}.npy") / fill,
            "stop_entry_price": "fillprice",
            "stop_exit_price": contest["stops"],
            **{name: prices[name] for name in ("open", "high", "low")},
        }
    return found


def eight_metrics(portfolio: Any) -> list[float]:
    trades = portfolio.trades
    return [
        portfolio.total_return(),
        portfolio.final_value(),
        portfolio.sharpe_ratio(),
        portfolio.sortino_ratio(),
        portfolio.max_drawdown(),
        trades.win_rate(),
        trades.profit_factor(),
        float(trades.count()),
    ]


def trades_of(portfolio: Any) -> Any:
    records = portfolio.trades.values
    closed = records["status"] == 1
    return np.column_stack(
        [
            np.where(records["direction"] == 0, LONG, SHORT),
            records["entry_idx"],
            records["exit_idx"],
            records["entry_price"],
            records["exit_price"],
            closed,
        ]
    )


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
