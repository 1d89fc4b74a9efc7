"""The data itself over the API: markets, holes, anomalies, and how complete each month and day is."""

from itertools import pairwise
from typing import Any

import pytest

from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.freshness import Turn
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.freshness import note_turns

ETH = "binance:ETHUSDT"
MIDNIGHT_1_JUNE_MS = START_MS


async def thinned(records: Records, count: int, gone: set[int]) -> None:
    """``count`` minutes from START_MS on without those that are ``gone``."""
    await records.candles(count)
    await records.connection.execute(
        "delete from candles where interval = '1m' and open_time = any($1::timestamptz[])",
        await records.connection.fetchval(
            "select array_agg(at_ms($1 + n * 60000)) from unnest($2::bigint[]) n", START_MS, list(gone)
        ),
    )


async def test_a_market_says_what_it_is_how_fresh_and_how_complete(server: Server, records: Records) -> None:
    await records.origin("simulator")
    await thinned(records, 3_000, {2_000, 2_001, 2_002, 2_500})
    await records.hole(2_000, 3, "absent", resolved=True)
    await records.connection.execute("update data_quality set resolution = 'absent'")
    await records.connection.execute(
        "update candles set source = 'rest' where open_time >= at_ms($1)", START_MS + 2_900 * MINUTE_MS
    )
    await records.candles(4, interval="37m")
    btc, eth = (await server.get("/api/v1/markets"))["items"]
    assert (btc["market"], btc["base"], btc["quote"], btc["tick_size"], btc["live"]) == (
        MARKET, "BTC", "USDT", "0.01", True,
    )  # fmt: skip
    assert [series["interval"] for series in btc["series"]] == ["1m", "37m"]
    assert btc["series"][0] == {
        "interval": "1m", "first_open": START_MS, "last_close": START_MS + 3_000 * MINUTE_MS,
    }  # fmt: skip
    day = btc["last_day"]
    assert (day["expected"], day["present"], day["absent"], day["missing"]) == (1_440, 1_436, 3, 1)
    assert day["completeness"] == pytest.approx(1_439 / 1_440, abs=1e-6)
    assert day["sources"] == {"live": 1_336, "rest": 100}
    assert (eth["market"], eth["series"], eth["last_day"]) == (ETH, [], None)

    assert (btc["stale"], btc["freshness_reason"]) == (False, None)
    await note_turns(records.connection, [Turn(MARKET, True, "no closed minute for 2 min", START_MS)])
    btc = (await server.get("/api/v1/markets"))["items"][0]
    assert (btc["stale"], btc["freshness_reason"], btc["freshness_since"]) == (
        True, "no closed minute for 2 min", START_MS,
    )  # fmt: skip
    health = (await server.get("/api/v1/health", quiet=1))["markets"][0]
    assert (health["stale"], health["stale_since"], health["status"]) == (
        "no closed minute for 2 min", START_MS, "degraded",
    )  # fmt: skip


async def test_a_silent_live_market_lacks_minutes_and_an_imported_one_ends_with_its_data(
    server: Server, records: Records
) -> None:
    await records.origin("simulator")
    await records.candles(600)
    await records.event("candle", MARKET, {}, START_MS + 700 * MINUTE_MS)
    records.ids["bitfinex:BTCUSD"] = await records.connection.fetchval(
        "insert into markets (venue, symbol, kind, base, quote, price_decimals, size_decimals, tick_size, lot_size,"
        " min_notional) values ('bitfinex', 'BTCUSD', 'spot', 'BTC', 'USD', 1, 8, 0.1, 0.00000001, 0) returning id"
    )
    await records.candles(50, market="bitfinex:BTCUSD")
    found = {item["market"]: item for item in (await server.get("/api/v1/markets"))["items"]}
    assert (found[MARKET]["last_day"]["expected"], found[MARKET]["last_day"]["missing"]) == (700, 100)
    assert (found[MARKET]["stale"], found[MARKET]["freshness_reason"], found[MARKET]["freshness_since"]) == (
        True, "no closed minute", START_MS + 600 * MINUTE_MS,
    )  # fmt: skip
    imported = found["bitfinex:BTCUSD"]
    assert (imported["live"], imported["stale"], imported["last_day"]["missing"]) == (False, None, 0)


async def test_the_days_of_a_live_market_that_fell_silent_go_on_without_minutes(
    server: Server, records: Records
) -> None:
    await records.origin("simulator")
    await records.candles(600)
    told = await server.get("/api/v1/quality/summary", market=MARKET)
    assert [(month["expected"], month["missing"]) for month in told["items"]] == [(600, 0)]
    await records.event("candle", MARKET, {}, START_MS + 2 * DAY_MS + 90_000)
    span = {"from": START_MS, "to": START_MS + 10 * DAY_MS}
    told = await server.get("/api/v1/quality/summary", market=MARKET, by="day", **span)
    assert [(day["period"], day["expected"], day["present"], day["missing"]) for day in told["items"]] == [
        ("2025-06-01", 1_440, 600, 840), ("2025-06-02", 1_440, 0, 1_440), ("2025-06-03", 1, 0, 1),
    ]  # fmt: skip


async def test_a_price_that_disagrees_with_another_venue_is_shown_until_it_is_over(
    server: Server, records: Records
) -> None:
    await records.connection.execute(
        "insert into data_quality (market_id, kind, reason, from_time, to_time, detail) values"
        " ($1, 'anomaly', 'deviation', at_ms($2), at_ms($2), $3)",
        records.ids[MARKET], START_MS, {"against": "hyperliquid:BTC", "text": "1.40 % above hyperliquid:BTC."},
    )  # fmt: skip
    btc, eth = (await server.get("/api/v1/markets"))["items"]
    assert btc["disagreements"] == [
        {"against": "hyperliquid:BTC", "reason": "deviation", "since": START_MS,
         "text": "1.40 % above hyperliquid:BTC."},
    ]  # fmt: skip
    assert eth["disagreements"] == []
    await records.connection.execute("update data_quality set resolved = true")
    assert (await server.get("/api/v1/markets"))["items"][0]["disagreements"] == []


async def test_markets_come_in_pages(server: Server, records: Records) -> None:
    first = await server.get("/api/v1/markets", limit=1)
    second = await server.get("/api/v1/markets", limit=1, cursor=first["next_cursor"])
    assert [page["items"][0]["market"] for page in (first, second)] == [MARKET, ETH]
    assert second["next_cursor"] is None


async def test_holes_name_their_reason_and_healed_ones_are_gone(server: Server, records: Records) -> None:
    await records.hole(10, 5)
    await records.hole(30, 2, "absent")
    await records.hole(50, 1, resolved=True)
    await records.connection.execute("update data_quality set resolution = 'healed' where resolved")
    newest, oldest = (await server.get("/api/v1/holes", market=MARKET))["items"]
    assert (newest["reason"], newest["explained"], newest["minutes"]) == ("absent", True, 2)
    assert (oldest["reason"], oldest["explained"], oldest["from"], oldest["to"], oldest["interval"]) == (
        "missing", False, START_MS + 10 * MINUTE_MS, START_MS + 15 * MINUTE_MS, "1m",
    )  # fmt: skip
    assert (await server.get("/api/v1/holes", explained="false"))["items"] == [oldest]
    assert (await server.get("/api/v1/holes", reason="absent"))["items"] == [newest]
    assert (await server.get("/api/v1/holes", interval="37m"))["items"] == []
    assert (await server.get("/api/v1/holes", market=ETH))["items"] == []
    assert (await server.get("/api/v1/holes", least_minutes=3))["items"] == [oldest]
    inside = {"from": START_MS + 12 * MINUTE_MS, "to": START_MS + 13 * MINUTE_MS}
    assert (await server.get("/api/v1/holes", **inside))["items"] == [oldest]


async def test_missing_minutes_with_a_reason_are_explained_and_lent_ones_name_their_lender(
    server: Server, records: Records
) -> None:
    await records.origin("simulator")
    await thinned(records, 100, {50, 51})
    await records.hole(50, 2)
    await records.connection.execute("update data_quality set detail = $1", {"why": "outage", "text": "HTTP 503"})
    await records.connection.execute(
        "update candles set source = 'rest', origin = 'binance_usdm:BTCUSDT' where open_time < at_ms($1)",
        START_MS + 3 * MINUTE_MS,
    )
    [hole] = (await server.get("/api/v1/holes", reason="outage"))["items"]
    assert (hole["reason"], hole["explained"], hole["detail"]) == ("outage", True, "HTTP 503")
    assert (await server.get("/api/v1/holes", explained="false"))["items"] == []
    day = (await server.get("/api/v1/markets"))["items"][0]["last_day"]
    assert (day["absent"], day["missing"]) == (2, 0)
    assert day["sources"] == {"live": 95, "from binance_usdm:BTCUSDT": 3}


async def test_pages_of_holes_neither_lose_nor_double(server: Server, records: Records) -> None:
    for number in range(25):
        await records.hole(number * 10, 3)
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        page = await server.get("/api/v1/holes", **query)
        seen += [hole["from"] for hole in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == 25
    assert all(later > earlier for later, earlier in pairwise(seen))


@pytest.mark.covers("S1-34")
async def test_everything_noted_of_the_data_is_listed(server: Server, records: Records) -> None:
    await records.hole(10, 5, resolved=True)
    await records.connection.execute(
        "insert into data_quality (market_id, kind, reason, from_time, to_time, detail) values"
        " ($1, 'anomaly', 'insane', at_ms($2), at_ms($2), $3)",
        records.ids[MARKET], START_MS, {"text": "high below low"},
    )  # fmt: skip
    anomaly, hole = (await server.get("/api/v1/quality"))["items"]
    assert (anomaly["kind"], anomaly["reason"], anomaly["detail"]) == ("anomaly", "insane", {"text": "high below low"})
    assert (hole["kind"], hole["resolved"]) == ("hole", True)
    assert (await server.get("/api/v1/quality", kind="anomaly"))["items"] == [anomaly]
    assert (await server.get("/api/v1/quality", not_kind="hole"))["items"] == [anomaly]
    assert (await server.get("/api/v1/quality", resolved="true"))["items"] == [hole]
    status, problem = await server.refused("/api/v1/quality", market="binance:NOPE")
    assert (status, problem["field"]) == (404, "market")


async def test_a_changed_candle_keeps_what_it_was(server: Server, records: Records) -> None:
    await records.candles(3)
    for revision, (was, became) in enumerate([(1.0, 2.0), (2.0, 3.0)], 1):
        await records.connection.execute(
            "insert into candle_revisions (market_id, interval, open_time, revision, old, new, why)"
            " values ($1, '1m', at_ms($2), $3, $4, $5, 'healed')",
            records.ids[MARKET], START_MS, revision, {"close": was}, {"close": became},
        )  # fmt: skip
    newest, first = (await server.get("/api/v1/revisions", market=MARKET))["items"]
    assert (newest["revision"], newest["old"], newest["new"], newest["why"]) == (
        2,
        first["new"],
        {"close": 3.0},
        "healed",
    )
    assert (await server.get("/api/v1/revisions", interval="37m"))["items"] == []
    assert (await server.get("/api/v1/revisions", **{"from": START_MS + 1}))["items"] == []


async def test_each_day_and_month_adds_up(server: Server, records: Records) -> None:
    """Three days, from noon of the last of May: a hole across midnight, one that is explained, one that nobody told."""
    first = -12 * 60
    await records.candles(3 * 1_440, first=first)
    gone = [*range(-5, 5), *range(100, 120), 2_000]
    await records.connection.execute(
        "delete from candles where ms(open_time) = any($1::bigint[])", [START_MS + n * MINUTE_MS for n in gone]
    )
    await records.hole(-5, 10, "absent", resolved=True)
    await records.connection.execute("update data_quality set resolution = 'absent'")
    await records.hole(100, 20)
    months = await server.get("/api/v1/quality/summary", symbol="BTC")
    assert (months["market"], months["by"]) == (MARKET, "month")
    assert [
        (item["period"], item["expected"], item["present"], item["absent"], item["missing"]) for item in months["items"]
    ] == [("2025-05", 720, 715, 5, 0), ("2025-06", 3_600, 3_574, 5, 21)]
    span = {"from": "2025-05-31T00:00Z", "to": "2025-06-02T00:00Z"}
    days = (await server.get("/api/v1/quality/summary", symbol="BTC", by="day", **span))["items"]
    assert [(item["period"], item["expected"], item["absent"], item["missing"]) for item in days] == [
        ("2025-05-31", 720, 5, 0), ("2025-06-01", 1_440, 5, 20),
    ]  # fmt: skip
    assert (days[0]["from"], days[1]["to"]) == (START_MS + first * MINUTE_MS, MIDNIGHT_1_JUNE_MS + DAY_MS)


async def test_months_without_a_minute_are_missing_not_left_out(server: Server, records: Records) -> None:
    await records.candles(1)
    await records.candles(1, first=92 * 1_440)
    months = (await server.get("/api/v1/quality/summary", symbol="BTC"))["items"]
    assert [(item["period"], item["present"], item["missing"]) for item in months] == [
        ("2025-06", 1, 43_199), ("2025-07", 0, 44_640), ("2025-08", 0, 44_640), ("2025-09", 1, 0),
    ]  # fmt: skip


async def test_days_are_told_for_a_range_only(server: Server, records: Records) -> None:
    await records.candles(1)
    status, problem = await server.refused("/api/v1/quality/summary", symbol="BTC", by="day")
    assert (status, problem["field"]) == (422, "from")
    assert (await server.get("/api/v1/quality/summary", symbol="ETH"))["items"] == []
