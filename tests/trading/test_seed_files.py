"""The first downloader's files: appended to without duplicates, never shortened, safe from crashes and each other."""

import multiprocessing
import resource
from pathlib import Path

import pytest

from tests.trading.series import random_minutes
from trading.atomic_files import locked, replacing
from trading.candles import Candle
from trading.errors import BadInput, MantaError
from trading.intervals import HOUR_MS
from trading.seed_files import append_seed_file, read_seed_rows, seed_file_name

START = 1_752_624_000_000  # 2025-07-16 00:00 UTC
NAME = "btc_usdt_60m_pionex.csv"


def hours(first: int, count: int) -> list[Candle]:
    return [
        c._replace(open_time_ms=START + (first + n) * HOUR_MS, close_time_ms=START + (first + n + 1) * HOUR_MS)
        for n, c in enumerate(random_minutes(START, count, seed=first))
    ]


@pytest.mark.covers("S0-9", "S0-23")
def test_a_file_has_the_first_downloaders_name_columns_and_times(tmp_path: Path) -> None:
    candle = hours(0, 1)[0]._replace(open=118_000_50000000, high=119_000_00000000, low=117_000_12345678, volume=5)
    told = append_seed_file(tmp_path / "data", "BTC_USDT", "60M", [candle._replace(close=118_000_00000001)])

    assert told == (tmp_path / "data" / NAME, 0, 1)
    assert told.path.read_text() == (
        "time,open,high,low,close,volume\n"
        "2025-07-16 00:00:00,118000.5,119000,117000.12345678,118000.00000001,0.00000005\n"
    )


@pytest.mark.covers("S0-4", "W14")
@pytest.mark.parametrize(
    ("interval", "name"),
    [("60M", "60m"), ("1h", "60m"), ("60m", "60m"), ("4H", "4h"), ("daily", "1d"), ("1D", "1d"), ("1M", "1mo")],
)
def test_every_name_of_an_interval_is_one_file(interval: str, name: str) -> None:
    assert seed_file_name("BTC_USDT", interval) == f"btc_usdt_{name}_pionex.csv"


@pytest.mark.covers("S0-8", "W14")
def test_appending_adds_what_is_new_and_a_shorter_history_takes_nothing_away(tmp_path: Path) -> None:
    append_seed_file(tmp_path, "BTC_USDT", "1h", hours(0, 50))
    before = read_seed_rows(tmp_path / NAME)

    assert append_seed_file(tmp_path, "BTC_USDT", "60M", hours(45, 10))[1:] == (50, 55)
    assert append_seed_file(tmp_path, "BTC_USDT", "60M", hours(50, 3))[1:] == (55, 55)
    assert append_seed_file(tmp_path, "BTC_USDT", "60M", hours(-5, 5))[1:] == (55, 60)

    after = read_seed_rows(tmp_path / NAME)
    assert after[5:55] == before
    assert [row.open_time_ms for row in after] == [START + n * HOUR_MS for n in range(-5, 55)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1"),
        ("open_time,open\n1,2\n", "line 1"),
        ("time,open,high,low,close,volume\nyesterday,1,1,1,1,1\n", "line 2, column time"),
        ("time,open,high,low,close,volume\n2025-07-16 00:00:00,1,1,x,1,1\n", "line 2, column low"),
        ("time,open,high,low,close,volume\n2025-07-16 00:00:00,1,1\n", "line 2"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(BadInput, match=said):
        append_seed_file(tmp_path, "BTC_USDT", "1h", hours(0, 2))
    assert (tmp_path / NAME).read_text() == text


@pytest.mark.parametrize("symbol", ["", "../BTC", "a b", "BTC/USDT", "x\n"])
def test_a_symbol_that_makes_no_file_name_is_refused(symbol: str) -> None:
    with pytest.raises(BadInput, match="file name"):
        seed_file_name(symbol, "1h")


def _append(folder: str, first: int) -> None:
    for n in range(10):
        append_seed_file(Path(folder), "BTC_USDT", "1h", hours(first + n, 1))


@pytest.mark.covers("W14")
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(str(tmp_path), first)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [row.open_time_ms for row in read_seed_rows(tmp_path / NAME)] == [START + n * HOUR_MS for n in range(30)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".{NAME}.lock", NAME]


def test_a_lock_that_is_never_given_back_is_an_error_with_its_fix(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), pytest.raises(MantaError, match="Another process"), locked(tmp_path / "a", wait_s=0.1):
        pass


def _write_with_little_room(path: str, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        append_seed_file(Path(path), "BTC_USDT", "1h", hours(0, 2000))
    except MantaError as error:
        raise SystemExit(0 if "no room" in str(error) else str(error)) from None
    raise SystemExit("it was written")


@pytest.mark.covers("W14")
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path) -> None:
    append_seed_file(tmp_path, "BTC_USDT", "1h", hours(0, 50))
    before = (tmp_path / NAME).read_bytes()
    process = multiprocessing.get_context("spawn").Process(target=_write_with_little_room, args=(str(tmp_path), 8192))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / NAME).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".{NAME}.lock", NAME]


def test_a_file_is_replaced_only_when_its_writing_ended_well(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(0o640)

    def fail_halfway() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file") as told, replacing(tmp_path / "file" / "a.csv"):
        pass
    assert told.value.fix
