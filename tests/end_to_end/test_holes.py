"""Minutes that cannot be had for a while: told as missing, held back from strategies, and repaired when they come."""

import asyncio
from pathlib import Path
from typing import Any

from actors.session import CrashPoint
from manta.parity import parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.fold import fold
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.storage import candles, quality, records

MARKET = "binance:BTCUSDT"
BINANCE = "candles_1m/binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
START_MS = 1_747_699_200_000 + DAY_MS
HOLE_MS = START_MS + 2 * HOUR_MS + 2 * MINUTE_MS
END_MS = START_MS + 12 * HOUR_MS


async def test_a_hole_is_told_held_back_and_repaired(shared_data: Path, tmp_path: Path) -> None:
    """Ten minutes are lost while REST refuses for longer than a timeframe waits; the timeframe dies on the way too."""
    config = parity_config("ma44", ["5m"], "spot")
    marker = tmp_path / "timeframe"
    options = ReplayOptions(
        config=config,
        symbol="BTCUSDT",
        file=shared_data / BINANCE,
        start_ms=START_MS,
        until_ms=END_MS,
        lead=30,
        faults=(
            {"kind": "lose_minutes", "minutes": 10, "at_ms": HOLE_MS},
            {"kind": "rest_status", "status": 503, "times": 12, "path": "klines", "at_ms": HOLE_MS},
        ),
        crash_points=(CrashPoint(f"timeframe:{MARKET}", "before_commit", HOLE_MS + HOUR_MS, "self", str(marker)),),
    )
    async with Replay(options) as replay:
        await replay.run_to(END_MS)
        assert await _healed(replay)
        book, derived, unaccounted, rows = await replay.query(_read)
    assert marker.exists()
    held = [item for item in book.decisions if item.outcome == "hole"]
    assert held
    assert all(not item.actions for item in held)
    assert held[0].close_ms >= HOLE_MS
    # Some time after the repair the instance decides again.
    assert any(item.outcome in ("acted", "hold") for item in book.decisions if item.close_ms > held[-1].close_ms)
    assert unaccounted == []
    assert rows
    assert all(row["resolved"] for row in rows)
    # What storage holds in the end is what an undisturbed run would have folded, with the repair's revision.
    minutes = load_candles(options.file, MARKET, start_ms=START_MS - DAY_MS, end_ms=END_MS)
    expected = {item.open_time_ms: item for item in fold(minutes, "5m")}
    assert {item.open_time_ms: item[4:9] for item in derived} == {
        opened: expected[opened][4:9] for opened in (item.open_time_ms for item in derived)
    }
    assert all(item.complete for item in derived)
    # The candles at both ends were told incomplete first; the one between had no minute at all.
    spoiled = [
        item for item in derived if item.open_time_ms < HOLE_MS + 10 * MINUTE_MS and item.close_time_ms > HOLE_MS
    ]
    assert len(spoiled) == 3
    assert [item.revision for item in spoiled] == [1, 0, 1]


async def _healed(replay: Replay) -> bool:
    """Wait until no hole is open; the feed asks again with growing pauses."""
    for _ in range(600):
        open_holes = await replay.query(lambda conn: quality.open_holes(conn, MARKET))
        incomplete = await replay.query(lambda conn: candles.incomplete_spans(conn, MARKET))
        if not open_holes and not incomplete:
            return True
        await asyncio.sleep(0.1)
    return False


async def _read(conn: Any) -> tuple[Any, Any, Any, Any]:
    return (
        await records.read_run(conn, "paper"),
        await candles.read_candles(conn, MARKET, "5m", from_ms=START_MS, to_ms=END_MS),
        await quality.unaccounted(conn, MARKET),
        await conn.fetch("select reason, resolved from data_quality where kind = 'hole'"),
    )
