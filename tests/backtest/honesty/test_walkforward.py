"""A walk-forward over real runs: what it chooses, what it reports, and that nothing of the future leaks into it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from backtest.honesty.searched import run_walkforward
from backtest.honesty.trials import Job, run_job
from backtest.honesty.walkforward import WalkForwardRequest, read_walkforward
from backtest.provenance import changes, data_fingerprint, provenance_of
from backtest.run import BacktestRequest, Source
from backtest.sweep.drive import Progress
from backtest.sweep.evaluator import ReferenceEvaluator
from backtest.sweep.objective import with_own
from backtest.sweep.pool import HerePool, Pool, ProcessPool
from tests.trading.series import MARKET, at
from trading.candles import UNIT, Candle
from trading.errors import BadInput
from trading.intervals import DAY_MS, MINUTE_MS
from trading.markets import Market

BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))
START = at("2025-06-02 00:00")
DAYS = 12


def walk(days: int = DAYS, seed: int = 4) -> list[Candle]:
    """Five candles an hour would be enough; these are minutes, every twelfth of which is present."""
    source, price, out = random.Random(seed), 100.0, []
    for n in range(days * 120):
        opened, price = price, price * (1 + source.gauss(0, 0.004))
        units = [round(value * UNIT) for value in (opened, max(opened, price), min(opened, price), price)]
        open_ms = START + n * 12 * MINUTE_MS
        out.append(Candle(MARKET, "1m", open_ms, open_ms + MINUTE_MS, *units, UNIT))
    return out


CANDLES = walk()


def source(candles: Sequence[Candle] = CANDLES) -> Source:
    return Source(list(candles), [], BTC, known_market=True)


def request(**changes: Any) -> WalkForwardRequest:
    base = BacktestRequest(strategy="ma44", market=MARKET, intervals=("12m", "24m"))
    wanted = {"backtest": base, "grid": {"period": [3, 6, 12]}, "train": 4, "test": 2, "purge": 1, **changes}
    return read_walkforward(wanted)


def walked(wanted: WalkForwardRequest, over: Source, pool: Pool | None = None, **told: Any) -> dict[str, Any]:
    pool = pool or HerePool()
    try:
        return asyncio.run(run_walkforward(wanted, over, pool, **told))
    finally:
        pool.close()


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return walked(request(), source())


def test_the_result_leads_with_the_tests_in_a_row(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found))["out_of_sample"] == found["out_of_sample"]
    tested = found["out_of_sample"]
    assert (tested["days"], len(found["folds"])) == (8, 4)
    compounded = np.prod([1 + fold["test_return"] for fold in found["folds"]]) - 1
    assert tested["total_return"] == pytest.approx(compounded)
    assert tested["trades"] == sum(fold["trades"] for fold in found["folds"]) > 0
    assert tested["pessimistic_return"] < tested["total_return"]
    assert [point[0] for point in found["equity"]] == [START + (4 + n) * DAY_MS for n in range(8)] + [
        CANDLES[-1].close_time_ms
    ]
    assert found["equity"][0][1] == 10_000
    assert found["words"][0].startswith("Out of sample it returned")


def test_each_fold_chooses_the_best_of_its_training_days(found: dict[str, Any]) -> None:
    outcomes = {
        period: run_job(source(), Job(0, request().backtest.model_copy(update={"params": {"period": period}}), False))
        for period in (3, 6, 12)
    }
    for number, fold in enumerate(found["folds"]):
        scores = {}
        for period, outcome in outcomes.items():
            values = np.array([float(value) for value in outcome.equity])
            daily = (values[1:] / values[:-1] - 1)[2 * number : 2 * number + 3]
            scores[period] = daily.mean() / daily.std(ddof=1) * 365**0.5
        best = max(scores, key=lambda period: scores[period])
        assert fold["params"]["period"] == best
        assert fold["train_sharpe"] == pytest.approx(scores[best])
        worth = np.array([float(value) for value in outcomes[best].equity])[2 * number : 2 * number + 4]
        assert fold["train_return"] == pytest.approx(worth[-1] / worth[0] - 1)
        assert fold["train_drawdown"] == pytest.approx((1 - worth / np.maximum.accumulate(worth)).max())
        # Daily returns do not tell trades.
        assert fold["train_trades"] is None
        assert (fold["train_days"], fold["train_end"]) == (3, fold["test_start"] - DAY_MS)


def test_a_test_begins_in_cash_and_pays_for_closing(found: dict[str, Any]) -> None:
    fold = found["folds"][1]
    wanted = request().backtest.model_copy(
        update={"params": fold["params"], "start_ms": fold["test_start"], "end_ms": fold["test_end"]}
    )
    outcome = run_job(source(), Job(0, wanted, True))
    closing = abs(outcome.held) * (wanted.charges.taker_fee + wanted.charges.slippage)
    assert closing > 0
    assert fold["test_return"] == pytest.approx(float((outcome.equity[-1] - closing) / 10_000 - 1))
    assert min(trade.entry_ms for trade in outcome.trades) >= fold["test_start"]


@pytest.mark.parametrize("mode", ["rolling", "anchored"])
def test_the_future_does_not_change_what_was_chosen_and_tested_before(mode: str) -> None:
    cut = START + 8 * DAY_MS
    before = [candle for candle in CANDLES if candle.close_time_ms <= cut]
    after = [candle._replace(open_time_ms=candle.open_time_ms) for candle in walk(seed=9)]
    other = [*before, *(candle for candle in after if candle.open_time_ms >= cut)]
    one = walked(request(mode=mode), source())
    two = walked(request(mode=mode), source(other))
    assert one["folds"][:2] == two["folds"][:2]
    assert one["equity"][:5] == two["equity"][:5]
    assert one["folds"][2:] != two["folds"][2:]


@pytest.mark.slow
def test_processes_give_the_same_result_as_one(found: dict[str, Any]) -> None:
    told: list[Progress] = []
    assert walked(request(), source(), ProcessPool(2), on_progress=told.append) == found
    shares = [item.done / item.total for item in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_whole_search_is_counted_and_doubted(found: dict[str, Any]) -> None:
    search = found["search"]
    assert (search["trials"], search["refused"], search["days"]) == (3, 0, DAYS)
    assert search["best"]["sharpe"] == max(point["sharpe"] for point in search["points"])
    assert [point["params"] for point in search["points"]] == [{"period": 3}, {"period": 6}, {"period": 12}]
    assert 0 < search["reality_check"]["against_cash"] <= 1
    assert 0 <= search["deflated_sharpe"] <= 1
    assert search["overfitting"] is None  # twelve days are too few for it
    assert 0 < found["baselines"]["random_entry"]["p_value"] <= 1
    assert found["baselines"]["buy_and_hold"]["total_return"] == pytest.approx(
        CANDLES[-1].close / CANDLES[479].close * (1 - 0.0012) - 1
    )
    cross = request().backtest.model_copy(update={"strategy": "sma_cross"})
    refused = walked(request(backtest=cross, grid={"fast": [3, 9], "slow": [6, 12]}), source())
    assert (refused["search"]["trials"], refused["search"]["refused"]) == (3, 1)


def test_compiled_code_finds_what_the_reference_engine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    one = request(backtest=request().backtest.model_copy(update={"intervals": ("12m",)}))
    fast = walked(one, source())
    monkeypatch.setattr("backtest.sweep.kernel.why_not", lambda request: "a test wants the other engine")
    slow = walked(one, source())
    assert [fold["params"] for fold in fast["folds"]] == [fold["params"] for fold in slow["folds"]]
    assert fast["equity"] == slow["equity"]
    for quick, exact in zip(fast["search"]["points"], slow["search"]["points"], strict=True):
        assert quick["sharpe"] == pytest.approx(exact["sharpe"], rel=1e-9)


WINDOWS = {"train": 5, "test": 3, "purge": 0}
SEARCHES = {
    "optuna": {"method": "optuna", "trials": 3, "grid": {"period": [3, 6, 12, 24]}},
    "halving": {"halving": True, "train": 16, "grid": {"period": [3, 6, 12]}},
    "trades": {"min_trades": 4},
    "own": {"objective": "objective", "objective_source": "def objective(metrics):\n    return -metrics['trades']\n"},
}


@pytest.mark.parametrize("how", SEARCHES)
def test_a_search_that_needs_more_than_daily_returns_runs_in_each_training_window(how: str) -> None:
    wanted = request(**WINDOWS | SEARCHES[how])
    over = source(walk(20)) if how == "halving" else source()
    assert not wanted.once
    found = walked(wanted, over)
    goal = wanted.goal()
    for fold in found["folds"]:
        window = {"start_ms": fold["train_start"], "end_ms": fold["train_end"]}
        base = wanted.backtest.model_copy(update=window)
        scores = ReferenceEvaluator(base, over).evaluate([{"period": period} for period in wanted.grid["period"]])
        told = [with_own(wanted.objective_source, score) for score in scores] if how == "own" else scores
        merits = {score.params["period"]: goal.merit(score) for score in told}
        chosen = merits[fold["params"]["period"]]
        assert chosen is not None
        # Optuna tries some, halving drops the worst: neither need find the best, and what they choose counts.
        assert how in ("optuna", "halving") or chosen == max(value for value in merits.values() if value is not None)
        score = told[[*merits].index(fold["params"]["period"])]
        assert fold["train_value"] == pytest.approx(goal.value(score))
        assert fold["train_return"] == pytest.approx(score.metrics["total_return"])
        assert fold["train_drawdown"] == pytest.approx(score.metrics["max_drawdown"])
        assert fold["train_trades"] == score.trades
    # Whatever any window tried is among the trials that doubt is computed from.
    assert {fold["params"]["period"] for fold in found["folds"]} <= {
        point["params"]["period"] for point in found["search"]["points"]
    }
    assert found["search"]["runs"] >= len(found["folds"]) * 2 + found["search"]["trials"]


@pytest.mark.parametrize("metric", ["sortino", "total_return", "max_drawdown"])
def test_what_daily_returns_tell_needs_one_run_a_set(metric: str) -> None:
    wanted = request(objective=metric, constraints=("max_drawdown<=0.9",))
    assert wanted.once
    found = walked(wanted, source())
    assert found["search"]["runs"] == 3
    assert metric.replace("_", " ") in found["assumptions"][0]
    outcomes = [
        run_job(source(), Job(0, wanted.backtest.model_copy(update={"params": {"period": period}}), False))
        for period in (3, 6, 12)
    ]
    for number, fold in enumerate(found["folds"]):
        values = []
        for outcome in outcomes:
            equity = np.array([float(value) for value in outcome.equity])[2 * number : 2 * number + 4]
            falls = float((1 - equity / np.maximum.accumulate(equity)).max())
            values.append({"total_return": equity[-1] / equity[0] - 1, "max_drawdown": falls}.get(metric))
        if metric != "sortino":
            better = min(values) if metric == "max_drawdown" else max(values)
            assert fold["train_value"] == pytest.approx(better)


def test_a_window_in_which_nothing_counts_is_named() -> None:
    with pytest.raises(BadInput, match="Fold 1: None of the 3 combinations") as caught:
        walked(request(min_trades=100_000), source())
    assert caught.value.field == "min_trades"


def test_what_was_ruined_has_the_returns_of_the_days_before() -> None:
    # Half of the fee of a spot venue is enough: at such leverage every trade costs a tenth of what there is.
    base = request().backtest.model_copy(update={"leverage": Decimal(100)})
    found = walked(request(backtest=base), source())
    assert {point["total_return"] < -0.9 for point in found["search"]["points"]} == {True}


def test_trades_count_by_the_share_of_the_equity_they_put_in(found: dict[str, Any]) -> None:
    # One position of the whole equity: the trades compounded are the tests, less what was still held and funding.
    whole = found["baselines"]["random_entry"]["total_return"]
    assert whole == pytest.approx(found["out_of_sample"]["total_return"], abs=0.05)
    base = request().backtest.model_copy(update={"size": Decimal("0.1")})
    tenth = walked(request(backtest=base), source())
    assert tenth["baselines"]["random_entry"]["total_return"] == pytest.approx(
        tenth["out_of_sample"]["total_return"], abs=0.005
    )
    assert abs(tenth["out_of_sample"]["total_return"]) < 0.2 * abs(found["out_of_sample"]["total_return"])


def test_a_test_without_a_single_candle_keeps_its_money() -> None:
    silent = [c for c in CANDLES if not START + 6 * DAY_MS <= c.open_time_ms < START + 8 * DAY_MS]
    result = walked(request(), source(silent))
    assert (result["folds"][1]["test_return"], result["folds"][1]["trades"]) == (0.0, 0)
    assert result["out_of_sample"]["days"] == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": 12}, "have no room"),
        ({"purge": 3}, "leave 1 of 4 days"),
        ({"grid": {"period": [5]}}, "has 1 combination\\."),
        ({"grid": {"perod": [5, 6]}}, "no parameter 'perod'"),
        ({"grid": {"period": [1, 3, 6]}}, "period is 1"),
        ({"embargo": 1, "min_trades": 3}, "embargo is 1, but this search"),
        ({"method": "optuna"}, "trials are None"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        walked(request(**changes), source())


def test_the_origin_of_a_run_is_told_by_its_facts() -> None:
    then = provenance_of(request().backtest, [source()], {})
    again = provenance_of(request().backtest, [source([c._replace(source="rest", received_ns=7) for c in CANDLES])], {})
    assert changes(then, again) == []
    moved = [*CANDLES[:-1], CANDLES[-1]._replace(close=CANDLES[-1].close + 1)]
    assert data_fingerprint([source(moved)]) != data_fingerprint([source()])
    [told] = changes(then, provenance_of(request().backtest, [source(moved)], {}))
    assert told.startswith("the candles, their holes or the market's rules: ")
    assert changes({**then, "code": "0" * 16}, then) == [f"Manta's code: {'0' * 16} then, {then['code']} now"]
