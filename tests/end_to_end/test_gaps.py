"""Price gaps inside the running system: every one that the candles hold, each told once, whatever was killed."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from actors.crash import CrashPoint
from manta.replay import Replay, ReplayOptions
from tests.trading.gaps.reference import lives
from trading.config.loading import default_config
from trading.gaps.gaps_file import read_gaps_file
from trading.intervals import DAY_MS, HOUR_MS, parse_interval
from trading.storage.candles import read_candles
from trading.storage.cursors import read_cursors
from trading.storage.database import Connection
from trading.storage.price_gaps import read_gaps

MARKET = "binance:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
START_MS = 1_747_699_200_000 + 10 * DAY_MS
ANSWER_S = 180.0


async def caught_up(replay: Replay, intervals: tuple[str, ...], end_ms: int) -> None:
    """Wait until the watch has handled every candle that closed by ``end_ms``."""
    wanted = {f"gaps:b2dir:{name}:{MARKET}": parse_interval(name).open_of(end_ms) for name in intervals}
    for _ in range(round(ANSWER_S / 0.2)):
        found = await replay.query(lambda conn: read_cursors(conn, "gaps:"))
        if all(found.get(name, 0) >= position for name, position in wanted.items()):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{found} did not reach {wanted}")


async def kill_supervisor(replay: Replay) -> None:
    """Kill the one that works now; the last crash point may just have ended another, whose successor is on its way."""
    for _ in range(round(ANSWER_S / 0.2)):
        owner = await replay.query(lambda conn: conn.fetchval("select owner from leases where name = 'supervisor'"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(owner.rpartition("/")[2]), signal.SIGKILL)
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"no supervisor took over from {owner}")


async def texts(conn: Connection) -> list[tuple[str, str]]:
    rows = await conn.fetch("select dedupe_key, body -> 'payload' ->> 'text' from outbox where kind = 'gap'")
    return [(row[0], row[1]) for row in rows]


@pytest.mark.covers("S0-1b", "S0-12", "S0-14", "W11", "W12", "W13")
async def test_gaps_are_those_of_the_candles_and_each_is_told_once(shared_data: Path, tmp_path: Path) -> None:
    """The watch is killed before and amid its commits, and once without warning."""
    config = default_config()
    points = tuple(
        CrashPoint("supervisor", boundary, START_MS + hours * HOUR_MS, "self", str(tmp_path / boundary))
        for boundary, hours in (("before_commit", 5), ("before_cursor", 12), ("in_commit", 20))
    )
    options = ReplayOptions(
        config=config, symbol="BTCUSDT", file=shared_data / BINANCE, start_ms=START_MS,
        until_ms=START_MS + DAY_MS + 2 * HOUR_MS, data_dir=tmp_path / "var", crash_points=points,
    )  # fmt: skip
    end_ms = options.until_ms or 0
    async with Replay(options) as replay:
        await replay.run_to(START_MS + 15 * HOUR_MS)
        await kill_supervisor(replay)
        await replay.run_to(end_ms)
        await caught_up(replay, config.gaps.intervals, end_ms)
        stored = await replay.query(read_gaps)
        told = await replay.query(texts)
        bars = {name: await replay.query(lambda conn, n=name: read_candles(conn, MARKET, n)) for name in ("1h", "4h")}
    assert all(Path(point.marker).exists() for point in points)
    for name, candles in bars.items():
        expected = lives(candles, "b2dir")
        assert len(expected) >= {"1h": 10, "4h": 3}[name]
        assert {
            (gap.start_ms, gap.type): (gap.low, gap.high, gap.touched_ms, gap.closed_ms, gap.close_price)
            for gap in stored
            if gap.interval == name
        } == expected
    for name in config.gaps.intervals:
        ids = [gap.id for gap in stored if gap.interval == name]
        assert ids == sorted(ids), "ids follow the order of finding"
    # Every gap found and every end after the start is told, and nothing is told twice.
    keys = Counter(key for key, _ in told)
    assert set(keys.values()) == {1}
    for gap in stored:
        width = parse_interval(gap.interval)
        assert (f"gap:{gap.id}:found" in keys) == (gap.found_ms > START_MS)
        closed = gap.closed_ms is not None and width.close_of(gap.closed_ms) > START_MS
        assert (f"gap:{gap.id}:closed" in keys) == closed
    assert sum(text == "Bitcoin gap monitor started" for _, text in told) == 1
    rows = read_gaps_file(tmp_path / "var/gaps/gaps.csv")
    assert {row.id for row in rows} <= {gap.id for gap in stored}
