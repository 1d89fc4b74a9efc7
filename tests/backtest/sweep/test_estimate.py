"""How long a sweep takes, from a timed sample: for what, on how many workers, and in words."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backtest.sources import load_file
from backtest.sweep.estimate import Estimate, estimate
from tests.backtest.sweep.world import market_file, wanted
from tests.trading.series import MARKET
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget


@pytest.fixture
async def store(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="test estimate") as opened:
        yield opened


def test_a_length_is_told_as_people_say_it() -> None:
    lengths = [(0.2, "1 s"), (119, "119 s"), (150, "2 min"), (7200, "2 h"), (86_400 * 12.4, "12 days")]
    for seconds, text in lengths:
        assert str(Estimate(seconds, 4, 96)) == f"about {text} on 4 workers (an estimate, from 96 sets)"
    assert str(Estimate(60, 1, 1)).endswith("on 1 worker (an estimate, from 1 set)")


@pytest.mark.parametrize("how", [{}, {"method": "random", "trials": 4}, {"halving": True}], ids=str)
async def test_a_sweep_of_each_kind_is_told_from_a_few_of_its_sets(
    store: Database, tmp_path: Path, how: dict[str, Any]
) -> None:
    request = wanted(**how)
    source = load_file(market_file(tmp_path / "walk.csv"), MARKET, request.backtest)
    told = await estimate(store, request, source, 2)
    assert (told.workers, told.sample) == (2, 3)
    assert told.seconds > 0
    tables = ("sweeps", "sweep_results")
    left = [await store.run(lambda c, name=name: c.fetchval(f"select count(*) from {name}")) for name in tables]  # type: ignore[misc]
    assert left == [0, 0]


async def test_sets_that_the_strategy_does_not_take_are_no_sample(store: Database, tmp_path: Path) -> None:
    # But for the first, every fast average is slower than the slow one.
    request = wanted("sma_cross", grid={"fast": [2, 30, 40, 50], "slow": [20]})
    source = load_file(market_file(tmp_path / "walk.csv"), MARKET, request.backtest)
    assert (await estimate(store, request, source, 1)).sample == 1
