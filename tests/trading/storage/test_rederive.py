"""Derived candles follow their minutes, whenever those change or come: extended, revised, lent and given back."""

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trading.series import Item, at, histories, random_minutes
from tests.trading.storage.conftest import MARKET, MINUTE
from trading.candles import Candle, Hole, HoleReason
from trading.events import Heal
from trading.fold import fold
from trading.intervals import CANONICAL, DAY_MS, HOUR_MS
from trading.storage.candles import first_open, read_candles, upsert_candles
from trading.storage.cursors import set_cursors
from trading.storage.folded import folded_from, note_folded
from trading.storage.heals import take_heal
from trading.storage.quality import record_hole
from trading.storage.rebuilds import pending_rebuilds
from trading.storage.rederive import fold_earlier, rederive, store_derived
from trading.storage.revisions import read_revisions, revise_all

WIDER = CANONICAL[1:]
START = at("2024-12-30 21:11")


async def store(connection: asyncpg.Connection, items: list[Item]) -> None:
    await upsert_candles(connection, [item for item in items if isinstance(item, Candle)])
    for item in items:
        if isinstance(item, Hole):
            await record_hole(connection, item)


async def live(connection: asyncpg.Connection, items: list[Item], reached: int) -> None:
    """``items`` recorded and folded as they would be by a timeframe that came to ``reached``."""
    await store(connection, items)
    minutes = [item for item in items if isinstance(item, Candle)]
    holes = [item for item in items if isinstance(item, Hole)]
    for interval in WIDER:
        await upsert_candles(connection, fold(minutes, interval, holes, end_ms=reached))
    begin = min(item.open_time_ms if isinstance(item, Candle) else item.from_ms for item in items)
    await note_folded(connection, MARKET, WIDER, begin)
    await set_cursors(connection, {f"timeframe:{MARKET}": reached, f"brain:{MARKET}": reached})


def heal(candles: list[Candle], why: str = "") -> Heal:
    return Heal(MARKET, candles[0].open_time_ms, candles[-1].close_time_ms, tuple(candles), (), why)


async def derived(connection: asyncpg.Connection, interval: str) -> list[Candle]:
    return [candle._replace(revision=0) for candle in await read_candles(connection, MARKET, interval)]


@pytest.mark.covers("S1-11", "S1-12", "S1-13")
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(history=histories(longest=1440), share=st.floats(0.05, 0.95))
async def test_history_that_is_extended_gives_the_candles_of_the_whole(connection, history, share: float) -> None:
    await connection.execute("truncate candles, data_quality, candle_revisions, folded_intervals, cursors, rebuilds")
    cut = int(len(history) * share)
    minutes = [item for item in history if isinstance(item, Candle)]
    later = [item for item in history[cut:] if isinstance(item, Candle)]
    if not later or len(later) == len(minutes):
        return
    reached = minutes[-1].close_time_ms
    await live(connection, history[history.index(later[0]) :], reached)
    await store(connection, history)
    span = await fold_earlier(connection, MARKET, WIDER)
    assert span == (minutes[0].open_time_ms, later[0].open_time_ms)
    assert await fold_earlier(connection, MARKET, WIDER) is None
    assert await folded_from(connection, MARKET) == await first_open(connection, MARKET)
    holes = [item for item in history if isinstance(item, Hole)]
    for interval in WIDER:
        whole = fold(minutes, interval, holes, start_ms=minutes[0].open_time_ms, end_ms=reached)
        assert await derived(connection, interval) == whole, interval
    assert await pending_rebuilds(connection, MARKET) == [span]


async def test_a_revised_minute_revises_what_was_made_of_it_and_nothing_else(connection) -> None:
    minutes = random_minutes(START, 5 * 1440)
    reached = minutes[-1].close_time_ms
    await live(connection, list(minutes), reached)
    old = minutes[2000]
    new = old._replace(high=old.high * 2)
    await revise_all(connection, [new], "import --replace")
    count = await rederive(
        connection, MARKET, WIDER, new.open_time_ms, new.close_time_ms, "import --replace"
    )  # fmt: skip
    minutes[2000] = new
    for interval in WIDER:
        assert await derived(connection, interval) == fold(minutes, interval)
    logged = await read_revisions(connection, MARKET)
    assert len(logged) == count + 1
    assert {(each.revision, each.why) for each in logged} == {(1, "import --replace")}
    assert all(each.new["high"] == new.high / 1e8 != each.old["high"] for each in logged)
    assert await pending_rebuilds(connection, MARKET) == [(new.open_time_ms, new.close_time_ms)]


async def test_what_a_running_timeframe_has_not_closed_is_left_to_it(connection) -> None:
    minutes = random_minutes(at("2025-01-01 00:00"), 3 * 1440)
    reached = at("2025-01-03 12:00")
    await store(connection, list(minutes))
    await set_cursors(connection, {f"timeframe:{MARKET}": reached})
    await rederive(connection, MARKET, WIDER, minutes[0].open_time_ms, minutes[-1].close_time_ms, "import")
    assert [c.close_time_ms for c in await read_candles(connection, MARKET, "1d")] == [
        at("2025-01-02 00:00"), at("2025-01-03 00:00"),
    ]  # fmt: skip
    assert (await read_candles(connection, MARKET, "12h"))[-1].close_time_ms == reached
    assert await pending_rebuilds(connection, MARKET) == [], "nobody made features of it yet"


async def test_without_minutes_there_is_nothing_to_derive(connection) -> None:
    assert await rederive(connection, MARKET, WIDER, 0, DAY_MS, "import") == 0
    assert await fold_earlier(connection, MARKET, WIDER) is None


async def test_a_complete_derived_candle_comes_before_the_venues_own_and_that_before_a_partial_one(connection) -> None:
    day = fold(random_minutes(at("2025-01-01 00:00"), 1440, extras=False), "1d")[0]
    own = day._replace(high=day.high + 5, source="native")
    await upsert_candles(connection, [own])
    assert await store_derived(connection, [day._replace(complete=False)], "healed") == []
    assert await read_candles(connection, MARKET, "1d") == [own]
    assert len(await store_derived(connection, [day], "healed")) == 1
    assert await read_candles(connection, MARKET, "1d") == [day._replace(revision=1)]


@pytest.mark.covers("S1-30")
async def test_the_venues_own_minute_takes_the_place_of_a_lent_one(connection) -> None:
    own = random_minutes(START, 5, extras=False)
    lent = [minute._replace(close=minute.low, origin="binance_usdm:BTCUSDT") for minute in own[1:3]]
    await upsert_candles(connection, [own[0], *lent, own[3]._replace(volume=1)])
    await take_heal(connection, heal(own[1:]), WIDER)
    assert await read_candles(connection, MARKET, "1m") == [
        own[0], own[1]._replace(revision=1), own[2]._replace(revision=1), own[3]._replace(volume=1), own[4],
    ]  # fmt: skip
    logged = await read_revisions(connection, MARKET)
    assert [(each.old["origin"], each.new["origin"]) for each in logged] == [("binance_usdm:BTCUSDT", None)] * 2
    await take_heal(connection, heal([lent[0]]), WIDER)
    assert (await read_candles(connection, MARKET, "1m"))[1].origin is None, "never the other way round"


async def test_what_rest_tells_otherwise_than_the_stream_revises_the_minute_and_all_that_was_made_of_it(
    connection,
) -> None:
    minutes = random_minutes(START, 2 * 1440)
    told = [*minutes[:700], minutes[700]._replace(close=minutes[700].low, volume=0), *minutes[701:]]
    reached = minutes[-1].close_time_ms
    await live(connection, list(told), reached)
    right = [minute._replace(source="rest") for minute in minutes[699:702]]
    for _ in range(2):
        await take_heal(connection, heal(right, "REST tells it otherwise"), WIDER)
    assert [each.revision for each in await read_candles(connection, MARKET, "1m") if each.revision] == [1]
    for interval in WIDER:
        assert await derived(connection, interval) == fold(minutes, interval)
    logged = await read_revisions(connection, MARKET)
    assert {(each.revision, each.why) for each in logged} == {(1, "REST tells it otherwise")}
    assert [each.new["source"] for each in logged if each.interval == "1m"] == ["rest"]
    assert await pending_rebuilds(connection, MARKET) == [(right[1].open_time_ms, right[1].close_time_ms)]


async def test_a_candle_over_a_missing_minute_is_made_whole(connection) -> None:
    minutes = random_minutes(at("2025-01-01 00:00"), 600)
    gone = Hole(MARKET, minutes[100].open_time_ms, minutes[100].close_time_ms, HoleReason.MISSING.value)
    reached = minutes[-1].close_time_ms
    await live(connection, [*minutes[:100], gone, *minutes[101:]], reached)
    assert not (await read_candles(connection, MARKET, "1h"))[1].complete
    await upsert_candles(connection, [minutes[100]])
    await connection.execute("update data_quality set resolved = true, resolution = 'healed'")
    await rederive(connection, MARKET, ("1h",), gone.from_ms, gone.to_ms, "import")
    healed = await read_candles(connection, MARKET, "1h")
    assert [candle.revision for candle in healed] == [0, 1, *[0] * 8]
    assert all(candle.complete for candle in healed)
    assert healed[1].close_time_ms - healed[1].open_time_ms == HOUR_MS
    assert gone.to_ms - gone.from_ms == MINUTE
