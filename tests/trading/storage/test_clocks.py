"""The venue's time comes back as the recorder knew it, with the clocks of its host."""

import asyncpg

from trading.clock import HostTime, SystemClock, TimeSample, VenueClock
from trading.storage.clocks import note_clock, read_clock


async def test_the_newest_pair_of_a_venue_is_kept(connection: asyncpg.Connection) -> None:
    assert await read_clock(connection, "binance") is None
    first = TimeSample(1_752_624_000_123, HostTime(2**62, 1_752_624_001_000_000_000, "boot"))
    await note_clock(connection, "binance", first)
    await note_clock(connection, "elsewhere", first._replace(venue_ms=1))
    assert await read_clock(connection, "binance") == first
    later = first._replace(venue_ms=1_752_624_060_123)
    await note_clock(connection, "binance", later)
    assert await read_clock(connection, "binance") == later


async def test_another_process_of_this_host_goes_on_from_it(connection: asyncpg.Connection) -> None:
    now = SystemClock().now()
    await note_clock(
        connection, "binance", TimeSample(1_000_000, now._replace(steady_ns=now.steady_ns - 5_000_000_000))
    )
    clock = VenueClock()
    clock.observe(await read_clock(connection, "binance"))
    assert 1_005_000 <= clock.now_ms(0) < 1_065_000
