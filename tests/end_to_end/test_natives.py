"""A strategy on days, at a venue whose minutes reach back no longer than three of them, against the reference."""

from pathlib import Path

import pytest

from actors.crash import CrashPoint
from manta.parity import compare_session, parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.config.model import Config
from trading.fold import fold
from trading.intervals import DAY_MS, HOUR_MS
from trading.storage.candles import read_candles
from trading.storage.revisions import read_revisions

MARKET = "hyperliquid:BTC"
BITFINEX = "candles_1m/bitfinex_BTCUSD_1m_2018.csv.gz"
START_MS = 1_514_764_800_000 + 140 * DAY_MS + 7 * HOUR_MS
END_MS = START_MS + DAY_MS
SKIPPED_MS = START_MS + 5 * HOUR_MS
KEPT_DAYS = 3


@pytest.mark.slow
@pytest.mark.covers("S1-20")
async def test_ma125_on_days_is_warm_at_once_and_decides_as_the_reference(shared_data: Path, tmp_path: Path) -> None:
    """The feed is killed once: what it had of the venue is found again. Then the stream leaves out the end of thirty
    minutes: each is told without it, and corrected, but for some that a slow machine may ask REST for.
    """
    given = parity_config("ma125", ["1d"], "perp", market=MARKET).model_dump()
    config = Config.model_validate(given | {"history": {"min_days": 0, "max_days": KEPT_DAYS}})
    candles = [candle for candle in load_candles(shared_data / BITFINEX, MARKET) if candle.close_time_ms <= END_MS]
    killed = CrashPoint(f"feed:{MARKET}", "after_read", START_MS + HOUR_MS, "self", str(tmp_path / "killed"))
    options = ReplayOptions(
        config=config,
        symbol="BTC",
        venue="hyperliquid",
        file=shared_data / BITFINEX,
        start_ms=START_MS,
        until_ms=END_MS,
        lead=120,
        crash_points=(killed,),
        faults=({"kind": "skip_closing", "times": 30, "at_ms": SKIPPED_MS},),
    )
    async with Replay(options) as replay:
        await replay.run_to(candles[-1].close_time_ms)
        result = await compare_session(replay, candles, START_MS, END_MS)
        minutes = await replay.query(lambda conn: read_candles(conn, replay.market, "1m", from_ms=START_MS))
        logged = await replay.query(lambda conn: read_revisions(conn, replay.market, interval="1m"))
        days = await replay.query(lambda conn: read_candles(conn, replay.market, "1d"))
    assert (tmp_path / "killed").exists()
    assert result["mismatches"] == 0, result["first_difference"]
    assert result["explained"] == 0
    assert result["features"] == 1
    assert result["decisions"] > 0, "cold, it would hold"
    cut_ms = (START_MS - KEPT_DAYS * DAY_MS) // DAY_MS * DAY_MS
    sources = {day.open_time_ms: day.source for day in days}
    assert {source for opened, source in sources.items() if opened <= cut_ms} == {"native"}
    assert {source for opened, source in sources.items() if opened > cut_ms} == {"derived"}
    whole = {day.open_time_ms: day for day in fold(candles, "1d")}
    assert all(day[4:8] == whole[day.open_time_ms][4:8] for day in days)
    assert len(days) >= 125 + 1
    true = {candle.open_time_ms: candle for candle in candles}
    assert all(minute[4:9] == true[minute.open_time_ms][4:9] for minute in minutes)
    assert {each.revision for each in logged} == {1}
    assert {each.open_time_ms for each in logged} == {each.open_time_ms for each in minutes if each.revision == 1}
