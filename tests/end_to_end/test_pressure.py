"""A Postgres that is slow, silent or gone, and a slow brain: nothing is lost, order is kept, memory is bounded."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from actors.session import SlowPoint
from manta.outage import absent_postgres, silent_postgres, slow_postgres
from manta.parity import compare_session, parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.storage import candles, quality
from trading.storage.outbox import read_backlogs

pytestmark = pytest.mark.long(5)

MARKET = "binance:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
START_MS = 1_747_699_200_000 + DAY_MS
SPEED = 300.0
# Of event time: what counts as late is no question of how busy the machine is, where nothing is to be late.
PATIENT_S = 86_400.0


def config(buffer: int = 1000, *, late_after_s: float = PATIENT_S) -> Config:
    made = parity_config("ma44", ["1m", "5m"], "perp").model_dump()
    made["storage"]["recorder_buffer"] = buffer
    made["books"]["paper"]["late_after_s"] = late_after_s
    return Config.model_validate(made)


def options(file: Path, made: Config, **more: Any) -> ReplayOptions:
    return ReplayOptions(config=made, symbol="BTCUSDT", file=file, start_ms=START_MS, **more)


async def recorded(replay: Replay) -> int:
    return (await replay.positions()).get(f"recorder:{MARKET}", 0)


async def go_on(replay: Replay, minutes: int) -> None:
    """Wait until the recorder has stored this many minutes more."""
    target = max(await recorded(replay), START_MS) + minutes * MINUTE_MS
    async with asyncio.timeout(300):
        while await recorded(replay) < target:
            await asyncio.sleep(0.05)


async def whole(replay: Replay, end_ms: int) -> bool:
    """Wait until no minute is open and no derived candle incomplete; the feed asks with pauses."""
    async with asyncio.timeout(300):
        while await replay.query(lambda conn: quality.open_holes(conn, MARKET)) or await replay.query(
            lambda conn: candles.incomplete_spans(conn, MARKET)
        ):
            await asyncio.sleep(0.1)
    stored = await replay.query(lambda conn: candles.read_candles(conn, MARKET, "1m", from_ms=START_MS, to_ms=end_ms))
    assert [candle.open_time_ms for candle in stored] == list(range(START_MS, end_ms, MINUTE_MS))
    return await replay.query(lambda conn: quality.unaccounted(conn, MARKET)) == []


async def health(replay: Replay) -> dict[str, dict[str, Any]]:
    return {each["actor"]: each for each in await replay.host.report()}


async def compared(replay: Replay, end_ms: int) -> dict[str, Any]:
    assert replay.host.session is not None
    minutes = load_candles(replay.options.file, MARKET, start_ms=START_MS - DAY_MS, end_ms=end_ms)
    result = await compare_session(replay, minutes, replay.host.session.start_ms, end_ms)
    assert result["mismatches"] == 0, result["first_difference"]
    assert result["decisions"] > 0
    return result


@pytest.mark.slow
@pytest.mark.parametrize("outage", [absent_postgres, silent_postgres])
async def test_ten_minutes_without_postgres_cost_time_and_nothing_else(shared_data: Path, outage: Any) -> None:
    """At ×60 ten seconds are ten minutes of the venue; a silent server is noticed by the time its answer takes."""
    async with Replay(options(shared_data / BINANCE, config(), speed=60.0)) as replay:
        await go_on(replay, 5)
        async with outage(replay):
            await asyncio.sleep(10)
        await go_on(replay, 12)
        end_ms = await replay.settle()
        facts = await health(replay)
        assert await whole(replay, end_ms)
        result = await compared(replay, end_ms)
    recorder = facts["recorder"]
    assert result["explained"] == 0
    assert recorder["dropped_candles"] == 0
    assert recorder["buffered_most"] >= 5
    assert recorder["buffered"] == 0
    assert not recorder["postgres_away"]


@pytest.mark.slow
async def test_decisions_after_a_long_silence_are_late_stored_as_such_and_told(shared_data: Path) -> None:
    """Longer than a statement may take: connections are given up, and what is decided afterwards is past its time."""
    async with Replay(options(shared_data / BINANCE, config(late_after_s=120.0), speed=60.0)) as replay:
        await go_on(replay, 5)
        async with silent_postgres(replay):
            await asyncio.sleep(75)
        await go_on(replay, 80)
        end_ms = await replay.settle()
        facts = await health(replay)
        assert await whole(replay, end_ms)
        result = await compared(replay, end_ms)
        late = await replay.query(lambda conn: conn.fetchval("select count(*) from decisions where outcome = 'late'"))
        told = await replay.query(lambda conn: conn.fetch("select dedupe_key from outbox where kind = 'alert'"))
    assert facts["recorder"]["dropped_candles"] == 0
    assert late > 0
    assert result["explained"] > 0
    assert [row["dedupe_key"].partition(":")[2].partition(":")[0] for row in told].count("postgres") == 1


@pytest.mark.slow
async def test_a_recorder_killed_while_it_holds_candles_loses_none(shared_data: Path) -> None:
    """What it held is told again from the venue's REST, from the last commit on."""
    async with Replay(options(shared_data / BINANCE, config(), speed=60.0)) as replay:
        await go_on(replay, 5)
        before = await health(replay)
        async with absent_postgres(replay):
            await asyncio.sleep(8)
            os.kill(before["recorder"]["pid"], signal.SIGKILL)
            await asyncio.sleep(2)
        await go_on(replay, 12)
        end_ms = await replay.settle()
        facts = await health(replay)
        assert await whole(replay, end_ms)
        result = await compared(replay, end_ms)
    assert facts["recorder"]["pid"] != before["recorder"]["pid"]
    assert facts[f"feed:{MARKET}"]["started_over"] > 0
    assert result["explained"] == 0


@pytest.mark.slow
async def test_a_service_that_hangs_holds_up_neither_trading_nor_the_end(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discord accepts connections and says nothing: every decision is made, told in the log, and kept for Discord."""
    taken: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    monkeypatch.setenv("DISCORD_WEBHOOK_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
    made = config().model_dump()
    made["notify"] = {"channels": {"log": {"kind": "log"}, "phone": {"kind": "discord"}}}
    end_ms = START_MS + 6 * HOUR_MS
    async with Replay(options(shared_data / BINANCE, Config.model_validate(made), until_ms=end_ms)) as replay:
        await replay.run_to(end_ms)
        await compared(replay, end_ms)
        async with asyncio.timeout(300):
            while await waiting(replay, "log"):
                await asyncio.sleep(0.1)
        assert taken
        assert await waiting(replay, "phone") > 10
        assert {each["actor"] for each in await replay.stop_host()} >= {"notifier", "execution:paper"}
    for writer in taken:
        writer.close()
    server.close()


async def waiting(replay: Replay, channel: str) -> int:
    backlogs = await replay.query(read_backlogs)
    return backlogs[channel].waiting if channel in backlogs else 0


@pytest.mark.slow
async def test_more_than_the_buffer_is_dropped_told_as_missing_and_fetched_again(shared_data: Path) -> None:
    buffer = 20
    async with Replay(options(shared_data / BINANCE, config(buffer), speed=SPEED)) as replay:
        await go_on(replay, 20)
        async with absent_postgres(replay):
            await asyncio.sleep(20)
        await go_on(replay, 60)
        end_ms = await replay.settle()
        assert await whole(replay, end_ms)
        facts = await health(replay)
        rows = await replay.query(
            lambda conn: conn.fetch("select kind, reason, resolved, detail->>'text' as why from data_quality")
        )
    recorder = facts["recorder"]
    assert recorder["dropped_candles"] > 0
    assert recorder["overflows"] == 1
    # What came from the stream is cut to the buffer; a page of REST is taken whole, alone.
    assert recorder["buffered_most"] <= buffer + 1000
    holes = [row for row in rows if row["kind"] == "hole"]
    assert holes
    assert all(row["resolved"] and row["reason"] == "missing" for row in holes)
    assert "the oldest were dropped" in holes[0]["why"]
    anomalies = [row["reason"] for row in rows if row["kind"] == "anomaly"]
    assert anomalies.count("overflow") == 1
    # Derived candles at the edges of the hole were told incomplete, and repaired.
    assert set(anomalies) <= {"overflow", "revised"}
    assert facts[f"feed:{MARKET}"]["feed"]["healed"] >= recorder["dropped_candles"]


@pytest.mark.slow
async def test_slow_commits_make_larger_commits_and_the_same_results(shared_data: Path) -> None:
    async with Replay(options(shared_data / BINANCE, config(), speed=SPEED)) as replay:
        await go_on(replay, 5)
        slow: AbstractAsyncContextManager[None] = slow_postgres(replay, 100)
        async with slow:
            await go_on(replay, 120)
            facts = await health(replay)
        end_ms = await replay.settle()
        assert await whole(replay, end_ms)
        result = await compared(replay, end_ms)
    assert result["explained"] == 0
    assert facts["recorder"]["dropped_candles"] == 0
    assert facts["recorder"]["buffered_most"] <= 1000


@pytest.mark.slow
async def test_a_slow_brain_holds_nobody_up_and_misses_nothing(shared_data: Path) -> None:
    """Twelve thousand minutes come at once, the brain takes a second for each push: the edge to it drops, it pulls."""
    end_ms = START_MS + 200 * HOUR_MS
    made = options(shared_data / BINANCE, config(), until_ms=end_ms, lead=2, slow_points=(SlowPoint("brain", 1.0),))
    async with Replay(made) as replay:
        ahead = 0
        await replay.control.watermark(end_ms)
        async with asyncio.timeout(300):
            while (positions := await replay.positions()).get(f"timeframe:{MARKET}", 0) < end_ms:
                behind_ms = positions.get(f"timeframe:{MARKET}", START_MS) - positions.get(f"brain:{MARKET}", START_MS)
                ahead = max(ahead, behind_ms // MINUTE_MS)
                await asyncio.sleep(0.1)
        facts = await health(replay)
        await replay.run_to(end_ms)
        assert await whole(replay, end_ms)
        await compared(replay, end_ms)
    edge = facts[f"timeframe:{MARKET}"]["edges"]["brain"]
    # The timeframe was done long before the brain, and what waited on the way was bounded.
    assert ahead > 5_000
    assert edge["dropped"] > 0
    assert edge["waiting_most"] <= 7_000
