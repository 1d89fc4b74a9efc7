"""The venue's own candles in the database: stored where minutes cannot tell, replaced where they can."""

import asyncpg

from tests.trading.series import at, random_minutes
from tests.trading.storage.conftest import MARKET
from trading.candles import Candle
from trading.fold import fold
from trading.intervals import DAY_MS, HOUR_MS
from trading.storage.candles import read_candles, upsert_candles
from trading.storage.cursors import set_cursors
from trading.storage.natives import give_way, lacking_natives, read_all_natives, read_natives, store_natives
from trading.storage.revisions import read_revisions

MONDAY = at("2025-06-02 00:00")


def native(open_ms: int, price: int = 100, width_ms: int = DAY_MS, interval: str = "1d") -> Candle:
    units = price * 10**8
    return Candle(
        MARKET, interval, open_ms, open_ms + width_ms, units, units, units, units, 10**8, trade_count=3, source="native"
    )


async def lacked(connection: asyncpg.Connection, begins_ms: int = MONDAY + DAY_MS) -> tuple[list[int], int]:
    found = await lacking_natives(
        connection,
        MARKET,
        {"1d": MONDAY - 3 * DAY_MS},
        closed_by_ms=MONDAY + 2 * DAY_MS,
        begins_ms=begins_ms,
        start_ms=MONDAY + 2 * DAY_MS,
    )
    return [(opened - MONDAY) // DAY_MS for opened in found.opens.get("1d", [])], found.begins_ms


async def test_lacking_is_what_is_not_stored_before_the_minutes_begin(connection: asyncpg.Connection) -> None:
    assert await lacked(connection) == ([-3, -2, -1, 0], MONDAY + DAY_MS)
    assert await store_natives(connection, [native(MONDAY - 2 * DAY_MS), native(MONDAY)]) == MONDAY - 2 * DAY_MS
    assert await lacked(connection) == ([-3, -1], MONDAY + DAY_MS)
    # Recorded minutes say better where they begin than anybody's guess.
    begins = MONDAY - HOUR_MS
    await upsert_candles(connection, random_minutes(begins, 3))
    assert await lacked(connection) == ([-3, -1], begins)
    await set_cursors(connection, {f"timeframe:{MARKET}": MONDAY + 10 * DAY_MS})
    assert await lacked(connection) == ([-3, -1], begins), "what closed before the session may come at any time"


async def test_natives_are_marked_and_never_replace_what_minutes_tell(connection: asyncpg.Connection) -> None:
    derived = fold(random_minutes(MONDAY, 2880, extras=False), "1d")
    partial = derived[1]._replace(complete=False)
    await upsert_candles(connection, [derived[0], partial])
    natives = [native(MONDAY - DAY_MS), native(MONDAY), native(MONDAY + DAY_MS)]
    assert await store_natives(connection, natives) == MONDAY - DAY_MS
    stored = [natives[0], derived[0], natives[2]._replace(revision=1)]
    assert await read_candles(connection, MARKET, "1d") == stored
    assert await read_natives(connection, MARKET, "1d") == [stored[0], stored[2]]
    week = native(MONDAY, width_ms=7 * DAY_MS, interval="1w")
    await store_natives(connection, [week])
    assert {candle.interval for candle in await read_all_natives(connection, MARKET, to_ms=MONDAY + DAY_MS)} == {
        "1d",
        "1w",
    }
    assert await store_natives(connection, [*natives, week]) is None, "a repeat is nothing new"
    assert await read_candles(connection, MARKET, "1d") == stored


async def test_minutes_that_cover_a_native_candle_replace_it_and_say_where_it_differed(
    connection: asyncpg.Connection,
) -> None:
    derived = fold(random_minutes(MONDAY, 5 * 1440, extras=False), "1d")
    equal = derived[0]._replace(source="native", trade_count=7)
    other = derived[1]._replace(source="native", high=derived[1].high + 10**8)
    rounded = derived[2]._replace(source="native", volume=derived[2].volume + 1)
    kept = derived[3]._replace(source="native", close=derived[3].low)
    await store_natives(connection, [equal, other, rounded, kept])
    async with connection.transaction():
        took, left = await give_way(connection, [*derived[:3], derived[3]._replace(complete=False), derived[4]])
    assert took == [candle._replace(revision=1) for candle in derived[:3]]
    assert left == [derived[4]], "a partial candle never takes the venue's place"
    stored = await read_candles(connection, MARKET, "1d")
    assert [(c.source, c.revision) for c in stored] == [("derived", 1)] * 3 + [("native", 0)]
    assert [c[4:9] for c in stored] == [c[4:9] for c in (*derived[:3], kept)]
    rows = await connection.fetch("select reason, ms(from_time) as at, interval, detail, resolution from data_quality")
    assert [(row["reason"], row["at"], row["interval"], row["resolution"]) for row in rows] == [
        ("native", derived[1].open_time_ms, "1d", "derived")
    ]
    assert rows[0]["detail"]["native"]["high"] == rows[0]["detail"]["derived"]["high"] + 1
    assert {each.why for each in await read_revisions(connection, MARKET)} == {"minutes cover it"}
