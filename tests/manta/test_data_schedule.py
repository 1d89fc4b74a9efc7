"""``manta data schedule`` against the simulator's REST side, as cron and people run it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.manta.conftest import Place, nothing_left, start_replay, wait_for
from trading.candle_files import load_columns
from trading.seed_files import read_seed_rows
from trading.venues.simulator.sample import SAMPLE_END_MS, SAMPLE_FILE, SAMPLE_MARKET, SAMPLE_START_MS

HOUR_MS = 3_600_000
FILES = ["btc_usdt_1d_pionex.csv", "btc_usdt_4h_pionex.csv", "btc_usdt_60m_pionex.csv"]


@pytest.fixture
def venue(place: Place) -> Iterator[Place]:
    """A place whose Pionex is a simulator at the end of the sample month."""
    start = str((SAMPLE_END_MS - 12 * HOUR_MS) // 1000)
    served = place.popen("sim", "serve", "--venue", "pionex", "--speed", "1", "--start", _iso(int(start)))
    assert served.stdout is not None
    try:
        ready = json.loads(served.stdout.readline())
        place.environ["MANTA__VENUES__PIONEX__REST_URL"] = ready["rest_url"]
        yield place
    finally:
        served.terminate()
        served.communicate(timeout=120)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.csv"))


@pytest.mark.covers("S0-1", "S0-2", "S0-3", "S0-5c", "S0-6", "S0-9", "S0-15")
def test_once_writes_the_newest_hundred_of_each_timeframe_and_repeats_nothing(venue: Place) -> None:
    answer = venue.run("data", "schedule", "--mode", "once", "--json")
    assert answer.status == 0
    assert [(each["interval"], each["received"]) for each in answer.value] == [("1h", 100), ("4h", 100), ("1d", 30)]
    assert files(venue.folder / "data") == FILES
    truth = load_columns(SAMPLE_FILE, SAMPLE_MARKET)
    rows = read_seed_rows(venue.folder / "data" / "btc_usdt_60m_pionex.csv")
    for row in rows:
        minutes = truth.slice(row.open_time_ms, row.open_time_ms + HOUR_MS)
        assert float(row.texts[1]) == minutes.high.max() / 1e8
        assert float(row.texts[3]) == minutes.close[-1] / 1e8
    before = {path: path.read_bytes() for path in (venue.folder / "data").glob("*.csv")}
    again = venue.run("data", "schedule", "--mode", "once", "--timeframes", "1h", "4H", "daily")
    assert again.status == 0
    assert "pionex:BTC_USDT 1h: 0 new rows, 100 in data/btc_usdt_60m_pionex.csv" in again.out
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.covers("S0-5b", "S0-7", "S0-10")
def test_historical_goes_back_as_far_as_asked_and_is_logged(venue: Place) -> None:
    answer = venue.run(
        "data",
        "schedule",
        "--mode",
        "historical",
        "--days",
        "29",
        "--timeframes",
        "60M",
        "--data-dir",
        "there",
        "--json",
    )
    assert answer.status == 0
    (done,) = answer.value
    assert done["rows_after"] == 29 * 24
    assert (done["to_ms"] - done["from_ms"]) == 29 * 24 * HOUR_MS
    assert done["from_ms"] > SAMPLE_START_MS
    log = (venue.folder / "there" / "pionex_downloader.log").read_text()
    assert re.search(r"Z INFO pionex:BTC_USDT 1h: 696 candles, 696 new rows, 696 in there/btc_usdt_60m", log)


@pytest.mark.covers("S0-5a", "S0-12")
def test_schedule_begins_with_ten_candles_and_runs_until_it_is_told_to_stop(venue: Place) -> None:
    running = venue.popen("data", "schedule", "--mode", "schedule", "--data-dir", "data")
    try:
        wait_for(lambda: files(venue.folder / "data") == FILES, "three files")
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 143
    assert "pionex:BTC_USDT 1d: 10 new rows" in err
    assert {len(read_seed_rows(path)) for path in (venue.folder / "data").glob("*.csv")} == {10}


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        (("--symbol", "BTCUSDT"), "markets", "Did you mean BTC_USDT"),
        (("--timeframes", "2h"), "timeframes", "1h, 4h"),
        (("--timeframes", "nonsense"), "interval", "Use whole minutes"),
        (("4H",), "timeframes", "Write --timeframes before it"),
        (("--venue", "bitfinex"), "venue", "binance, binance_usdm, hyperliquid, pionex"),
        (("--days", "3"), "days", "Leave one out"),
        (("--symbol", "no such"), "market", "Write it like"),
    ],
)
def test_what_cannot_be_downloaded_is_said_with_its_fix(
    venue: Place, arguments: tuple[str, ...], field: str, says: str
) -> None:
    answer = venue.run("data", "schedule", "--mode", "once", *arguments, "--json")
    assert answer.status == 2
    assert (answer.value["error"] in ("BadInput", "ConfigError"), answer.value["field"]) == (True, field)
    assert says in answer.value["fix"]


@pytest.mark.covers("S0-10")
def test_a_venue_that_does_not_answer_is_logged_and_told_by_the_exit_status(place: Place) -> None:
    place.environ["MANTA__VENUES__PIONEX__REST_URL"] = "http://127.0.0.1:1"
    answer = place.run("data", "schedule", "--mode", "once", "--timeframes", "60M", "--json")
    assert answer.status == 3
    assert [(each["interval"], each["error"]) for each in answer.value] == [("1h", "VenueRetryable")]
    lines = (place.folder / "data" / "pionex_downloader.log").read_text().splitlines()
    assert [line.split()[1:5] for line in lines] == [
        ["ERROR", "pionex:BTC_USDT", name, "failed:"] for name in ("symbol", "1h")
    ]


@pytest.mark.slow
@pytest.mark.covers("S0-12")
def test_a_running_manta_keeps_files_in_its_data_folder(place: Place) -> None:
    wanted = {"enabled": True, "markets": ["binance:BTCUSDT"], "timeframes": ["1h", "1d"]}
    with nothing_left(place):
        running = start_replay(place, minutes=10, downloads=wanted)
        folder = place.data_dir / "data"
        wait_for(lambda: len(list(folder.glob("*.csv"))) == 2, "two files")
        running.stop()
    assert sorted(path.name for path in folder.glob("*.csv")) == ["btcusdt_1d_binance.csv", "btcusdt_60m_binance.csv"]
    assert [len(read_seed_rows(path)) for path in sorted(folder.glob("*.csv"))] == [10, 10]
