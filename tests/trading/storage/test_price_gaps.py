"""Table price_gaps: ids in the order of finding, each gap once, and a life that only goes forward."""

import asyncio

import asyncpg

from tests.trading.gaps.reference import MARKET, bar
from trading.candles import Candle
from trading.gaps.detector import GapMode
from trading.gaps.life import Change, Filled, Found, GapBook
from trading.storage.database import Database
from trading.storage.price_gaps import (
    Series,
    StoredGap,
    delete_gaps,
    filled_keys,
    keep_ids_above,
    live_gaps,
    read_gaps,
    store_changes,
)
from trading.storage.settings import DatabaseTarget

SERIES = Series(MARKET, "1h", GapMode.B2DIR)
UNIT = 10**8
# An up gap from 6 to 8, another from 11 to 13, then a fall through both and back.
BARS = [
    bar(n, *(price * UNIT for price in prices))
    for n, prices in enumerate(
        [(5, 6, 4, 5), (5, 9, 5, 9), (9, 10, 8, 10), (10, 11, 9, 11), (11, 14, 11, 14), (14, 15, 13, 15),
         (15, 15, 12, 12), (12, 12, 5, 5), (5, 20, 5, 20)]
    )
]  # fmt: skip


def changes_of(bars: list[Candle], book: GapBook | None = None) -> list[Change]:
    book = book or GapBook()
    return [change for candle in bars for change in book.handle(candle)]


async def test_gaps_get_ids_in_order_and_a_repeat_changes_nothing(connection: asyncpg.Connection) -> None:
    changes = changes_of(BARS)
    first = await store_changes(connection, SERIES, changes)
    assert [gap.id for gap in first.found] == [f"G{n + 1:05}" for n in range(len(first.found))]
    assert [(gap.type, gap.low // UNIT, gap.high // UNIT) for gap in first.found] == [
        (c.zone.type, c.zone.low // UNIT, c.zone.high // UNIT) for c in changes if isinstance(c, Found)
    ]
    assert len(first.found) >= 2
    assert first.filled == first.found
    again = await store_changes(connection, SERIES, changes)
    assert again == ((), (), ())
    stored = await read_gaps(connection)
    assert [gap.id for gap in stored] == [gap.id for gap in first.found]
    assert {gap.status for gap in stored} == {"filled"}
    assert {gap.key for gap in stored} == set(await filled_keys(connection, SERIES, 0))


async def test_a_life_goes_on_from_what_is_stored(connection: asyncpg.Connection) -> None:
    whole = outcome_of(await stored_after(connection, BARS, cut=len(BARS)))
    await delete_gaps(connection, [gap.id for gap in await read_gaps(connection)])
    parts = outcome_of(await stored_after(connection, BARS, cut=7))
    assert [gap[1:] for gap in parts] == [gap[1:] for gap in whole]
    # Ids are not given out a second time.
    assert not {gap[0] for gap in parts} & {gap[0] for gap in whole}


async def test_what_is_news_is_said_once(connection: asyncpg.Connection) -> None:
    await store_changes(connection, SERIES, changes_of(BARS[:6]))
    tail, live = BARS[4:6], await live_gaps(connection, SERIES)
    later = changes_of(BARS[6:], GapBook(tail=tail, live=live))
    news = await store_changes(connection, SERIES, later)
    assert {gap.key for gap in news.filled} == {c.key for c in later if isinstance(c, Filled)}
    assert news.touched
    assert await store_changes(connection, SERIES, later) == ((), (), ())


async def test_holes_are_noted_until_the_end(connection: asyncpg.Connection) -> None:
    bars = [*BARS[:3], bar(5, *(p * UNIT for p in (9, 9, 9, 9))), bar(6, *(p * UNIT for p in (9, 9, 5, 5)))]
    changes = changes_of(bars)
    await store_changes(connection, SERIES, changes)
    await store_changes(connection, SERIES, changes)
    (gap,) = await read_gaps(connection)
    assert gap.detail == {"holes": [[BARS[2].close_time_ms, bars[3].open_time_ms]]}


async def test_two_that_find_the_same_at_once_store_it_once(
    database: DatabaseTarget, connection: asyncpg.Connection
) -> None:
    changes = changes_of(BARS)

    async def store() -> int:
        async with Database(database) as db:
            return len((await db.run(lambda conn: store_changes(conn, SERIES, changes))).found)

    counts = await asyncio.gather(*(store() for _ in range(4)))
    assert sorted(counts)[:3] == [0, 0, 0]
    assert max(counts) > 0
    ids = [gap.id for gap in await read_gaps(connection)]
    assert ids == [f"G{n + 1:05}" for n in range(max(counts))]


async def test_numbers_that_a_file_holds_are_left_out(connection: asyncpg.Connection) -> None:
    await keep_ids_above(connection, 41)
    await keep_ids_above(connection, 7)
    found = (await store_changes(connection, SERIES, changes_of(BARS))).found
    assert found[0].id == "G00042"


async def stored_after(connection: asyncpg.Connection, bars: list[Candle], cut: int) -> list[StoredGap]:
    book = GapBook()
    await store_changes(connection, SERIES, changes_of(bars[:cut], book))
    second = GapBook(
        tail=bars[max(0, cut - 2) : cut],
        live=await live_gaps(connection, SERIES),
        known=await filled_keys(connection, SERIES, 0),
    )
    await store_changes(connection, SERIES, changes_of(bars[cut:], second))
    return await read_gaps(connection)


def outcome_of(gaps: list[StoredGap]) -> list[tuple[object, ...]]:
    return [(g.id, g.key, g.low, g.high, g.status, g.touched_ms, g.closed_ms, g.close_price) for g in gaps]
