"""The request weight that a client allows itself."""

import asyncio

import pytest

from trading.clock import ReplayClock
from trading.errors import VenueRetryable
from trading.venues.adapter import Budget
from trading.venues.limits import WeightLimiter


def limiter(limit: int = 10) -> tuple[WeightLimiter, ReplayClock]:
    clock = ReplayClock()
    return WeightLimiter(Budget(limit, 60.0), clock.monotonic), clock


@pytest.mark.conforms("BN-15")
async def test_weight_comes_back_after_a_minute() -> None:
    limit, clock = limiter()
    await limit.acquire(6)
    clock.advance(30)
    await limit.acquire(4)
    assert limit.used() == 10
    waiting = asyncio.create_task(limit.acquire(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    clock.advance(30)
    await asyncio.wait_for(limit.acquire(6), 60)
    assert limit.used() == 10


async def test_what_others_at_the_same_address_use_counts() -> None:
    limit, _ = limiter()
    await limit.acquire(2)
    limit.observe(9)
    limit.observe(3)
    assert limit.used() == 9


async def test_a_pause_that_the_venue_ordered_is_refused_at_once_and_ends() -> None:
    limit, clock = limiter()
    limit.block(90)
    with pytest.raises(VenueRetryable) as caught:
        await limit.acquire(1)
    assert caught.value.retry_after_s == pytest.approx(90)
    clock.advance(90)
    await asyncio.wait_for(limit.acquire(1), 60)


async def test_the_venues_own_limit_only_lowers() -> None:
    limit, _ = limiter(1200)
    limit.lower(6000)
    assert limit.limit == 1200
    limit.lower(600)
    assert limit.limit == 600


async def test_one_request_heavier_than_the_limit_still_goes_out_alone() -> None:
    limit, _ = limiter(5)
    await asyncio.wait_for(limit.acquire(20), 60)
