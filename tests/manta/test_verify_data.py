"""``manta verify data``: every way of folding gives the candles that are stored, and those of the venues."""

import gzip
import json
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings

from manta.verify_data import check_files, check_market, verify_data_words
from tests.manta.conftest import Place
from tests.trading.series import MARKET, STARTS, Item, at, histories, random_minutes
from tests.trading.storage.conftest import BTC
from trading.candle_check import Check
from trading.candles import Candle, Hole
from trading.errors import BadInput
from trading.fold import fold
from trading.intervals import CANONICAL, MINUTE_MS
from trading.storage.candles import upsert_candles
from trading.storage.cursors import set_cursors
from trading.storage.database import connect
from trading.storage.markets import upsert_market
from trading.storage.quality import record_hole
from trading.storage.settings import DatabaseTarget
from trading.timeframe import TimeframeState

HEADER = "open_time,open,high,low,close,volume\n"


@pytest.fixture
async def connection(database: DatabaseTarget) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database)
    await upsert_market(connection, BTC)
    yield connection
    await connection.close()


def write(path: Path, candles: Iterable[Candle]) -> None:
    rows = (
        ",".join([str(c.open_time_ms), *(f"{units / 1e8:.8f}" for units in (c.open, c.high, c.low, c.close, c.volume))])
        for c in candles
    )
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "\n".join(rows) + "\n")


async def store(connection: asyncpg.Connection, history: list[Item]) -> None:
    """As live actors would: minutes, holes, and the derived candles of every interval, told candle by candle."""
    state = TimeframeState(MARKET, CANONICAL, heal_wait_minutes=0)
    derived: list[Candle] = []
    for item in history:
        derived += [out for out in state.handle(item) if isinstance(out, Candle) and out.interval != "1m"]
    await upsert_candles(connection, [item for item in history if isinstance(item, Candle)])
    for item in history:
        if isinstance(item, Hole):
            await record_hole(connection, item)
    await upsert_candles(connection, derived)
    await set_cursors(connection, {f"timeframe:{MARKET}": state.position_ms or 0})


@pytest.mark.covers("S1-11", "S1-12", "S1-13", "S1-30")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(history=histories(longest=10_080))
async def test_live_sql_and_numpy_agree_over_any_history(connection, history: list[Item]) -> None:
    await connection.execute("truncate candles, data_quality, cursors")
    await store(connection, history)
    checks = await check_market(connection, MARKET)
    assert [check for check in checks if check.count] == []


async def test_what_was_tampered_with_is_told_to_the_field(connection) -> None:
    minutes = random_minutes(at("2024-12-31 00:00"), 3 * 1440)
    await store(connection, list(minutes))
    await connection.execute(
        """
        update candles set high = high + 0.01 where interval = '4h' and open_time = '2025-01-01 04:00Z';
        update candles set volume = volume * (1 + 1e-9) where interval = '4h' and open_time = '2025-01-01 08:00Z';
        update candles set complete = false where interval = '37m' and open_time = (
            select max(open_time) from candles where interval = '37m');
        delete from candles where interval = '1d' and open_time = '2025-01-01Z';
        """
    )
    checks = await check_market(connection, MARKET)
    found = {
        (check.interval, each.field, each.open_time_ms) for check in checks for each in check.differences
    }  # fmt: skip
    assert {each[:2] for each in found if each[1] == "complete"} == {("37m", "complete")}
    assert {each for each in found if each[1] != "complete"} == {
        ("4h", "high", at("2025-01-01 04:00")),
        ("4h", "volume", at("2025-01-01 08:00")),
        ("1d", "missing", at("2025-01-01 00:00")),
    }


async def test_the_venues_own_candles_are_compared_where_minutes_are(connection) -> None:
    minutes = random_minutes(at("2024-12-30 00:00"), 9 * 1440, extras=False)
    days = [day._replace(source="native") for day in fold(minutes, "1d")]
    before = [days[0]._replace(open_time_ms=d.open_time_ms - 30 * 1440 * MINUTE_MS,
        close_time_ms=d.close_time_ms - 30 * 1440 * MINUTE_MS) for d in days]  # fmt: skip
    await upsert_candles(connection, [*minutes, *before, *days])
    assert [check.count for check in await check_market(connection, MARKET) if check.found == "venue's own"] == [0]
    await connection.execute("update candles set close = low where interval = '1d' and open_time = '2025-01-01Z'")
    (own,) = [check for check in await check_market(connection, MARKET) if check.found == "venue's own"]
    assert (own.candles, [each.field for each in own.differences]) == (9, ["close"])


@pytest.mark.covers("S1-11", "S1-12")
def test_the_venues_files_are_what_their_minutes_fold_to(shared_data: Path) -> None:
    checks, unread = check_files(
        [shared_data / f"candles_{interval}" for interval in ("1m", "5m", "15m", "1h", "2h", "4h", "1d")],
        ["binance:BTCUSDT", "binance:ETHUSDT", "binance:SOLUSDT"],
    )
    compared = {(check.found, check.interval) for check in checks if check.market == "binance:BTCUSDT"}
    assert {("1m", wide) for wide in ("5m", "15m", "1h", "2h", "4h", "1d")} <= compared
    assert [check for check in checks if check.count] == []
    assert sum(check.candles for check in checks) > 150_000
    # On 2023-03-24 the venue stopped, and its own 1h and 4h candles open differently: one hole, told as such.
    over = {(check.market, check.found, check.interval): check.explained for check in checks if check.explained}
    assert over == {
        ("binance:BTCUSDT", "1h", "4h"): 1, ("binance:BTCUSDT", "2h", "4h"): 1, ("binance:ETHUSDT", "1h", "4h"): 1,
    }  # fmt: skip
    assert all("1518168494000 is not an open time" in text for text in unread), "an outage of 2018 left odd times"


def test_a_changed_file_is_a_difference_and_status_1(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    minutes = random_minutes(STARTS[0], 1440, extras=False)
    write(folder / "binance_BTCUSDT_1m.csv.gz", minutes)
    hours = fold(minutes, "1h")
    write(folder / "binance_BTCUSDT_1h.csv.gz", hours)
    clean = place.run("verify", "data", "--file", str(folder), "--json")
    assert (clean.status, clean.value["differences"], clean.value["candles"]) == (0, 0, 24)
    hours[3] = hours[3]._replace(close=hours[3].low)
    write(folder / "binance_BTCUSDT_1h.csv.gz", hours)
    wrong = place.run("verify", "data", "--file", str(folder))
    assert wrong.status == 1
    assert f"binance:BTCUSDT 1h 2025-01-01 03:00 UTC close: 1m {fold(minutes, '1h')[3].close / 1e8!r}" in wrong.out
    assert "1 difference in 24 candles" in wrong.out


def test_files_that_cannot_be_compared_are_refused_with_the_fix(tmp_path: Path) -> None:
    write(tmp_path / "binance_BTCUSDT_1m.csv.gz", random_minutes(STARTS[0], 5, extras=False))
    with pytest.raises(BadInput, match="No two of these files"):
        check_files([tmp_path])
    shutil.copy(tmp_path / "binance_BTCUSDT_1m.csv.gz", tmp_path / "candles.csv.gz")
    with pytest.raises(BadInput, match="does not name its market"):
        check_files([tmp_path / "candles.csv.gz"])


def test_the_database_is_checked_and_an_unknown_market_is_named(place: Place) -> None:
    place.run("db", "migrate", "--json")
    assert place.run("verify", "data", "--json").value == {"differences": 0, "candles": 0, "checks": [], "unread": []}
    answer = place.call("verify", "data", "--market", "binance:NOPE", "--json")
    assert (answer.status, answer.value["field"]) == (2, "market")


def test_words_are_a_table_with_the_differences_below() -> None:
    check = Check(MARKET, "4h", "stored", "minutes", candles=7)
    check.add([at("2025-01-01 04:00")], "high", [2.0], [1.5])
    result = {
        "differences": 1, "candles": 7, "unread": ["x"],
        "checks": [json.loads(json.dumps({
            "market": MARKET, "interval": "4h", "found": "stored", "expected": "minutes", "candles": 7, "count": 1,
            "explained": 0, "differences": [each._asdict() for each in check.differences],
        }))],
    }  # fmt: skip
    words = verify_data_words(result).splitlines()
    assert words[1].split() == [MARKET, "4h", "stored", "=", "minutes", "7", "1", "0"]
    assert words[2].strip() == f"{MARKET} 4h 2025-01-01 04:00 UTC high: stored 2.0, expected 1.5"
    assert words[-1] == "1 difference in 7 candles compared"
