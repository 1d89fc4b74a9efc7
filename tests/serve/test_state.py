"""Health, statistics, technical state and the front page."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import MARKET, START_MS, Records, Server
from trading.clock import SystemClock, TimeSample
from trading.intervals import MINUTE_MS
from trading.storage.clocks import note_clock
from trading.storage.settings import DatabaseTarget

ETH = "binance:ETHUSDT"


async def venue_candles(records: Records, age_s: float) -> None:
    """One closed 1m candle per market that closed ``age_s`` ago by the host's clock."""
    await records.origin("venue")
    await records.connection.execute("delete from candles")
    for market in records.ids:
        await records.candles(1, market=market)
    await records.connection.execute(
        "update candles set open_time = at_ms($1::bigint - 60000), close_time = at_ms($1)",
        round((time.time() - age_s) * 1000),
    )


@pytest.mark.covers("S1-26a")
async def test_the_front_page(server: Server) -> None:
    answer = await server.get("/")
    assert (answer["name"], answer["status"]) == ("manta", "running")
    assert answer["links"]["dashboard"] == "/dashboard"
    async with server.client.get(f"{server.url}/", headers={"Accept": "text/html"}) as response:
        assert response.url.path == "/dashboard"


@pytest.mark.covers("S1-27c")
@pytest.mark.parametrize(
    ("age_s", "status", "http"),
    [(30, "ok", 200), (110, "ok", 200), (130, "degraded", 200), (290, "degraded", 200), (310, "down", 503)],
)
async def test_health_by_age_of_the_last_minute(
    server: Server, records: Records, age_s: float, status: str, http: int
) -> None:
    await venue_candles(records, age_s)
    async with server.client.get(f"{server.url}/api/v1/health") as response:
        assert response.status == http
        found = await response.json()
    assert (found["status"], found["clock"], found["origin"]) == (status, "venue", "venue")
    assert [market["market"] for market in found["markets"]] == [MARKET, ETH]


@pytest.mark.covers("S1-27c")
@pytest.mark.parametrize("host_off_s", [3600, -3600])
async def test_a_host_clock_that_is_off_by_an_hour_makes_nothing_stale_or_fresh(
    server: Server, records: Records, host_off_s: int
) -> None:
    """The venue told its time a minute ago, and it was not the host's."""
    now = SystemClock().now()
    venue_ms = now.wall_ns // 1_000_000 - host_off_s * 1000
    told = now._replace(steady_ns=now.steady_ns - 60_000_000_000)
    await note_clock(records.connection, "binance", TimeSample(venue_ms - 60_000, told))
    await venue_candles(records, host_off_s + 30)
    found = await server.get("/api/v1/health")
    assert found["status"] == "ok"
    assert 30 <= found["markets"][0]["age_s"] < 300
    # The feed falls silent: nothing but time goes by.
    told = now._replace(steady_ns=now.steady_ns - 460_000_000_000)
    await note_clock(records.connection, "binance", TimeSample(venue_ms - 60_000, told))
    assert (await server.get("/api/v1/health?quiet=true"))["status"] == "down"


@pytest.mark.covers("S1-27c")
async def test_unresolved_holes_and_a_silent_feed_degrade(server: Server, records: Records) -> None:
    await venue_candles(records, 10)
    await records.hole(5, 3, "absent")
    await records.hole(9, 3, "missing", resolved=True)
    assert (await server.get("/api/v1/health"))["status"] == "ok"
    await records.hole(20, 10)
    assert (await server.get("/api/v1/health"))["status"] == "ok", "what is older than a day is history"
    recent = round(time.time() * 1000) - 23 * 60 * MINUTE_MS
    await records.connection.execute(
        "update data_quality set from_time = at_ms($1), to_time = at_ms($2) where not resolved",
        recent - 600 * MINUTE_MS, recent,
    )  # fmt: skip
    found = await server.get("/api/v1/health")
    assert (found["status"], found["markets"][0]["unresolved_holes"]) == ("degraded", 1)
    await records.connection.execute('update data_quality set detail = \'{"why": "horizon"}\' where not resolved')
    assert (await server.get("/api/v1/health"))["status"] == "ok", "what is explained stays so"
    await records.connection.execute("update data_quality set resolved = true")
    await records.event("feed_down", MARKET, {"market": MARKET})
    found = await server.get("/api/v1/health")
    assert (found["status"], found["markets"][0]["feed"]) == ("degraded", "down")
    await records.event("feed_up", MARKET, {"market": MARKET})
    assert (await server.get("/api/v1/health"))["status"] == "ok"


@pytest.mark.covers("S1-27c")
async def test_a_replay_is_judged_by_its_own_clock(server: Server, records: Records) -> None:
    await records.origin("simulator")
    for market in (MARKET, ETH):
        await records.candles(10, market=market)
    found = await server.get("/api/v1/health")
    assert (found["status"], found["clock"], found["now"]) == ("ok", "simulated", START_MS + 10 * MINUTE_MS)
    await records.event("alert", "system", {}, START_MS + 10_000 * MINUTE_MS)
    assert (await server.get("/api/v1/health"))["now"] == START_MS + 10 * MINUTE_MS
    await records.event("candle", ETH, {}, START_MS + 13 * MINUTE_MS)
    assert (await server.get("/api/v1/health"))["status"] == "degraded"


async def test_warming_states_are_told(server: Server, records: Records) -> None:
    await venue_candles(records, 10)
    await records.signal(3, "37m", status="warming", have=37, need=125)
    found = await server.get("/api/v1/health")
    assert found["markets"][0]["warming"] == [{"name": "trend", "interval": "37m", "warming": "37/125"}]


@pytest.mark.covers("S1-27c")
async def test_without_a_database_it_still_answers(
    database: DatabaseTarget, serve_at: Callable[..., Any], tmp_path: Path
) -> None:
    async with serve_at(replace(database, host=str(tmp_path))) as server:
        async with server.client.get(f"{server.url}/api/v1/health") as response:
            assert response.status == 503
            assert (await response.json())["database"] == "down"
        status, problem = await server.refused("/api/v1/candles", symbol="BTC")
        assert (status, problem["title"]) == (503, "Service Unavailable")
        async with server.client.get(f"{server.url}/dashboard") as response:
            assert response.status == 200


@pytest.mark.covers("S1-27b")
async def test_stats_are_the_last_day_of_event_time(server: Server, records: Records) -> None:
    await records.origin("simulator")
    await records.candles(1_500)
    await records.hole(1_400, 10)
    await records.hole(10, 5)
    await records.decision(1_450, ["OPEN_LONG"])
    await records.decision(1_460, ["CLOSE_LONG", "OPEN_SHORT"], target="SHORT")
    await records.decision(1_470, ["HOLD"], outcome="hold")
    await records.decision(20, ["OPEN_SHORT"], target="SHORT")
    await records.fill(1_451, "BUY", "entry", 1)
    stats = await server.get("/api/v1/stats", symbol="BTC")
    rows = (await server.get("/api/v1/candles", symbol="BTC", limit=1_440))["items"]
    assert (stats["candles"], stats["expected_candles"], stats["fills"]) == (1_440, 1_440, 1)
    assert stats["high"] == max(row["high"] for row in rows)
    assert stats["low"] == min(row["low"] for row in rows)
    assert stats["volume"] == pytest.approx(sum(row["volume"] for row in rows))
    assert stats["change_percent"] == pytest.approx((rows[-1]["close"] / rows[0]["open"] - 1) * 100, abs=1e-4)
    assert stats["decisions"] == {"OPEN_LONG": 1, "CLOSE_LONG": 1, "OPEN_SHORT": 1, "CLOSE_SHORT": 0, "HOLD": 1}
    assert stats["outcomes"] == {"acted": 2, "hold": 1}
    assert [hole["from"] for hole in stats["holes"]] == [START_MS + 1_400 * MINUTE_MS]


@pytest.mark.covers("S1-27d")
async def test_technical_state_says_where_the_price_stands_or_how_far_warm_up_is(
    server: Server, records: Records
) -> None:
    await records.candles(130)
    await records.averages()
    await records.candles(3, interval="37m")
    await records.signal(129, "1m")
    state = await server.get("/api/v1/ta", symbol="BTC")
    minute, wide = (next(item for item in state["intervals"] if item["interval"] == name) for name in ("1m", "37m"))
    for reading in minute["features"]:
        assert reading["posture"] == ("ABOVE" if minute["close"] > reading["value"] else "BELOW")
        assert reading["distance_percent"] == pytest.approx((minute["close"] / reading["value"] - 1) * 100, abs=1e-4)
        assert reading["warming"] is None
    assert [reading["warming"] for reading in wide["features"]] == ["3/44", "3/125"]
    assert [reading["value"] for reading in wide["features"]] == [None, None]
    assert minute["strategies"][0]["target"] == "LONG"
