"""Time does what it likes, and nothing changes: the host's clock is stepped, the venue's is off, days have 23 hours,
and years end.
"""

import csv
import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from manta.parity import compare_session, parity_config
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from trading.storage.events import read_events
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET, SAMPLE_SYMBOL, SESSION_START_MS

MARKET = "binance:BTCUSDT"
# Python imports this module in every process that finds it: its wall clock is off by what a file says.
STEPPED = """
import time
_time, _time_ns = time.time, time.time_ns
def _off():
    with open({file!r}, encoding="ascii") as told:
        return int(told.read() or 0)
time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + _off() * 1_000_000_000
"""
DST_MS = 1_521_939_600_000  # 2018-03-25T01:00Z: in Berlin 02:00 becomes 03:00
NEW_YEAR_MS = 1_514_764_800_000  # 2018-01-01T00:00Z, a Monday


async def equal(replay: Replay, candles: list[Candle], start_ms: int, end_ms: int) -> dict[str, Any]:
    """The comparison with the reference, after seeing that nothing differs, was suppressed, or fell silent."""
    found = await compare_session(replay, [c for c in candles if c.close_time_ms <= end_ms], start_ms, end_ms)
    assert found["mismatches"] == 0, found["first_difference"]
    assert found["explained"] == 0
    told = await replay.query(lambda conn: read_events(conn, 0, limit=1_000_000, kinds=["feed_down"]))
    assert told == []
    return found


@pytest.mark.slow
@pytest.mark.parametrize("venue_off_ms", [0, 10_000, -10_000])
async def test_a_host_clock_stepped_by_an_hour_and_a_venue_clock_that_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue_off_ms: int
) -> None:
    """NTP sets the clock that all processes read an hour forward, then two hours back, at 600 times life's speed."""
    clock = tmp_path / "clock"
    clock.write_text("0", encoding="ascii")
    (tmp_path / "sitecustomize.py").write_text(STEPPED.format(file=str(clock)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    options = ReplayOptions(
        config=parity_config("ma44", ["1m", "5m"], "perp"),
        symbol=SAMPLE_SYMBOL,
        file=SAMPLE_FILE,
        start_ms=SESSION_START_MS,
        speed=600,
        faults=({"kind": "clock", "offset_ms": venue_off_ms},),
    )
    async with Replay(options) as replay:
        start_ms = replay.host.session.start_ms
        # The start itself took hours of this venue's time.
        await replay.run_to(start_ms + MINUTE_MS)
        caught_up_ms = (await replay.positions())[f"recorder:{SAMPLE_MARKET}"]
        for hours, offset_s in enumerate((3600, -3600, 0), 1):
            await replay.run_to(caught_up_ms + hours * HOUR_MS)
            fresh = tmp_path / "fresh"
            fresh.write_text(str(offset_s), encoding="ascii")
            fresh.replace(clock)
        await replay.run_to(caught_up_ms + 4 * HOUR_MS)
        end_ms = await replay.settle()
        stamps = await replay.query(
            lambda conn: conn.fetch("select received_ns from decisions where received_ns > 0 order by close_time")
        )
        candles = load_candles(SAMPLE_FILE, SAMPLE_MARKET)
        found = await equal(replay, candles, start_ms, end_ms)
    assert found["decisions"] > 0
    wall = [row[0] for row in stamps]
    assert max(wall) - min(wall) > 3_500_000_000_000, "the clock was not stepped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "around_ms", "intervals"),
    [
        (["2018"], DST_MS, ["37m", "1h", "8h", "1d"]),
        (["2017", "2018"], NEW_YEAR_MS, ["148m", "12h", "1d", "1w", "1M"]),
    ],
    ids=["summer time begins", "the year ends"],
)
async def test_days_of_23_hours_and_the_end_of_a_year_equal_the_reference(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    around_ms: int,
    intervals: list[str],
) -> None:
    """On a host in Berlin; every interval, weeks and months too, closes within the stretch or is open across it."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    start_ms, end_ms = around_ms - 12 * HOUR_MS, around_ms + 36 * HOUR_MS
    candles = [
        candle
        for year in files
        for candle in load_candles(shared_data / f"candles_1m/bitfinex_BTCUSD_1m_{year}.csv.gz", MARKET)
        if around_ms - 100 * DAY_MS <= candle.open_time_ms < end_ms
    ]
    config = parity_config("ma44", intervals, "spot", params={"period": 2})
    options = ReplayOptions(
        config=config,
        symbol="BTCUSDT",
        file=written(candles, tmp_path / "candles.csv.gz"),
        start_ms=start_ms,
        until_ms=end_ms,
    )
    async with Replay(options) as replay:
        await replay.run_to(candles[-1].close_time_ms)
        found = await equal(replay, candles, start_ms, candles[-1].close_time_ms)
        closed = await replay.query(
            lambda conn: conn.fetch(
                "select interval, count(*) from decisions where outcome in ('acted', 'hold') group by interval"
            )
        )
    assert found["fills"] > 0
    assert {row[0] for row in closed} == set(intervals)


def written(candles: Iterable[Candle], path: Path) -> Path:
    """The candles as the one file that a replay takes."""
    with gzip.open(path, "wt", encoding="ascii", newline="") as file:
        out = csv.writer(file)
        out.writerow(["open_time", "open", "high", "low", "close", "volume"])
        for candle in candles:
            units = (divmod(value, 10**8) for value in candle[4:9])
            out.writerow([candle.open_time_ms, *(f"{whole}.{part:08}" for whole, part in units)])
    return path
