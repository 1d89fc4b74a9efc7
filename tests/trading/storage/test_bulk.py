"""Whole batches of candles are stored as single ones are, and their minutes are accounted for."""

import asyncio

import asyncpg
import numpy as np
import pytest

from tests.trading.series import random_minutes
from tests.trading.storage.conftest import MARKET, MINUTE, START
from trading.candle_columns import CandleColumns, columns_of
from trading.candles import UNIT, Candle, Hole
from trading.storage.accounting import account_between, account_minutes
from trading.storage.bulk import floats_of, store_columns
from trading.storage.candles import read_candles, upsert_candles
from trading.storage.database import connect
from trading.storage.quality import holes_between, record_hole, unaccounted
from trading.storage.revisions import read_revisions
from trading.storage.settings import DatabaseTarget


def minutes(numbers: range | list[int], seed: int = 0) -> list[Candle]:
    made = random_minutes(START, max(numbers) + 1, seed, extras=False)
    return [made[n]._replace(market=MARKET, source="import") for n in numbers]


def columns(numbers: range | list[int], seed: int = 0) -> CandleColumns:
    return columns_of(minutes(numbers, seed))


def hole(first: int, last: int, reason: str, detail: str = "") -> Hole:
    return Hole(MARKET, START + first * MINUTE, START + last * MINUTE, reason, detail)


async def all_holes(connection: asyncpg.Connection) -> list[tuple[int, int, str]]:
    found = await holes_between(connection, MARKET, START - 10**9, START + 10**9)
    return [((h.from_ms - START) // MINUTE, (h.to_ms - START) // MINUTE, h.reason) for h in found]


async def account(connection: asyncpg.Connection, numbers: list[int], first: int, last: int, **more: object) -> None:
    opens = START + np.array(numbers, np.int64) * MINUTE
    await account_minutes(connection, MARKET, opens, START + first * MINUTE, START + last * MINUTE, **more)


async def test_a_batch_is_read_back_as_it_was_given(connection: asyncpg.Connection) -> None:
    given = minutes(range(500))
    with_flow = [
        candle._replace(quote_volume=candle.volume * 7, trade_count=number, taker_buy_volume=candle.volume // 2)
        for number, candle in enumerate(given)
    ]
    told = await store_columns(connection, columns_of(with_flow), "import")

    assert (told.inserted, told.unchanged, told.different, told.fresh) == (500, 0, 0, True)
    assert await read_candles(connection, MARKET, "1m") == with_flow
    assert (await store_columns(connection, columns_of(with_flow), "import"))[:4] == (0, 500, 0, 0)


async def test_a_batch_and_single_candles_store_the_same_floats(connection: asyncpg.Connection) -> None:
    huge = [
        c._replace(quote_volume=c.volume * 10**6 + 3, taker_buy_volume=0, trade_count=1) for c in minutes(range(50))
    ]
    await upsert_candles(connection, [c._replace(source="live") for c in huge])

    assert (await store_columns(connection, columns_of(huge), "import"))[:3] == (0, 50, 0)


def test_integers_beyond_a_float_are_divided_once() -> None:
    units = np.array([1, 2**53 + 1, -(2**60) - 7, 35_192_363_803_910_001], np.int64)
    assert floats_of(units).tolist() == [number / UNIT for number in units.tolist()]


@pytest.mark.covers("S1-9")
async def test_a_stored_candle_that_differs_stays_and_is_told(connection: asyncpg.Connection) -> None:
    await store_columns(connection, columns(range(10)), "import")
    other = columns(range(20), seed=1)
    told = await store_columns(connection, other, "import")

    assert (told.inserted, told.different, told.replaced, told.fresh) == (10, 10, 0, False)
    assert told.examples[0].open_time_ms == START
    assert (await read_candles(connection, MARKET, "1m"))[:10] == minutes(range(10))


async def test_replacing_raises_the_revision_and_keeps_the_old_values(connection: asyncpg.Connection) -> None:
    await store_columns(connection, columns(range(10)), "import")
    told = await store_columns(connection, columns([8, 9, 10], seed=1), "import", replace=True, why="import of x.csv")

    assert (told.inserted, told.different, told.replaced) == (1, 2, 2)
    stored = await read_candles(connection, MARKET, "1m")
    assert [c.revision for c in stored] == [0] * 8 + [1, 1, 0]
    assert stored[9].close == minutes(range(11), seed=1)[9].close
    log = await read_revisions(connection, MARKET)
    assert [(r.open_time_ms, r.revision, r.why) for r in log] == [
        (START + n * MINUTE, 1, "import of x.csv") for n in (8, 9)
    ]
    assert log[0].old["close"] == minutes(range(9))[8].close / UNIT


async def test_two_sessions_storing_the_same_batch_store_it_once(
    connection: asyncpg.Connection, database: DatabaseTarget
) -> None:
    other = await connect(database)
    try:

        async def store(session: asyncpg.Connection) -> int:
            async with session.transaction():
                return (await store_columns(session, columns(range(20_000)), "import")).inserted

        assert sum(await asyncio.gather(store(connection), store(other))) == 20_000
    finally:
        await other.close()


async def test_minutes_that_a_source_passes_over_are_absent(connection: asyncpg.Connection) -> None:
    numbers = [0, 1, 4, 5, 6, 9]
    await store_columns(connection, columns(numbers), "import")
    for _ in range(2):
        await account(connection, numbers, 0, 10, detail="not in x.csv")
        assert await all_holes(connection) == [(2, 4, "absent"), (7, 9, "absent")]
    assert await unaccounted(connection, MARKET) == []


async def test_an_unusable_minute_is_missing_unless_it_is_stored(connection: asyncpg.Connection) -> None:
    numbers = [0, 1, 4]
    await store_columns(connection, columns(numbers), "import")
    await account(connection, numbers, 0, 5, unusable=[START + 3 * MINUTE, START + 4 * MINUTE])
    assert await all_holes(connection) == [(2, 3, "absent"), (3, 4, "missing")]


async def test_minutes_from_a_second_file_take_their_holes_away(connection: asyncpg.Connection) -> None:
    numbers = [0, 1, 8, 9]
    await store_columns(connection, columns(numbers), "import")
    await account(connection, numbers, 0, 10)
    assert await all_holes(connection) == [(2, 8, "absent")]

    await store_columns(connection, columns([3, 4, 7]), "import")
    await account(connection, [3, 4, 7], 3, 8)
    assert await all_holes(connection) == [(2, 3, "absent"), (5, 7, "absent")]
    assert await unaccounted(connection, MARKET) == []


async def test_what_was_missing_is_absent_once_a_source_shows_it(connection: asyncpg.Connection) -> None:
    await record_hole(connection, hole(2, 20, "missing", "unknown"))
    numbers = [3, 4, 7]
    await store_columns(connection, columns(numbers), "import")
    await account(connection, numbers, 3, 8)
    assert await all_holes(connection) == [(2, 3, "missing"), (5, 7, "absent"), (8, 20, "missing")]


async def test_a_file_known_to_lack_rows_leaves_its_minutes_missing(connection: asyncpg.Connection) -> None:
    numbers = [0, 3]
    await store_columns(connection, columns(numbers), "import")
    await account(connection, numbers, 0, 4, reason="missing")
    assert await all_holes(connection) == [(1, 3, "missing")]


@pytest.mark.covers("S1-34")
async def test_between_two_imports_nothing_is_known(connection: asyncpg.Connection) -> None:
    for first in (0, 50, 20):
        await store_columns(connection, columns(range(first, first + 10)), "import")
        await account_between(connection, MARKET, START + first * MINUTE, START + (first + 10) * MINUTE, "between")
        await account(connection, list(range(first, first + 10)), first, first + 10)
    assert await all_holes(connection) == [(10, 20, "missing"), (30, 50, "missing")]
    assert await unaccounted(connection, MARKET) == []
