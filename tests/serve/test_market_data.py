"""Candles, features, export: what comes back, in which order, and that pages neither lose nor double rows."""

import csv
import io
import os
from pathlib import Path

import pytest

from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.intervals import MINUTE_MS
from trading.storage.aliases import store_aliases


@pytest.mark.covers("S1-26b")
async def test_candles_are_the_newest_in_time_order_with_exact_numbers(server: Server, records: Records) -> None:
    await records.candles(150)
    await records.connection.execute(
        "update candles set close = 104000.12345678 where open_time = at_ms($1)", START_MS + 149 * MINUTE_MS
    )
    answer = await server.get("/api/v1/candles", symbol="BTC", interval="1m")
    assert (answer["market"], answer["interval"], len(answer["items"])) == (MARKET, "1m", 100)
    times = [candle["open_time"] for candle in answer["items"]]
    assert times == [START_MS + n * MINUTE_MS for n in range(50, 150)]
    assert answer["items"][-1]["close"] == 104000.12345678
    assert answer["items"][-1]["close_time"] == START_MS + 150 * MINUTE_MS


@pytest.mark.covers("S1-26c")
async def test_latest_candle(server: Server, records: Records) -> None:
    status, problem = await server.refused("/api/v1/candles/latest", market=MARKET)
    assert (status, problem["field"]) == (404, "interval")
    await records.candles(3)
    assert (await server.get("/api/v1/candles/latest", market=MARKET))["open_time"] == START_MS + 2 * MINUTE_MS


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC_USDT", "BTC/USDT", "btc-usdt", "BTC", MARKET])
async def test_a_symbol_may_be_written_in_many_ways(server: Server, records: Records, symbol: str) -> None:
    await records.candles(1)
    assert (await server.get("/api/v1/candles", symbol=symbol))["market"] == MARKET


async def test_times_are_milliseconds_or_iso(server: Server, records: Records) -> None:
    await records.candles(120)
    ranges = [
        {"from": START_MS + 60 * MINUTE_MS, "to": START_MS + 70 * MINUTE_MS},
        {"from": "2025-06-01T01:00:00Z", "to": "2025-06-01T01:10"},
        {"from": "2025-06-01T03:00:00+02:00", "to": "2025-06-01 01:10:00"},
    ]
    answers = [await server.get("/api/v1/candles", symbol="BTC", **span) for span in ranges]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]["items"]) == 10


@pytest.mark.covers("S1-26b")
@pytest.mark.parametrize("forward", [True, False])
async def test_pages_neither_lose_nor_double_while_rows_arrive(server: Server, records: Records, forward: bool) -> None:
    await records.candles(200, first=50)
    query: dict[str, object] = {"symbol": "BTC", "limit": 30} | ({"from": START_MS} if forward else {})
    seen: list[int] = []
    arrived = 250
    while True:
        answer = await server.get("/api/v1/candles", **query)
        page = [candle["open_time"] for candle in answer["items"]]
        assert page == sorted(page)
        seen += page
        if answer["next_cursor"] is None:
            break
        await records.candles(7, first=arrived)
        arrived += 7
        query["cursor"] = answer["next_cursor"]
    assert len(seen) == len(set(seen))
    assert {START_MS + n * MINUTE_MS for n in range(50, 250)} <= set(seen)


async def test_a_cursor_works_only_with_its_own_filters(server: Server, records: Records) -> None:
    await records.candles(20)
    cursor = (await server.get("/api/v1/candles", symbol="BTC", limit=5))["next_cursor"]
    for query in (
        {"interval": "37m", "cursor": cursor},
        {"cursor": "AAAA"},
        {"cursor": "!"},
        {"from": 0, "cursor": cursor},
    ):
        status, problem = await server.refused("/api/v1/candles", symbol="BTC", **query)
        assert (status, problem["field"]) == (422, "cursor")


@pytest.mark.covers("S1-26d")
async def test_features_and_their_old_name(server: Server, records: Records) -> None:
    await records.candles(130)
    await records.averages()
    query = {"symbol": "BTC", "interval": "1m", "limit": 5000}
    answer = await server.get("/api/v1/features", **query)
    assert len(answer["items"]) == (130 - 43) + (130 - 124)
    assert answer["items"][-1]["params"] == {"period": 44}
    assert await server.get("/api/v1/indicators", **query) == answer
    only = await server.get("/api/v1/features", **query, name="ma125")
    assert {item["name"] for item in only["items"]} == {"ma125"}


@pytest.mark.covers("S1-27e", "S1-28")
async def test_csv_holds_every_candle_of_the_range(server: Server, records: Records) -> None:
    await records.candles(5_100)
    async with server.client.get(
        f"{server.url}/api/v1/export/csv", params={"symbol": "BTC", "from": START_MS}
    ) as response:
        assert response.status == 200
        assert response.content_type == "text/csv"
        assert 'filename="binance_btcusdt_1m.csv"' in response.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(await response.text())))
    assert [int(row["open_time"]) for row in rows] == [START_MS + n * MINUTE_MS for n in range(5_100)]
    latest = await server.get("/api/v1/candles/latest", symbol="BTC")
    assert float(rows[-1]["close"]) == latest["close"]
    assert int(rows[-1]["close_time"]) == latest["close_time"] - 1


async def test_the_forming_candle_holds_its_closed_minutes(server: Server, records: Records) -> None:
    await records.candles(45)
    await records.candles(1, interval="37m")
    bare = await server.get("/api/v1/candles", symbol="BTC", interval="37m", forming=1)
    # A 37m candle opens 40 minutes after the first record, so five of its minutes are closed.
    opened = bare["forming"]["open_time"]
    assert opened % (37 * MINUTE_MS) == 0
    assert bare["forming"]["closed"] is False
    minutes = (await server.get("/api/v1/candles", symbol="BTC", **{"from": opened}))["items"]
    assert bare["forming"]["high"] == max(minute["high"] for minute in minutes)
    assert bare["forming"]["close"] == minutes[-1]["close"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"interval": "7x"}, "interval"),
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"from": "yesterday"}, "from"),
        ({"to": "-5"}, "to"),
        ({"from": 2_000_000_000_000, "to": 1_000_000_000_000}, "from"),
        ({"symbol": ""}, "market"),
    ],
)
async def test_bad_input_names_the_field(server: Server, query: dict[str, object], field: str) -> None:
    status, problem = await server.refused("/api/v1/candles", **({"symbol": "BTC"} | query))
    assert (status, problem["status"], problem["field"]) == (422, 422, field)
    assert problem["detail"]


async def test_an_unknown_symbol_lists_the_known_ones(server: Server) -> None:
    status, problem = await server.refused("/api/v1/candles", symbol="DOGE")
    assert (status, problem["field"]) == (404, "symbol")
    assert "binance:BTCUSDT" in problem["fix"]
    assert "Did you mean" not in problem["fix"]
    for typed in ({"market": "binance:BTCUDST"}, {"symbol": "BTC/UDST"}):
        status, problem = await server.refused("/api/v1/candles", **typed)
        assert (status, problem["fix"].partition("?")[0]) == (404, "Did you mean binance:BTCUSDT, binance:ETHUSDT")


@pytest.mark.parametrize(
    "query",
    [
        {"market": "hyperliquid:cbBTC-PERP"},
        {"symbol": "cbBTC-PERP"},
        {"symbol": "CBBTC/PERP"},
        {"market": "hyperliquid:cbBTC"},
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/candles", "/api/v1/export/csv"])
async def test_a_name_that_means_another_market_is_answered_with_a_warning(
    server: Server, records: Records, query: dict[str, str], path: str
) -> None:
    """As ``manta up`` resolved what the configuration says; and never silently."""
    meant = {"hyperliquid:cbBTC-PERP": MARKET, "hyperliquid:cbBTC": MARKET}
    await store_aliases(records.connection, meant)
    await records.candles(2)
    async with server.client.get(server.url + path, params=query | {"interval": "1m"}) as response:
        assert (response.status, len(await response.read()) > 100) == (200, True)
        assert response.headers["Warning"].startswith('299 - "hyperliquid:cbBTC')
        assert response.headers["Warning"].endswith(f'means {MARKET}"')
    async with server.client.get(server.url + path, params={"market": MARKET, "interval": "1m"}) as response:
        assert "Warning" not in response.headers
    await store_aliases(records.connection, {})
    assert (await server.refused(path, **query, interval="1m"))[0] == 404


async def test_a_long_export_takes_no_more_memory_than_a_short_one(server: Server, records: Records) -> None:
    """400,000 rows, 34 MB of text, read as fast as they come: what is held at a time is a page of them."""
    count = 400_000
    await records.connection.execute(
        "insert into candles (market_id, interval, open_time, close_time, open, high, low, close, volume, source)"
        " select $1, '1m', t, t + interval '1 minute', 104000.125, 104000.25, 103999.75, 104000.5, 1.5, 'import'"
        " from generate_series(at_ms($2), at_ms($2) + ($3 - 1) * interval '1 minute', interval '1 minute') t",
        records.ids[MARKET],
        START_MS,
        count,
    )
    rows = size = most = 0
    async with server.client.get(f"{server.url}/api/v1/export/csv", params={"symbol": "BTC", "to": START_MS}) as warm:
        await warm.read()
    before = resident_bytes()
    async with server.client.get(f"{server.url}/api/v1/export/csv", params={"symbol": "BTC"}) as response:
        async for chunk in response.content.iter_any():
            rows += chunk.count(b"\n")
            size += len(chunk)
            most = max(most, resident_bytes() - before)
    assert rows == count + 1
    assert size > 30_000_000
    assert most < 15_000_000


def resident_bytes() -> int:
    """Memory of this process, where server and client run together."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
