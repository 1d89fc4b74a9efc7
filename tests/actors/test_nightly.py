"""The nightly duty: every day that is over is checked once, oldest first, whatever goes wrong meanwhile."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import asyncpg
import pytest
from ray.exceptions import WorkerCrashedError

from actors.nightly import Nightly
from backtest.verdicts import check_and_store
from tests.backtest.lived import FIRST_DAY, SECOND_DAY
from trading.config.model import Notify
from trading.intervals import MINUTE_MS
from trading.nightly import DueDay
from trading.storage.database import Connection, Database
from trading.storage.settings import DatabaseTarget

FIRST, SECOND = DueDay("paper", FIRST_DAY), DueDay("paper", SECOND_DAY)


class Night:
    """A nightly duty over a real database. ``accidents`` happen to the first checks instead of them."""

    def __init__(self, target: DatabaseTarget, accidents: Iterable[str | Exception] = (), at_minutes: int = 5) -> None:
        self.database = Database(target)
        self.asked: list[DueDay] = []
        self._accidents = list(accidents)
        self.duty = Nightly(at_minutes * MINUTE_MS, self.read, self.check)

    async def read(self, query: Callable[[Connection], Awaitable[Any]]) -> Any:
        return await self.database.run(query)

    async def check(self, day: DueDay) -> str:
        self.asked.append(day)
        if self._accidents:
            accident = self._accidents.pop(0)
            if isinstance(accident, Exception):
                raise accident
            return accident
        return (await check_and_store(self.database, day.book, day.day_ms, Notify())).run.status

    async def work(self, times: int = 1) -> list[DueDay]:
        for _ in range(times):
            await self.duty.work()
        await self.database.close()
        return self.asked


@pytest.fixture
async def target(lived: asyncpg.Connection, postgres: Any) -> DatabaseTarget:
    found: DatabaseTarget = postgres.target.with_database(await lived.fetchval("select current_database()"))
    return found


async def statuses(lived: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await lived.fetch("select status from parity_runs order by day")]


async def test_days_that_were_missed_are_checked_oldest_first_and_once(
    lived: asyncpg.Connection, target: DatabaseTarget
) -> None:
    assert await Night(target).work(times=2) == [FIRST, SECOND]
    assert await statuses(lived) == ["identical", "identical"]
    assert await lived.fetchval("select count(*) from outbox") == 2
    assert await Night(target).work() == []


async def test_a_day_waits_for_its_time_of_night(lived: asyncpg.Connection, target: DatabaseTarget) -> None:
    assert await Night(target, at_minutes=6).work() == [FIRST]


async def test_a_supervisor_that_died_in_a_check_leaves_nothing_doubled(
    lived: asyncpg.Connection, target: DatabaseTarget
) -> None:
    """Its successor does not know that the day is being checked, and has it checked again."""
    await Night(target).work()
    await lived.execute("delete from parity_runs where day = (select max(day) from parity_runs)")
    assert await Night(target).work() == [SECOND]
    assert await statuses(lived) == ["identical", "identical"]
    assert await lived.fetchval("select count(*) from outbox") == 2


async def test_a_worker_that_dies_costs_a_try_and_an_absent_database_none(
    lived: asyncpg.Connection, target: DatabaseTarget
) -> None:
    night = Night(target, ["away", WorkerCrashedError(), WorkerCrashedError(), "away", WorkerCrashedError()])
    assert await night.work(times=7) == [*[FIRST] * 5, SECOND]
    assert await statuses(lived) == ["identical"]
    # The next start tries again what this one gave up.
    assert await Night(target).work() == [FIRST]
