"""One budget of request weight for all processes at one address."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace

import pytest

from tests.trading.venues.conformance.suite import SYMBOLS, playing, sample
from tests.trading.venues.simulator.rig import Rig
from trading.clock import ReplayClock
from trading.config.model import Config
from trading.errors import VenueRetryable
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget
from trading.venues.adapter import Budget
from trading.venues.cluster_limits import ClusterLimiter, ClusterLimits
from trading.venues.gateway import Gateway

LONG = Budget(100, 60.0)


@asynccontextmanager
async def limiter(
    target: DatabaseTarget, budget: Budget = LONG, egress: str = "shared"
) -> AsyncIterator[ClusterLimiter]:
    """A limiter as one process has it."""
    async with Database(target, command_timeout_s=10) as database:
        found = ClusterLimiter(database, "binance", egress, budget, time.monotonic)
        yield found
        await found.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def refused(limit: ClusterLimiter) -> bool:
    try:
        await limit.acquire(1)
    except VenueRetryable:
        return True
    return False


@pytest.mark.parametrize(("budget", "seconds"), [(Budget(300, 60.0), 2.0), (Budget(12, 1.0), 4.0)])
async def test_two_processes_never_take_more_than_the_limit_in_any_window(
    database: DatabaseTarget, budget: Budget, seconds: float
) -> None:
    given = json.dumps({"target": asdict(database), "budget": budget, "seconds": seconds})

    async def ready() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.trading.venues.limiter_process", given,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    async def run(process: asyncio.subprocess.Process) -> list[tuple[float, int]]:
        output, _ = await process.communicate(b"go\n")
        assert process.returncode == 0
        return [(at, weight) for at, weight in json.loads(output)]

    processes = await asyncio.gather(ready(), ready())
    each = await asyncio.gather(*map(run, processes))
    assert all(each), "both get their part"
    taken = sorted(each[0] + each[1])
    for start, _ in taken:
        assert sum(weight for at, weight in taken if start <= at < start + budget.window_s) <= budget.weight
    if budget.window_s > seconds:
        # Nothing of the limit is wasted but the leases that both still hold.
        assert sum(weight for _, weight in taken) >= 0.85 * budget.weight
    else:
        assert sum(weight for _, weight in taken) >= 2 * budget.weight


async def test_a_ban_that_one_process_meets_stops_the_other(database: DatabaseTarget) -> None:
    async with limiter(database) as one, limiter(database) as other:
        await one.acquire(1)
        await other.acquire(1)
        one.block(90)
        await until(lambda: refused(other))
        with pytest.raises(VenueRetryable) as caught:
            await other.acquire(1)
        assert 0 < (caught.value.retry_after_s or 0) <= 90
        with pytest.raises(VenueRetryable):
            await one.acquire(1)


@asynccontextmanager
async def process(rig: Rig, target: DatabaseTarget, egress: str) -> AsyncIterator[Gateway]:
    """The way of one process to the venue that ``rig`` plays."""
    venue = rig.simulator.dialect.venue
    urls = {"rest_url": rig.simulator.rest_url, "stream_url": rig.simulator.stream_url}
    config = Config.model_validate({"venues": {"egress": egress, venue: urls}})
    async with (
        ClusterLimits(config, target) as limits,
        Gateway(venue, config.venues.of(venue), origin="simulator", limiter=limits.of(venue)) as opened,
    ):
        yield opened


@pytest.mark.parametrize(
    ("venue", "status", "retry_after", "pause_s"),
    [
        ("binance", 429, 45, 45),
        ("binance", 418, 180, 180),
        ("binance_usdm", 418, 180, 180),
        ("hyperliquid", 429, None, 10),
        ("pionex", 429, None, 60),
        ("pionex", 429, 5, 60),
    ],
)
async def test_what_a_venue_says_to_one_process_keeps_all_at_this_address_away(
    database: DatabaseTarget, venue: str, status: int, retry_after: int | None, pause_s: int
) -> None:
    async with (
        playing(venue, sample(venue, 60)) as rig,
        process(rig, database, "one") as banned,
        process(rig, database, "one") as other,
        process(rig, database, "two") as elsewhere,
    ):
        await other.history.time()
        asked = other.history.requests
        await rig.control.fault("rest_status", status=status, times=1, retry_after=retry_after)
        with pytest.raises(VenueRetryable) as caught:
            await banned.history.market(SYMBOLS[venue])
        assert caught.value.retry_after_s == pause_s

        async def kept_away() -> bool:
            try:
                await other.history.limiter.acquire(1)
            except VenueRetryable as error:
                return 0 < (error.retry_after_s or 0) <= pause_s
            return False

        await until(kept_away)
        with pytest.raises(VenueRetryable):
            await other.history.time()
        assert other.history.requests == asked
        await elsewhere.history.time()


async def test_of_a_short_window_a_ban_holds_from_the_next_request_on(database: DatabaseTarget) -> None:
    async with limiter(database, Budget(8, 1.0)) as one, limiter(database, Budget(8, 1.0)) as other:
        await other.acquire(1)
        one.block(60)
        await one.close()
        with pytest.raises(VenueRetryable):
            await other.acquire(1)


async def test_another_address_has_a_budget_of_its_own(database: DatabaseTarget) -> None:
    async with limiter(database) as one, limiter(database, egress="second") as other:
        one.block(90)
        await one.close()
        await other.acquire(100)
        assert other.used() == 100


async def test_what_strangers_at_the_same_address_use_counts_for_all(database: DatabaseTarget) -> None:
    async with limiter(database) as one, limiter(database) as other:
        await one.acquire(1)
        one.observe(97)
        await one.close()
        await asyncio.wait_for(other.acquire(3), 30)
        assert other.used() == 100
        waiting = asyncio.create_task(other.acquire(4))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()


async def test_a_request_heavier_than_the_limit_goes_out_alone(database: DatabaseTarget) -> None:
    async with limiter(database, Budget(5, 1.0)) as one:
        await asyncio.wait_for(one.acquire(20), 60)
        began = time.monotonic()
        await asyncio.wait_for(one.acquire(1), 60)
        assert time.monotonic() - began > 0.8


async def test_while_postgres_is_away_a_process_goes_on_with_a_small_share_and_tells_it_later(
    database: DatabaseTarget,
) -> None:
    clock = ReplayClock()
    async with Database(replace(database, host="/nonexistent")) as away:
        limit = ClusterLimiter(away, "binance", "shared", Budget(80, 60.0), clock.monotonic)
        for _ in range(10):
            await limit.acquire(1)
        waiting = asyncio.create_task(limit.acquire(1))
        await asyncio.sleep(0.1)
        assert not waiting.done(), "an eighth of the limit is all that one process allows itself alone"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        away.target = database
        clock.advance(20)
        await limit.acquire(2)
        assert limit.used() == 10 + 4, "ten alone, and a lease"


def test_a_machine_with_an_address_of_its_own_says_so(
    monkeypatch: pytest.MonkeyPatch, database: DatabaseTarget
) -> None:
    limits = ClusterLimits(Config(), database)
    assert limits.of("binance") is limits.of("binance")
    assert limits.of("binance")._key.egress == "shared"
    monkeypatch.setenv("MANTA__VENUES__EGRESS", "second")
    assert ClusterLimits(Config(), database).of("binance")._key.egress == "second"
