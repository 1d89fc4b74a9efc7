"""The supervisor keeps candle files up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.downloads import Downloads
from actors.session import Session
from tests.trading.venues.rig import gateway
from tests.trading.venues.simulator.rig import running
from trading.candle_files import load_columns
from trading.config.model import Config
from trading.intervals import HOUR_MS, MINUTE_MS
from trading.seed_files import read_seed_rows
from trading.storage.settings import DatabaseTarget
from trading.venues.simulator.dialect import VenueLimits
from trading.venues.simulator.sample import SAMPLE_FILE, SESSION_START_MS

WANTED = {"enabled": True, "markets": ["pionex:BTC_USDT"], "timeframes": ["60M", "4H"]}


def last_hour(path: Path) -> int:
    return (read_seed_rows(path)[-1].open_time_ms - SESSION_START_MS) // HOUR_MS


@pytest.mark.covers("S0-3", "S0-11a", "S0-11b")
async def test_files_are_brought_up_to_date_by_the_venues_time(tmp_path: Path) -> None:
    session = Session(
        session_id="s", namespace="n", origin="simulator", time_rate=1.0, start_ms=SESSION_START_MS,
        config=Config.model_validate({"downloads": WANTED}), target=DatabaseTarget("nowhere"),
        secrets_path="", log_dir=str(tmp_path / "var" / "logs"),
    )  # fmt: skip
    month = load_columns(SAMPLE_FILE, "pionex:BTC_USDT")
    hours, limits = 4, VenueLimits(weight=100_000)
    async with running(
        month, "BTC_USDT", venue="pionex", start_ms=SESSION_START_MS, speed=1, limits=limits
    ) as rig, gateway(rig, weight_per_second=1000) as venue:  # fmt: skip
        await rig.control.pause()
        downloads = Downloads(session, lambda _: venue.history, lambda: _now(venue))
        hourly, four_hourly = (tmp_path / "var" / "data" / f"btc_usdt_{name}_pionex.csv" for name in ("60m", "4h"))
        await downloads.work()
        assert (last_hour(hourly), last_hour(four_hourly)) == (-1, -4)
        for minute in range(0, hours * 60 + 10, 2):
            await rig.control.advance(2)
            await downloads.work()
            # Hours come at hh:01, four hours at 04:05.
            assert last_hour(hourly) == (minute + 2 - 1) // 60 - 1
            assert last_hour(four_hourly) == (0 if minute + 2 >= 4 * 60 + 5 else -4)
        log = (tmp_path / "var" / "data" / "pionex_downloader.log").read_text().splitlines()
        # Both at the start, the hours at 00:01 … 04:01, the four hours at 00:05 and 04:05.
        assert len(log) == 2 + (hours + 1) + 2


async def _now(venue: object) -> int:
    sample = await venue.history.time()  # type: ignore[attr-defined]
    return int(sample.venue_ms) // MINUTE_MS * MINUTE_MS
