"""A sweep over a real database and the reference engine: whole at any time, and never done twice."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backtest.honesty.deflated_sharpe import deflated_sharpe
from backtest.honesty.trials import Job, Outcome
from backtest.run import load_file, run_backtest
from backtest.sweep.begun import taken
from backtest.sweep.coordinator import Progress, run_sweep
from backtest.sweep.evaluator import METRICS, ComboScore, ReferenceEvaluator
from backtest.sweep.pool import HerePool
from backtest.sweep.work import Batch, Work, check_code, work_of
from tests.backtest.sweep.world import DAYS, START, market_file, queued, row_of, scores_of, wanted
from tests.trading.series import MARKET
from trading.errors import BadInput, ConfigError, Halt
from trading.intervals import DAY_MS
from trading.storage import sweeps
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

pytestmark = pytest.mark.long(2)


@pytest.fixture
async def store(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="test sweep") as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return market_file(tmp_path_factory.mktemp("market") / "walk.csv")


class Watched(HerePool):
    """A real pool of one that notes what it was given, and lets a test act before each batch or run, by its place."""

    def __init__(self, before: Any = None) -> None:
        super().__init__()
        self.combos: list[dict[str, int | float]] = []
        self.jobs: list[Job] = []
        self._given = 0
        self._before = before

    async def score(self, batch: Batch) -> list[ComboScore]:
        self._given += 1
        if self._before is not None:
            await self._before(self._given)
        found = await super().score(batch)
        self.combos += batch.combos
        return found

    async def run(self, job: Job) -> Outcome:
        self._given += 1
        if self._before is not None:
            await self._before(self._given)
        found = await super().run(job)
        self.jobs.append(job)
        return found


@pytest.mark.parametrize("engine", ["reference", "kernel"])
async def test_every_score_is_that_of_the_backtest_alone(store: Database, file: Path, engine: str) -> None:
    start_ms = START + DAY_MS
    request = wanted(intervals=("24m",)) if engine == "kernel" else wanted()
    request = request.model_copy(update={"backtest": request.backtest.model_copy(update={"start_ms": start_ms})})
    run_id = await queued(store, request)
    told: list[Progress] = []
    result = await run_sweep(store, run_id, HerePool(), {MARKET: file}, told.append)

    for params, metrics, trades in (await scores_of(store, run_id)).values():
        alone = request.backtest.model_copy(update={"params": params})
        _, summary, _ = run_backtest(alone, [load_file(file, MARKET, alone)], "alone")
        assert trades == summary["trades"]
        for name, value in metrics.items():
            own = summary.get(name, summary["metrics"].get(name))
            expected = None if own is None else pytest.approx(float(own), rel=1e-9)
            assert value == expected, (params, name)
        assert set(metrics) == set(METRICS)
    sharpes = {params["period"]: metrics["sharpe"] for params, metrics, _ in (await scores_of(store, run_id)).values()}
    assert result["best"]["params"]["period"] == max(sharpes, key=lambda period: sharpes[period])
    assert (result["tried"], result["scored"], told[-1].done, told[-1].total) == (5, 5, 5, 5)
    assert told[-1].best == result["best"]["searched"]
    assert 0 <= result["deflated_sharpe"] <= 1
    assert result["overfitting"]["trials"] == 5
    assert result["neighbourhood"]["neighbours"] >= 1
    assert "5 combinations were tried" in result["words"][0]
    row = await row_of(store, run_id)
    assert (row["status"], row["progress"], row["tried"], row["engine"]) == ("done", 1.0, 5, engine)
    # Live candles that come later are no part of it.
    assert row["config"]["backtest"]["end_ms"] <= START + DAYS * DAY_MS


@pytest.mark.parametrize("how", [{}, {"method": "random", "trials": 6}, {"method": "optuna", "trials": 6}], ids=str)
async def test_a_stop_keeps_what_was_found_and_a_resumed_sweep_does_only_the_rest(
    store: Database, file: Path, how: dict[str, Any]
) -> None:
    # Seven sets, one a batch: no more than four of them are given away before the stop.
    run_id = await queued(store, wanted(grid={"period": [3, 6, 9, 12, 24, 36, 48]}, **how))

    async def stop(given: int) -> None:
        if given == 3:
            await store.run(lambda connection: sweeps.JOBS.stop(connection, run_id))

    first = Watched(stop)
    stopped = await run_sweep(store, run_id, first, {MARKET: file})
    kept = await scores_of(store, run_id)
    assert stopped["status"] == "stopped"
    assert 1 <= len(kept) == stopped["scored"] <= 4
    assert (await row_of(store, run_id))["status"] == "stopped"

    second = Watched()
    result = await run_sweep(store, run_id, second)
    assert result["status"] == "done"
    done_twice = [params for params in second.combos if params in [entry[0] for entry in kept.values()]]
    assert done_twice == []
    assert len(kept) + len(second.combos) == result["scored"] == how.get("trials", 7)


async def test_a_cancelled_sweep_is_stopped_and_gives_the_same_as_one_in_a_row(store: Database, file: Path) -> None:
    request = wanted(halving=True)
    whole = await queued(store, request)
    expected = await run_sweep(store, whole, HerePool(), {MARKET: file})

    run_id, reached = await queued(store, request), asyncio.Event()

    async def note(given: int) -> None:
        if given == 4:
            reached.set()

    running = asyncio.ensure_future(run_sweep(store, run_id, Watched(note), {MARKET: file}))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await row_of(store, run_id))["status"] == "stopped"
    result = await run_sweep(store, run_id, HerePool())
    assert await scores_of(store, run_id) == await scores_of(store, whole)
    assert result["best"] == expected["best"]
    assert {stage for stage, _ in await scores_of(store, run_id)} == {0, 1}


async def test_a_set_that_halving_runs_again_is_one_that_was_tried(store: Database, file: Path) -> None:
    run_id, told = await queued(store, wanted(halving=True, grid={"period": [3, 6, 12, 24, 48, 96]})), list[Progress]()
    result = await run_sweep(store, run_id, HerePool(), {MARKET: file}, told.append)
    row = await row_of(store, run_id)
    # Six on the last third, the best two of them on all of it.
    assert [(item["combos"], item["tried"], item["runs"]) for item in (row, result)] == [(6, 6, 8)] * 2
    assert (told[-1].tried, told[-1].sets, told[-1].done, told[-1].total) == (6, 6, 8, 8)
    assert "6 combinations were tried in 8 runs" in result["words"][0]

    scores = await scores_of(store, run_id)
    trials = [(metrics["sharpe"] or 0.0) / sqrt(365) for (stage, _), (_, metrics, _) in scores.items() if stage == 0]
    base = wanted().backtest
    [again] = ReferenceEvaluator(base, load_file(file, MARKET, base)).evaluate([result["best"]["params"]])
    assert again.returns is not None
    assert len(trials) == 6
    assert result["deflated_sharpe"] == pytest.approx(deflated_sharpe(again.returns, trials))


async def test_whoever_resumes_takes_over_and_the_one_before_writes_no_more(store: Database, file: Path) -> None:
    run_id = await queued(store, wanted())

    others = []

    async def resume(given: int) -> None:
        if given == 3:
            others.append(asyncio.ensure_future(run_sweep(store, run_id, HerePool(), {MARKET: file})))
            await asyncio.shield(others[0])

    with pytest.raises(Halt, match="resumed by another"):
        await run_sweep(store, run_id, Watched(resume), {MARKET: file})
    assert (await others[0])["scored"] == 5
    row = await row_of(store, run_id)
    assert (row["status"], row["tried"], len(await scores_of(store, run_id))) == ("done", 5, 5)


async def test_one_that_prepares_for_long_is_not_taken_for_dead(store: Database) -> None:
    run_id = await queued(store, wanted())
    async with taken(store, sweeps.JOBS, run_id, HerePool()):
        await store.run(lambda connection: connection.execute("update sweeps set heartbeat_at = now() - interval '1h'"))
        assert await store.run(lambda connection: sweeps.JOBS.status(connection, run_id)) == "interrupted"
        while await store.run(lambda connection: sweeps.JOBS.status(connection, run_id)) != "running":
            await asyncio.sleep(0.2)


async def test_lost_connections_cost_nothing(store: Database, database: DatabaseTarget, file: Path) -> None:
    run_id = await queued(store, wanted())

    async def cut(given: int) -> None:
        async with Database(database, application_name="test cutter") as other:
            await other.run(
                lambda connection: connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                    " where application_name = 'test sweep' and datname = current_database()"
                )
            )

    result = await run_sweep(store, run_id, Watched(cut), {MARKET: file})
    assert (result["status"], len(await scores_of(store, run_id))) == ("done", 5)


async def test_other_candles_than_at_the_start_are_refused(store: Database, tmp_path: Path) -> None:
    path = market_file(tmp_path / "walk.csv")
    run_id = await queued(store, wanted())

    async def stop(given: int) -> None:
        await store.run(lambda connection: sweeps.JOBS.stop(connection, run_id))

    await run_sweep(store, run_id, Watched(stop), {MARKET: path})
    kept = await scores_of(store, run_id)
    market_file(path, seed=5)
    with pytest.raises(BadInput, match="the candles, their holes or the market's rules") as caught:
        await run_sweep(store, run_id, HerePool())
    assert caught.value.field == "data"
    row = await row_of(store, run_id)
    assert (row["status"], "Start it anew" in row["error"]) == ("failed", True)
    assert await scores_of(store, run_id) == kept


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"grid": {"period": [5000, 6000]}, "objective": "profit_factor"}, "objective", "profit_factor is not defined"),
        ({"min_trades": 100_000}, "min_trades", "100000 closed trades"),
        ({"constraints": ("max_drawdown<=0.0001",)}, "constraint", "max_drawdown<=0.0001"),
    ],
    ids=str,
)
async def test_a_sweep_in_which_nothing_counts_says_why_and_keeps_the_scores(
    store: Database, file: Path, changes: dict[str, Any], field: str, words: str
) -> None:
    request = wanted(**changes)
    run_id = await queued(store, request)
    with pytest.raises(BadInput, match=words) as caught:
        await run_sweep(store, run_id, HerePool(), {MARKET: file})
    assert (caught.value.field, bool(caught.value.fix)) == (field, True)
    row = await row_of(store, run_id)
    assert (row["status"], row["error"]) == ("failed", str(caught.value))
    assert len(await scores_of(store, run_id)) == request.combos


OWN = """
def objective(metrics):
    reward = metrics["total_return"] - 2 * metrics["max_drawdown"]
    return reward if metrics["trades"] > 5 else None
"""


async def test_a_function_of_the_users_own_is_what_is_looked_for_also_after_a_stop(store: Database, file: Path) -> None:
    run_id = await queued(store, wanted(objective="objective", objective_source=OWN))

    async def stop(given: int) -> None:
        if given == 2:
            await store.run(lambda connection: sweeps.JOBS.stop(connection, run_id))

    await run_sweep(store, run_id, Watched(stop), {MARKET: file})
    result = await run_sweep(store, run_id, HerePool())
    scores = {}
    for params, metrics, trades in (await scores_of(store, run_id)).values():
        own = metrics["total_return"] - 2 * metrics["max_drawdown"] if trades > 5 else None
        assert metrics["objective"] == own
        scores[params["period"]] = own
    counted = {period: value for period, value in scores.items() if value is not None}
    assert result["best"]["params"]["period"] == max(counted, key=lambda period: counted[period])
    assert (result["objective"], result["best"]["value"]) == ("objective", max(counted.values()))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return metrics['sharp']", "objective.py, line 2: KeyError: 'sharp'"),
        ("return float('nan')", "objective is not defined for any"),
        ("return 'good'", "could not convert string to float"),
    ],
)
async def test_a_function_that_fails_or_gives_nothing_is_told_with_its_line(
    store: Database, file: Path, body: str, words: str
) -> None:
    async def swept() -> None:
        source = f"def objective(metrics):\n    {body}\n"
        run_id = await queued(store, wanted(objective="objective", objective_source=source))
        await run_sweep(store, run_id, HerePool(), {MARKET: file})

    with pytest.raises(BadInput) as caught:
        await swept()
    assert words in str(caught.value)
    assert (caught.value.field, bool(caught.value.fix)) == ("objective", True)


async def test_what_is_held_out_chooses_nothing_and_tells_how_the_best_did(store: Database, file: Path) -> None:
    run_id = await queued(store, wanted(holdout=0.4))
    told: list[Progress] = []
    result = await run_sweep(store, run_id, HerePool(), {MARKET: file}, told.append)
    held = result["holdout"]
    split = START + 13 * DAY_MS
    assert (held["start"], held["end"] <= START + DAYS * DAY_MS) == (split, True)
    assert [item["value"] for item in held["sets"]] == sorted((item["value"] for item in held["sets"]), reverse=True)
    scores = await scores_of(store, run_id)
    assert {stage for stage, _ in scores} == {0, 1}
    assert (told[-1].done, told[-1].total, result["tried"]) == (10, 10, 5)
    # Whoever counts sets leaves out the runs of some of them again.
    assert (told[-1].held, told[-1].held_total, result["combos"]) == (5, 5, 5)
    row = await row_of(store, run_id)
    assert (row["tried"], row["combos"]) == (5, 5)
    base = wanted().backtest
    for n, item in enumerate(held["sets"]):
        params = scores[1, item["number"]][0]
        for span, metrics in (
            ({"end_ms": split}, scores[0, item["number"]][1]),
            ({"start_ms": split}, item["held_metrics"]),
        ):
            alone = base.model_copy(update={"params": params, **span})
            _, summary, _ = run_backtest(alone, [load_file(file, MARKET, alone)], "alone")
            assert metrics["sharpe"] == pytest.approx(summary["sharpe"], rel=1e-9), (n, span)
    assert any("Held out were the last 9 days" in text for text in result["words"])


async def test_what_a_strategy_refuses_is_counted_by_itself(store: Database, file: Path) -> None:
    grid = {"fast": [2, 4], "slow": [3, 6]}
    run_id = await queued(store, wanted("sma_cross", grid=grid))
    result = await run_sweep(store, run_id, HerePool(), {MARKET: file})
    row = await row_of(store, run_id)
    assert (row["tried"], row["refused"], row["combos"]) == (3, 1, 4)
    assert (result["tried"], result["refused"], result["combos"]) == (3, 1, 4)


async def test_a_range_too_short_to_hold_a_part_out_is_refused(store: Database, tmp_path: Path) -> None:
    run_id = await queued(store, wanted(holdout=0.3))
    with pytest.raises(BadInput, match="cannot be held out") as caught:
        await run_sweep(store, run_id, HerePool(), {MARKET: market_file(tmp_path / "short.csv", days=1)})
    assert caught.value.field == "holdout"


async def test_of_more_sets_than_are_looked_at_no_returns_are_kept_and_the_best_is_run_again(
    store: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, small = await queued(store, wanted()), await queued(store, wanted())
    expected = await run_sweep(store, small, HerePool(), {MARKET: file})
    monkeypatch.setattr("backtest.sweep.coordinator.MOST_JUDGED", 4)
    result = await run_sweep(store, run_id, HerePool(), {MARKET: file})

    async def kept(of: UUID) -> int:
        found: int = await store.run(
            lambda connection: connection.fetchval("select count(returns) from sweep_results where run_id = $1", of)
        )
        return found

    assert (await kept(small), await kept(run_id)) == (5, 0)
    assert result["overfitting"] is None
    assert expected["overfitting"] is not None
    for name in ("best", "deflated_sharpe", "neighbourhood"):
        assert result[name] == expected[name]


async def test_results_are_paged_in_order_of_any_metric(store: Database, file: Path) -> None:
    run_id = await queued(store, wanted())
    await run_sweep(store, run_id, HerePool(), {MARKET: file})
    values = [metrics["max_drawdown"] for _, metrics, _ in (await scores_of(store, run_id)).values()]

    async def page(wanted: sweeps.Filter, limit: int | None, offset: int = 0) -> Sequence[Any]:
        return await store.run(
            lambda connection: sweeps.read_page(connection, run_id, 0, wanted, limit=limit, offset=offset)
        )

    by_drawdown = sweeps.Filter("max_drawdown", descending=False)
    found = [row["metrics"]["max_drawdown"] for row in [*await page(by_drawdown, 3), *await page(by_drawdown, 3, 3)]]
    assert found == sorted(values)
    middle = sorted(values)[2]
    only = sweeps.Filter("trades", descending=True, bounds=(("max_drawdown", "<", middle), ("trades", ">", 0)))
    assert {row["metrics"]["max_drawdown"] for row in await page(only, None)} == {v for v in values if v < middle}


def test_a_worker_with_other_code_is_refused() -> None:
    check_code("abc", "abc")
    with pytest.raises(ConfigError, match=r"other code \(def\).*\(abc\)") as caught:
        check_code("abc", "def")
    assert caught.value.field == "code"
    assert "same version" in str(caught.value.fix)


async def test_a_pool_with_another_fingerprint_raises_it(file: Path) -> None:
    request = wanted().backtest
    pool = HerePool()
    pool.begin(Work("key", "0" * 16, request, load_file(file, MARKET, request)))
    with pytest.raises(ConfigError, match="other code"):
        await pool.score(Batch(None, None, ({"period": 3},)))
    pool.close()


def test_candles_travel_whole(file: Path) -> None:
    source = load_file(file, MARKET, wanted().backtest)
    mix = random.Random(2)
    uneven = [
        candle._replace(
            trade_count=mix.choice([None, 3]), complete=mix.random() < 0.5, origin=mix.choice([None, "binance:ETH"])
        )
        for candle in source.candles
    ]
    for candles in (source.candles, uneven, uneven[:1]):
        sent = replace(source, candles=candles)
        assert pickle.loads(pickle.dumps(work_of("key", wanted().backtest, sent, keeps_returns=False))).source == sent


def test_the_reference_scores_a_set_the_same_in_any_company(file: Path) -> None:
    request = wanted().backtest
    engine = ReferenceEvaluator(request, load_file(file, MARKET, request))
    alone = [engine.evaluate([{"period": period}])[0] for period in (6, 3)]
    assert engine.evaluate([{"period": 6}, {"period": 3}]) == alone
