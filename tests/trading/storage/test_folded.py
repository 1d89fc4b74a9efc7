"""Which intervals still have the past to be folded into."""

import asyncpg

from tests.trading.storage.conftest import MARKET
from trading.candles import Source
from trading.storage.candles import upsert_candles
from trading.storage.folded import folded_from, note_folded, unfolded


async def test_new_intervals_are_unfolded_and_removed_ones_are_so_again(connection: asyncpg.Connection) -> None:
    await note_folded(connection, MARKET, ["5m", "1h"], 60_000)
    assert await unfolded(connection, MARKET, ["5m", "15m", "1h"]) == ["15m"]
    await note_folded(connection, MARKET, ["5m"], None)
    assert await folded_from(connection, MARKET) == 60_000
    assert await unfolded(connection, MARKET, ["5m", "1h"]) == ["1h"]


async def test_before_that_was_noted_a_derived_candle_tells(connection: asyncpg.Connection, minute) -> None:
    assert await unfolded(connection, MARKET, ["5m", "1h"]) == ["5m", "1h"]
    derived = minute(0, interval="5m", close_time_ms=minute(4).close_time_ms, source=Source.DERIVED.value)
    await upsert_candles(connection, [minute(0), derived])
    assert await unfolded(connection, MARKET, ["5m", "1h"]) == ["1h"]
