"""What was told of a market's freshness is there for who decides, and for who starts again."""

import asyncpg

from tests.trading.storage.conftest import MARKET, START
from trading.freshness import Standing, Turn
from trading.storage.condition import read_condition
from trading.storage.freshness import note_turns, read_freshness, stale_markets


async def test_the_last_turn_counts(connection: asyncpg.Connection) -> None:
    assert (await read_freshness(connection), await stale_markets(connection)) == ({}, {})
    await note_turns(connection, [Turn(MARKET, True, "no closed minute for 2 min", START)])
    assert await stale_markets(connection) == {MARKET: "no closed minute for 2 min"}
    [market] = (await read_condition(connection, [MARKET])).markets
    assert (market.stale, market.stale_since_ms) == ("no closed minute for 2 min", START)
    await note_turns(connection, [Turn(MARKET, False, "was stale for 5 min", START + 300_000)])
    assert await stale_markets(connection) == {}
    assert await read_freshness(connection) == {MARKET: Standing(False, "was stale for 5 min", START + 300_000)}
    [market] = (await read_condition(connection, [MARKET])).markets
    assert (market.stale, market.stale_since_ms) == ("", None)
