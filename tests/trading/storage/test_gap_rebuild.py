"""A rebuild shows what the stored candles say otherwise than the record, and makes the record say it."""

from pathlib import Path

import asyncpg

from tests.trading.gaps.reference import HOUR_MS, MARKET, bar, lives
from tests.trading.gaps.test_texts import GAP
from trading.candles import Candle
from trading.gaps.detector import GapMode
from trading.gaps.gaps_file import merge_gaps_file, read_gaps_file, replace_rows, row_of
from trading.gaps.life import GapBook
from trading.gaps.passes import Rules
from trading.storage.candles import upsert_candles
from trading.storage.gap_rebuild import apply_difference, find_difference
from trading.storage.price_gaps import Series, read_gaps, store_changes

SERIES = Series(MARKET, "1h", GapMode.B2DIR)
UNIT = 10**8
PRICES = [(5, 6, 4, 5), (5, 9, 5, 9), (9, 10, 8, 10), (10, 11, 9, 11), (11, 14, 11, 14), (14, 15, 13, 15), (9, 9, 6, 9)]
BARS = [bar(n, *(price * UNIT for price in prices)) for n, prices in enumerate(PRICES)]


def moved(bars: list[Candle], hours: int) -> list[Candle]:
    return [
        candle._replace(
            open_time_ms=candle.open_time_ms + hours * HOUR_MS, close_time_ms=candle.close_time_ms + hours * HOUR_MS
        )
        for candle in bars
    ]


async def recorded(connection: asyncpg.Connection) -> dict[tuple[int, str], tuple[object, ...]]:
    return {
        (gap.start_ms, gap.type): (gap.low, gap.high, gap.touched_ms, gap.closed_ms, gap.close_price)
        for gap in await read_gaps(connection)
    }


async def test_what_differs_is_shown_and_then_made_right(connection: asyncpg.Connection) -> None:
    await upsert_candles(connection, BARS)
    # One gap whose end was missed, one that the candles do not have, one whose candles are not stored.
    for first, bars in ((0, BARS[:3]), (4, BARS[:3]), (100, BARS[:3])):
        book = GapBook()
        await store_changes(connection, SERIES, [c for candle in moved(bars, first) for c in book.handle(candle)])
    before = await read_gaps(connection)
    difference = await find_difference(connection, SERIES, Rules(), None)
    assert await read_gaps(connection) == before
    assert [gap.start_ms for gap in difference.removed] == [6 * HOUR_MS]
    assert [old.id for old, _ in difference.changed] == ["G00001"]
    assert difference.added
    await apply_difference(connection, difference)
    far = {key: value for key, value in (await recorded(connection)).items() if key[0] == 102 * HOUR_MS}
    assert len(far) == 1
    assert await recorded(connection) == lives(BARS, "b2dir") | far
    again = await find_difference(connection, SERIES, Rules(), None)
    assert (again.added, again.removed, again.changed) == ((), (), ())
    assert next(gap.id for gap in await read_gaps(connection)) == "G00001"


def test_the_file_is_copied_before_a_rebuild_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    stays, goes = row_of(GAP), row_of(GAP)._replace(id="G00002", start_ms=0)
    merge_gaps_file(path, [stays, goes])
    old = path.read_bytes()
    opened = stays._replace(closed=False, closed_ms=None, close_price=None)
    backup = replace_rows(path, [opened], [goes])
    assert backup is not None
    assert backup.read_bytes() == old
    assert read_gaps_file(path) == [opened]
    assert replace_rows(path, [opened], [goes]) is None


async def test_an_interval_that_is_not_kept_is_made_of_minutes(connection: asyncpg.Connection) -> None:
    hours = [[bar(60 * n + m, *(price * UNIT for price in prices), interval="1m") for m in range(60)]
             for n, prices in enumerate(PRICES)]  # fmt: skip
    # The first hour lacks its beginning: it is no candle.
    await upsert_candles(connection, [minute for hour in hours for minute in hour][7:])
    difference = await find_difference(connection, SERIES, Rules(), None)
    assert {(gap.start_ms, gap.type) for gap in difference.added} == set(lives(BARS[1:], "b2dir"))
    assert {gap.source_interval for gap in difference.added} == {"1m"}
