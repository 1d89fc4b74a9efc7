"""Closed candles: exact to the last unit, idempotent, and never changed except by a repair that is logged (I2)."""

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trading.storage.conftest import MARKET, MINUTE, START
from trading.candles import Candle, Source
from trading.errors import BadInput
from trading.storage.candle_series import read_series
from trading.storage.candles import first_open, last_close, lent_spans, read_candles, read_closed, upsert_candles
from trading.storage.revisions import read_revisions


async def anomalies(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("select * from data_quality where kind = 'anomaly' order by id")


async def test_reads_back_what_was_written_and_repeats_change_nothing(connection, minute) -> None:
    rows = [minute(n, 64_123_45678901 + n) for n in range(7000)]
    assert await upsert_candles(connection, rows) == (7000, 0, 0)
    before = await connection.fetchval("select max(recorded_at) from candles")
    assert await upsert_candles(connection, rows) == (0, 0, 0)
    assert await connection.fetchval("select max(recorded_at) from candles") == before
    assert await read_candles(connection, MARKET, "1m") == rows
    assert await anomalies(connection) == []


units = st.integers(1, 2**26 * 10**8 - 1) | st.integers(2**25 * 10**8, 2**26 * 10**8 - 1)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.tuples(units, units, units, units, units, units | st.none(), units | st.none()))
async def test_every_unit_below_two_to_the_26_survives(connection, values) -> None:
    first, high, low, last, volume, quote, taker = values
    candle = Candle(MARKET, "1m", START, START + MINUTE, first, high, low, last, volume, quote, 3, taker, "rest")
    await connection.execute("delete from candles")
    await upsert_candles(connection, [candle])
    assert await read_candles(connection, MARKET, "1m") == [candle]
    assert await read_series(connection, MARKET, "1m") == [candle]


@pytest.mark.covers("S1-30", "S1-34")
async def test_a_contradiction_keeps_the_old_candle_and_is_noted_once(connection, minute) -> None:
    old, other = minute(0), minute(0, close=100_00000003, source="rest")
    await upsert_candles(connection, [old])
    for _ in range(2):
        assert await upsert_candles(connection, [other, minute(1)]) in {(1, 0, 1), (0, 0, 1)}
    assert (await read_candles(connection, MARKET, "1m"))[0] == old
    (note,) = await anomalies(connection)
    assert (note["reason"], note["resolution"]) == ("revised", "old")
    assert note["detail"]["old"]["close"] == old.close / 1e8
    assert note["detail"]["new"]["close"] == other.close / 1e8


async def test_no_row_of_a_candle_is_locked(connection, minute) -> None:
    """TimescaleDB 2.11 refuses row locks in compressed chunks: whoever changes candles locks the market instead."""
    await upsert_candles(connection, [minute(0), minute(1)])
    async with connection.transaction():
        await upsert_candles(connection, [minute(0, close=100_00000003), minute(1)])
        held = await connection.fetch("select classid, objid from pg_locks where locktype = 'advisory' and granted")
        number = await connection.fetchval("select id from markets")
        assert [tuple(row) for row in held] == [(0x6D63, number)]
    assert await connection.fetchval("select array_agg(xmax::text) from candles") == ["0", "0"]


async def test_repairs_over_years_reach_every_row_and_no_other(connection, minute) -> None:
    rows = [minute(n * 11_000) for n in range(100)]
    await upsert_candles(connection, rows)
    newer = [row._replace(high=row.high + n, revision=1) for n, row in enumerate(rows)]
    assert await upsert_candles(connection, newer[::2]) == (0, 50, 0)
    wanted = [newer[n] if n % 2 == 0 else row for n, row in enumerate(rows)]
    assert await read_candles(connection, MARKET, "1m") == wanted


async def test_a_repair_raises_the_revision_and_logs_both_values(connection, minute) -> None:
    old = minute(0, interval="37m", source="derived", complete=False)
    new = old._replace(high=old.high + 7, complete=True, revision=1)
    await upsert_candles(connection, [old])
    assert await upsert_candles(connection, [new]) == (0, 1, 0)
    assert await upsert_candles(connection, [old]) == (0, 0, 0), "an old repeat does not undo the repair"
    assert await upsert_candles(connection, [new]) == (0, 0, 0)
    assert await read_candles(connection, MARKET, "37m") == [new]
    assert await anomalies(connection) == []
    (change,) = await read_revisions(connection, MARKET)
    assert (change.old["revision"], change.revision, change.why) == (0, 1, "repair")
    assert (change.old["high"], change.new["high"]) == (old.high / 1e8, new.high / 1e8)


async def test_one_batch_may_hold_a_candle_twice(connection, minute) -> None:
    assert await upsert_candles(connection, [minute(0), minute(0), minute(0, revision=1, close=100_00000002)]) == (
        1,
        1,
        0,
    )
    assert [row.revision for row in await read_candles(connection, MARKET, "1m")] == [1]


async def test_what_a_source_does_not_tell_is_no_contradiction(connection, minute) -> None:
    await upsert_candles(connection, [minute(0)])
    silent = minute(0, quote_volume=None, trade_count=None, taker_buy_volume=4, source="import")
    assert await upsert_candles(connection, [silent]) == (0, 0, 0)


async def test_ranges_are_half_open_and_limits_cut_the_right_end(connection, minute) -> None:
    rows = [minute(n) for n in range(10)]
    await upsert_candles(connection, rows)
    at = [row.open_time_ms for row in rows]
    assert await read_candles(connection, MARKET, "1m", from_ms=at[2], to_ms=at[5]) == rows[2:5]
    assert await read_candles(connection, MARKET, "1m", limit=3) == rows[:3]
    assert await read_candles(connection, MARKET, "1m", to_ms=at[8], limit=3, newest=True) == rows[5:8]
    assert await read_closed(connection, MARKET, "1m", at[2], at[5]) == rows[2:5]
    assert await first_open(connection, MARKET) == at[0]
    assert await last_close(connection, MARKET) == at[9] + MINUTE
    assert await last_close(connection, MARKET, "1d") is None


async def test_long_candles_are_found_by_their_close(connection, minute) -> None:
    month = minute(0, interval="1M", close_time_ms=START + 31 * 1440 * MINUTE, source="derived")
    await upsert_candles(connection, [month])
    closes = month.close_time_ms
    assert await read_closed(connection, MARKET, "1M", closes - MINUTE, closes) == [month]
    assert await read_closed(connection, MARKET, "1M", closes, closes + MINUTE) == []


async def test_an_unknown_market_is_named(connection, minute) -> None:
    with pytest.raises(BadInput, match="binance:ETHUSDT is not in the database"):
        await upsert_candles(connection, [minute(0, market="binance:ETHUSDT")])


async def test_lent_minutes_are_found_as_spans_the_newest_first_where_there_are_too_many(connection, minute) -> None:
    lent = {2, 3, 7, 8, 9}
    rows = [minute(n)._replace(origin="binance:BTCUSDT" if n in lent else None) for n in range(12)]
    await upsert_candles(connection, rows)

    async def spans(first: int, limit: int) -> list[tuple[int, int]]:
        found = await lent_spans(connection, MARKET, START + first * MINUTE, limit)
        return [((a - START) // MINUTE, (b - START) // MINUTE) for a, b in found]

    assert await spans(0, 100) == [(2, 4), (7, 10)]
    assert await spans(3, 4) == [(3, 4), (7, 10)]
    assert await spans(0, 2) == [(8, 10)]
    assert await spans(10, 2) == []


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
async def test_a_series_is_what_the_rows_are(connection, minute, data) -> None:
    told = st.fixed_dictionaries(
        {},
        optional={
            "quote_volume": st.none() | units | st.just(2_000_000_000_000_000_000_000),
            "trade_count": st.none() | st.integers(0, 2**40),
            "taker_buy_volume": st.none() | units,
            "source": st.sampled_from(list(Source)),
            "revision": st.integers(0, 3),
            "complete": st.booleans(),
            "origin": st.sampled_from((None, "hyperliquid:BTC")),
        },
    )
    changes = data.draw(st.lists(told, max_size=12))
    await connection.execute("delete from candles")
    await upsert_candles(connection, [minute(n, **change) for n, change in enumerate(changes)])
    first, last = data.draw(st.tuples(*2 * [st.none() | st.integers(-1, 13)]))
    bounds = {
        "from_ms": None if first is None else START + first * MINUTE,
        "to_ms": None if last is None else START + last * MINUTE,
    }
    rows = await read_candles(connection, MARKET, "1m", **bounds)
    assert list(map(repr, await read_series(connection, MARKET, "1m", **bounds))) == list(map(repr, rows))
