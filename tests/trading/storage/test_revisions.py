"""A closed candle changes only by a revision, which is numbered and logged with what was and what is (I2)."""

import asyncpg
import pytest

from tests.trading.storage.conftest import MARKET, MINUTE
from trading.storage.candles import read_candles, upsert_candles
from trading.storage.migrate import known_migrations, migrate
from trading.storage.revisions import read_revisions, revise, revise_all
from trading.storage.settings import DatabaseTarget


async def anomalies(connection: asyncpg.Connection) -> int:
    return await connection.fetchval("select count(*) from data_quality where kind = 'anomaly'")


async def test_a_revision_is_numbered_and_logged_and_a_repeat_is_none(connection, minute) -> None:
    old, new = minute(0), minute(0, close=100_00000003, source="import")
    await upsert_candles(connection, [old])
    assert await revise(connection, new, "import --replace")
    assert not await revise(connection, new, "import --replace")
    assert await read_candles(connection, MARKET, "1m") == [new._replace(revision=1)]
    assert await revise(connection, old, "taken back")
    assert await read_candles(connection, MARKET, "1m") == [old._replace(revision=2)]
    first, second = await read_revisions(connection, MARKET)
    assert (first.interval, first.open_time_ms, first.revision, first.why) == (
        "1m", old.open_time_ms, 1, "import --replace",
    )  # fmt: skip
    assert (first.old["close"], first.new["close"], first.old["source"]) == (old.close / 1e8, new.close / 1e8, "live")
    assert (second.revision, second.old, second.why) == (2, first.new, "taken back")
    assert await anomalies(connection) == 0, "what was wanted is no anomaly"


async def test_an_unknown_candle_is_simply_stored(connection, minute) -> None:
    assert await revise(connection, minute(0), "import")
    assert await read_candles(connection, MARKET, "1m") == [minute(0)]
    assert await read_revisions(connection, MARKET) == []


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"quote_volume": None, "trade_count": None, "source": "import"}, False),
        ({"taker_buy_volume": 5}, True),
        ({"trade_count": 7}, True),
        ({"volume": 1}, True),
        ({"low": 90_00000000}, True),
        ({"complete": False}, True),
        ({"origin": "binance_usdm:BTCUSDT"}, True),
        ({"received_ns": 5, "source": "rest"}, False),
    ],
)
async def test_telling_less_is_no_difference_and_telling_more_is(connection, minute, changes, differs: bool) -> None:
    await upsert_candles(connection, [minute(0)])
    assert await revise(connection, minute(0, **changes), "again") is differs


async def test_only_what_differs_is_revised(connection, minute) -> None:
    rows = [minute(n) for n in range(7_000)]
    await upsert_candles(connection, rows)
    again = [row._replace(high=row.high + 1) if n % 1000 == 0 else row for n, row in enumerate(rows)]
    changed = await revise_all(connection, [*again, minute(7_000)], "import --replace")
    assert [row.open_time_ms for row in changed] == [rows[0].open_time_ms + n * 1000 * MINUTE for n in range(8)]
    assert [row.revision for row in changed] == [1] * 7 + [0]
    since = rows[3000].open_time_ms
    assert len(await read_revisions(connection, MARKET, from_ms=since, to_ms=since + MINUTE)) == 1
    assert await read_revisions(connection, MARKET, interval="5m") == []


async def test_repairs_that_older_versions_noted_elsewhere_are_kept(empty_database: DatabaseTarget) -> None:
    every = known_migrations()
    (new,) = (each for each in every if each.name == "revisions")
    await migrate(empty_database, "venue", migrations=tuple(each for each in every if each.number < new.number))
    connection = await asyncpg.connect(
        host=empty_database.host, port=empty_database.port, database=empty_database.database,
        user=empty_database.user, password=empty_database.password(),
    )  # fmt: skip
    try:
        await connection.execute(
            """
            insert into markets (venue, symbol, kind, base, quote, price_decimals, size_decimals, tick_size, lot_size,
                min_notional) values ('binance', 'BTCUSDT', 'spot', 'BTC', 'USDT', 2, 5, 0.01, 0.00001, 5);
            insert into data_quality (market_id, interval, kind, reason, from_time, to_time, detail, resolution)
            select 1, '37m', 'anomaly', 'revised', at_ms(n * 60000), at_ms(n * 60000 + 60000),
                jsonb_build_object('old', '{"close": 1}'::jsonb, 'new', '{"close": 2, "revision": 1}'::jsonb), r
            from unnest('{1,2}'::int[], '{new,old}'::text[]) as x(n, r)
            """
        )
        await migrate(empty_database, "venue", migrations=tuple(each for each in every if each.number <= new.number))
        kept = await connection.fetch("select interval, revision, old ->> 'close' as was from candle_revisions")
        assert [tuple(row) for row in kept] == [("37m", 1, "1")]
        assert await connection.fetchval("select array_agg(resolution) from data_quality") == ["old"]
    finally:
        await connection.close()
