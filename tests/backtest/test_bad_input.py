"""What cannot be run is refused by the command with its status, the field, the value and the fix; nothing stays of it
but the reason.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from manta.service import database_target
from tests.manta.conftest import Answer, Place
from tests.trading.strategies.own import put, text
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.intervals import DAY_MS
from trading.storage.database import Database
from trading.storage.markets import upsert_market
from trading.storage.migrate import migrate
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
# What a run that was refused must leave alone; of backtest_runs there is the row with the reason.
MADE = ("books", "decisions", "orders", "fills", "positions", "equity", "transfers", "instances")
TWENTY_YEARS_MS = 7_305 * DAY_MS
Row = list[Any]


class Refused(NamedTuple):
    """Status, error, field, value and words of the fix and of the message."""

    status: int
    error: str
    field: str
    value: str | None
    fix: str
    message: str = ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def day() -> list[Candle]:
    """The first day of the sample."""
    first = load_candles(SAMPLE_FILE, SAMPLE_MARKET)[0].open_time_ms
    return load_candles(SAMPLE_FILE, SAMPLE_MARKET, end_ms=first + DAY_MS)


def rows_of(candles: Sequence[Candle]) -> list[Row]:
    return [[c.open_time_ms, *(f"{n / 1e8:.8f}" for n in (c.open, c.high, c.low, c.close, c.volume))] for c in candles]


def write(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return path


def check(answer: Answer, wanted: Refused) -> None:
    told = answer.value
    assert (answer.status, told["error"], told["field"]) == wanted[:3], told
    assert told["value"] == wanted.value
    assert wanted.fix in told["fix"]
    assert wanted.message in told["message"]
    # A person reads the same on stderr.
    assert told["fix"] in answer.err


def stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The runs, and how many rows there are of what a run makes."""

    async def read() -> tuple[list[dict[str, Any]], dict[str, int]]:
        async with database_target(None) as target, Database(target) as database:
            runs = await database.run(lambda c: c.fetch("select status, error, results, report from backtest_runs"))
            counts = {
                name: await database.run(lambda c, name=name: c.fetchval(f"select count(*) from {name}"))
                for name in MADE
            }
            return [dict(row) for row in runs], counts

    monkeypatch.setenv("MANTA_DATA_DIR", str(place.data_dir))
    return asyncio.run(read())


ARGUMENTS = {
    "a range that ends before it begins": (
        ("--start", "2025-07-03", "--end", "2025-07-02T12:00"),
        Refused(2, "BadInput", "start", "2025-07-03T00:00Z", "Give the earlier time", "end 2025-07-02T12:00Z"),
    ),
    "a range of no length": (
        ("--start", "2025-07-02", "--end", "2025-07-02"),
        Refused(2, "BadInput", "start", "2025-07-02T00:00Z", "Give the earlier time"),
    ),
    "no time": (("--start", "soon"), Refused(2, "BadInput", "start", "soon", "Write it like 2025-07-16")),
    "no capital": (("--capital", "0"), Refused(2, "BadInput", "capital", "0", "Give a number like 10000")),
    "negative capital": (("--capital", "-100"), Refused(2, "BadInput", "capital", "-100", "Give a number like")),
    "infinite capital": (("--capital", "inf"), Refused(2, "BadInput", "capital", "inf", "Give a number like")),
    "more capital than there is": (
        ("--capital", "1e15"),
        Refused(2, "BadInput", "capital", "1E+15", "It should be less than or equal to 1000000000000"),
    ),
    "an unknown strategy": (
        ("--strategy", "ma4"),
        Refused(2, "BadInput", "strategy", "ma4", "Did you mean 'ma44'", "There is no strategy 'ma4'"),
    ),
    "an unknown interval": (
        ("--intervals", "1h,7x"),
        Refused(2, "BadInput", "intervals", "7x", "Use whole minutes, hours or days"),
    ),
    "leverage without margin": (
        ("--profile", "spot", "--leverage", "2"),
        Refused(2, "BadInput", "leverage", "2", "Give 1, or profile perp"),
    ),
    "an unknown profile": (
        ("--profile", "margin"),
        Refused(2, "BadInput", "profile", "margin", "It should be 'perp' or 'spot'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_that_cannot_be_is_refused_before_anything_is_made(
    place: Place, day: list[Candle], name: str
) -> None:
    arguments, wanted = ARGUMENTS[name]
    file = write(place.folder / "day.csv", rows_of(day))
    base = () if "--strategy" in arguments else ("--strategy", "ma44")
    check(place.run("backtest", "run", *base, *arguments, "--file", str(file), "--json"), wanted)
    assert [path.name for path in place.folder.iterdir()] == ["day.csv"]


def test_an_unknown_or_impossible_parameter_is_refused_before_anything_is_made(place: Place, day: list[Candle]) -> None:
    file = write(place.folder / "day.csv", rows_of(day))
    run = ("walkforward", "run", "--strategy", "ma44", "--file", str(file), "--json")
    check(
        place.run(*run, "--grid", "perod=20,44"),
        Refused(2, "BadInput", "perod", "20", "Did you mean 'period'", "Strategy ma44 has no parameter 'perod'"),
    )
    check(
        place.run(*run, "--grid", "period=-1,0"),
        Refused(2, "BadInput", "period", "-1", "a whole number from 2 to 10000", "period is -1"),
    )
    assert [path.name for path in place.folder.iterdir()] == ["day.csv"]


def nan(rows: list[Row]) -> None:
    rows[50][4] = "nan"


def nothing(rows: list[Row]) -> None:
    rows[50][2] = ""


def in_the_future(rows: list[Row]) -> None:
    for row in rows:
        row[0] += TWENTY_YEARS_MS


def in_microseconds(rows: list[Row]) -> None:
    for row in rows:
        row[0] *= 1000


def as_they_are(_rows: list[Row]) -> None:
    """An honest file."""


WHILE_RUNNING = {
    "a start after the last candle": (
        as_they_are,
        ("--start", "2099-01-01"),
        Refused(6, "DataHole", "start", "2099-01-01T00:00Z", "from 2025-07-01T00:00Z to 2025-07-02T00:00Z"),
    ),
    "an end before the first candle": (
        as_they_are,
        ("--start", "2020-01-01", "--end", "2020-02-01"),
        Refused(6, "DataHole", "end", "2020-02-01T00:00Z", "from 2025-07-01T00:00Z to 2025-07-02T00:00Z"),
    ),
    "an interval of which no candle closes": (
        as_they_are,
        ("--intervals", "1w"),
        Refused(6, "DataHole", "intervals", "1w", "Choose shorter intervals"),
    ),
    "a price that is no number": (
        nan, (), Refused(2, "BadInput", "close", "nan", "Repair or remove the line", "line 52, column close"),
    ),
    "a price that is not there": (
        nothing, (), Refused(2, "BadInput", "high", "", "Repair or remove the line", "line 52, column high"),
    ),
    "candles of the future": (
        in_the_future, (), Refused(2, "BadInput", "file", "day.csv", "unix milliseconds, UTC", "candles of the future"),
    ),
    "times in microseconds": (
        in_microseconds,
        (),
        Refused(2, "BadInput", "open_time", "1751328000000000", "divide microseconds by 1000", "line 2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHILE_RUNNING)
def test_candles_that_cannot_be_used_leave_the_reason_and_nothing_else(
    place: Place, day: list[Candle], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, arguments, wanted = WHILE_RUNNING[name]
    rows = rows_of(day)
    spoil(rows)
    file = write(place.folder / "day.csv", rows)
    answer = place.run("backtest", "run", "--strategy", "ma44", *arguments, "--file", str(file), "--json")
    check(answer, wanted)
    [run], made = stored(place, monkeypatch)
    assert (run["status"], run["results"], run["report"]) == ("failed", None, None)
    assert answer.value["message"] in run["error"]
    assert not any(made.values()), made
    assert {path.name for path in place.folder.iterdir()} == {"day.csv", "var"}


def test_a_market_without_candles_is_told_from_one_that_is_unknown(
    place: Place, day: list[Candle], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("backtest", "run", "--strategy", "ma44", "--market", SAMPLE_MARKET, "--json")
    check(place.run(*run), Refused(2, "BadInput", "market", SAMPLE_MARKET, "--file", "has no candles here"))

    async def know() -> None:
        from tests.backtest.test_run import BTC

        async with database_target(None) as target:
            await migrate(target, "venue")
            async with Database(target) as database:
                await database.run(lambda connection: upsert_market(connection, BTC))

    monkeypatch.setenv("MANTA_DATA_DIR", str(place.data_dir))
    asyncio.run(know())
    check(place.run(*run), Refused(6, "DataHole", "market", SAMPLE_MARKET, "manta data download"))


STRATEGIES = {
    # On the made-up candles of the check, which cost a third of that, each is well-behaved.
    "raises": ("return LONG // 0 if now.close > 100_000 else FLAT", "line 22: ZeroDivisionError"),
    "nonsense": ("return 'buy' if now.close > 100_000 else FLAT", "rule returned 'buy', which is none of LONG"),
    "not_a_number": ("return float('nan') if now.close > 100_000 else FLAT", "rule returned nan, which is none of"),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_that_fails_at_a_candle_is_told_with_the_candle_and_what_it_saw(
    place: Place, day: list[Candle], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, words = STRATEGIES[name]
    put(place.folder / "strategies", **{name: text(rule)})
    place.config(f"markets: [{SAMPLE_MARKET}]\n")
    file = write(place.folder / "day.csv", rows_of(day))
    answer = place.run("backtest", "run", "--strategy", name, "--intervals", "1h", "--file", str(file), "--json")
    check(answer, Refused(2, "BadInput", "strategy", name, "manta strategies check", words))
    first = day[59]
    assert "1h candle of binance:BTCUSDT that closed 2025-07-01 01:00 UTC" in answer.value["message"]
    assert f"It saw close={first.close / 1e8!r}" in answer.value["message"]
    [run], made = stored(place, monkeypatch)
    assert (run["status"], run["results"]) == ("failed", None)
    assert not any(made.values()), made
