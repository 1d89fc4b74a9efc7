"""A walk-forward over a real database: kept as it comes, stopped, gone on with, and never scored twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backtest.honesty.stored import run_stored_walkforward
from backtest.honesty.walkforward import WalkForwardRequest, read_walkforward
from backtest.requests import BacktestRequest
from backtest.sweep.pool import HerePool
from tests.backtest.sweep.test_coordinator import Watched
from tests.backtest.sweep.world import market_file
from tests.trading.series import MARKET
from trading.errors import BadInput
from trading.storage import walkforwards
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget


@pytest.fixture
async def store(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="test walk-forward") as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return market_file(tmp_path_factory.mktemp("market") / "walk.csv", days=8)


def wanted(**changes: Any) -> WalkForwardRequest:
    """Of two intervals, which only the reference engine does: nothing is compiled."""
    base = BacktestRequest(strategy="ma44", market=MARKET, intervals=("24m", "48m"))
    grid = {"period": [3, 6, 9, 12]}
    return read_walkforward({"backtest": base, "grid": grid, "train": 3, "test": 2, "purge": 0, **changes})


async def queued(store: Database, request: WalkForwardRequest) -> UUID:
    run_id = uuid4()
    await store.run(lambda connection: walkforwards.JOBS.queue(connection, run_id, request.model_dump(mode="json")))
    return run_id


@pytest.mark.parametrize("how", [{}, {"min_trades": 1}], ids=["once", "each-window"])
async def test_a_stopped_one_goes_on_and_gives_what_it_would_have_in_a_row(
    store: Database, file: Path, how: dict[str, Any]
) -> None:
    whole = await run_stored_walkforward(store, await queued(store, wanted(**how)), HerePool(), {MARKET: file})

    run_id = await queued(store, wanted(**how))

    async def stop(given: int) -> None:
        if given == 3:
            await store.run(lambda connection: walkforwards.JOBS.stop(connection, run_id))

    stopped = await run_stored_walkforward(store, run_id, Watched(stop), {MARKET: file})
    kept = await store.run(lambda connection: walkforwards.JOBS.read_results(connection, run_id))
    assert (stopped["status"], stopped["scored"]) == ("stopped", len(kept))
    assert kept

    second = Watched()
    result = await run_stored_walkforward(store, run_id, second)
    assert {**result, "run_id": ""} == {**whole, "run_id": ""}
    rows = await store.run(lambda connection: walkforwards.JOBS.read_results(connection, run_id))
    assert len(rows) == result["search"]["runs"] == len(kept) + len(second.combos)
    row = await store.run(
        lambda connection: connection.fetchrow("select * from walkforwards where run_id = $1", run_id)
    )
    assert (row["status"], row["progress"], row["tried"], row["engine"]) == ("done", 1.0, len(rows), "reference")


async def test_a_test_that_was_run_is_not_run_again(store: Database, file: Path) -> None:
    whole = await run_stored_walkforward(store, await queued(store, wanted()), first := Watched(), {MARKET: file})
    assert ([job.number for job in first.jobs], len(first.combos)) == ([0, 1, 2], 4)

    # Each set by itself, then the first test; the word to stop comes amid the second.
    run_id = await queued(store, wanted())

    async def stop(given: int) -> None:
        if given == 6:
            await store.run(lambda connection: walkforwards.JOBS.stop(connection, run_id))

    stopped = await run_stored_walkforward(store, run_id, Watched(stop), {MARKET: file})
    assert stopped["status"] == "stopped"
    kept = await store.run(lambda connection: walkforwards.read_tests(connection, run_id))
    assert [row.fold for row in kept] == [0, 1]

    result = await run_stored_walkforward(store, run_id, second := Watched())
    assert [job.number for job in second.jobs] == [2]
    assert {**result, "run_id": ""} == {**whole, "run_id": ""}


async def test_other_candles_than_at_the_start_are_refused(store: Database, tmp_path: Path) -> None:
    path = market_file(tmp_path / "walk.csv", days=8)
    run_id = await queued(store, wanted())

    async def stop(given: int) -> None:
        await store.run(lambda connection: walkforwards.JOBS.stop(connection, run_id))

    await run_stored_walkforward(store, run_id, Watched(stop), {MARKET: path})
    market_file(path, days=8, seed=5)
    with pytest.raises(BadInput, match="the candles, their holes or the market's rules") as caught:
        await run_stored_walkforward(store, run_id, HerePool())
    assert "manta walkforward run" in str(caught.value.fix)


async def test_a_restart_fails_only_those_whose_process_is_silent(store: Database) -> None:
    silent, alive = [await queued(store, wanted()) for _ in range(2)]
    await store.run(lambda connection: walkforwards.JOBS.take(connection, alive, uuid4()))
    await store.run(walkforwards.JOBS.fail_interrupted)
    rows = await store.run(lambda connection: connection.fetch("select run_id, status from walkforwards"))
    assert {row["run_id"]: row["status"] for row in rows} == {silent: "failed", alive: "running"}
