"""``manta data import``: files into the store, exactly, with every minute accounted for."""

import csv
import gzip
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.manta.conftest import Answer, Place

MINUTE = 60_000
START = 1_600_000_020_000
HEADER = "open_time,open,high,low,close,volume"
MARKET = "bitfinex:BTCUSD"


def row(number: int, price: float = 100.0, **changes: object) -> str:
    values = {"time": START + number * MINUTE, "open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 2.5}  # fmt: skip # noqa: E501
    return ",".join(str(value) for value in (values | changes).values())


def write(path: Path, *rows: str, header: str | None = HEADER) -> Path:
    text = "".join(f"{line}\n" for line in ([header] if header else []) + list(rows))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def imported(place: Place, path: Path, *more: str, market: str = MARKET, interval: str = "1m") -> Answer:
    return place.run("data", "import", "--file", str(path), "--market", market, "--interval", interval, "--json", *more)


def holes(place: Place, *more: str, market: str = MARKET, interval: str = "1m") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.run(
        "data", "holes", "--market", market, "--interval", interval, "--json", *more
    ).value
    return found


def published(path: Path) -> list[tuple[int, int, int]]:
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

    with gzip.open(path, "rt") as file:
        return [
            (ms(line["first_missing_open_utc"]), ms(line["next_present_open_utc"]), int(line["missing_bars"]))
            for line in csv.DictReader(file)
        ]


@pytest.mark.covers("S1-8a", "S1-10", "S1-34")
@pytest.mark.parametrize(
    "years",
    [("2019H1",), pytest.param(("2018", "2019H1", "2017"), marks=pytest.mark.slow)],
    ids="+".join,
)
def test_real_files_give_exactly_their_published_holes(
    stored: Place, shared_data: Path, years: tuple[str, ...]
) -> None:
    rows, expected = 0, []
    for year in years:
        name = f"bitfinex_{'BTCUSD'}_1m_{year}"
        told = imported(stored, shared_data / "candles_1m" / f"{name}.csv.gz").value
        rows += told["rows"]
        assert (told["stored"], told["refused"], told["repeats"], told["different"]) == (told["rows"], 0, 0, 0)
        expected += published(shared_data / "gaps" / f"{name}.gaps.csv.gz")

    found = holes(stored)
    assert [(h["from"], h["to"], h["missing"]) for h in found] == sorted(expected)
    assert {h["reason"] for h in found} == {"absent"}
    (series,) = stored.run("data", "list", "--json").value
    assert (series["rows"], series["sources"]) == (rows, {"import": rows})
    assert series["without"] == sum(count for _, _, count in expected)


@pytest.mark.covers("S3-4b")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("binance_spot-klines-BTCUSDT-1h-2024-10-28.zip", 24),
        ("binance_futures-um-klines-BTCUSDT-1h-2024-10-28.zip", 24),
    ],
)
def test_archives_of_the_venue_are_read_with_and_without_header(
    stored: Place, shared_data: Path, name: str, rows: int
) -> None:
    told = imported(stored, shared_data / "trades" / name, market="binance:BTCUSDT", interval="1h").value
    assert (told["rows"], told["stored"], told["left_out"]) == (rows, rows, [])
    out = stored.folder / "out.csv"
    stored.run("data", "export", "--market", "binance:BTCUSDT", "--interval", "1h", "--file", str(out))
    first = next(csv.DictReader(out.read_text().splitlines()))
    assert int(first["open_time"]) == 1_730_073_600_000
    assert float(first["quote_volume"]) > 0
    assert int(first["count"]) > 0
    assert float(first["taker_buy_volume"]) > 0


def test_a_newer_archive_has_microseconds(stored: Place, tmp_path: Path) -> None:
    lines = [
        f"{(START + n * MINUTE) * 1000},100,101,99,100,2,{(START + n * MINUTE + 59_999) * 1000 + 999},200,7,1,100,0"
        for n in range(3)
    ]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-01.csv", "\n".join(lines) + "\n")
    told = imported(stored, tmp_path / "a.zip").value
    assert (told["stored"], told["first_open_ms"], told["last_close_ms"]) == (3, START, START + 3 * MINUTE)


def test_the_first_downloaders_file_can_be_imported(stored: Place, tmp_path: Path) -> None:
    lines = ["2025-07-16 00:00:00,1,2,0.5,1.5,3", "2025-07-16 01:00:00,1.5,2,1,1,3"]
    path = write(tmp_path / "btc_usdt_60m_pionex.csv", *lines, header="time,open,high,low,close,volume")
    told = imported(stored, path, market="pionex:BTC_USDT", interval="60M").value
    assert (told["stored"], told["interval"], told["first_open_ms"]) == (2, "1h", 1_752_624_000_000)


def test_parquet_is_read_with_numbers_and_times_of_its_own(stored: Place, tmp_path: Path) -> None:
    times = pa.array([START * 1000, (START + MINUTE) * 1000], pa.timestamp("us", tz="UTC"))
    table = pa.table({"date": times, **{n: [10.5, 10.25] for n in ("open", "high", "low", "close", "volume")}})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert imported(stored, tmp_path / "a.parquet").value["stored"] == 2


@pytest.mark.covers("S1-34")
def test_what_cannot_be_used_is_refused_by_row_and_the_rest_is_stored(stored: Place, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        row(0),
        row(1, open="100.123456789"),
        row(2, high=50),
        row(3, low=-1),
        row(4, close="nan"),
        row(5, volume=-2),
        row(6, time=START + 6 * MINUTE + 1),
        row(7, time=9_999_999_960_000),
        row(8, time=1234),
        "1,2",
        row(10, close=""),
        row(11, high="1e30"),
        row(12),
        row(12),
        row(12, price=200),
    )
    answer = imported(stored, path)
    told = answer.value

    assert (answer.status, told["stored"], told["repeats"], told["refused"]) == (0, 2, 1, 12)
    shown = "\n".join(told["refused_rows"])
    for said in (
        "row 2, open 100.123456789: is finer than eight decimals",
        "row 3, high 50: is below open or close",
        "row 4, low -1: is not above zero",
        "row 5, close nan: is no number",
        "row 6, volume -2: is below zero",
        "is not an open time of 1m",
        "is in the future",
        "is before 2009",
        "another number of values",
        "stands there twice, with other values",
    ):
        assert said in shown
    assert [((h["from"] - START) // MINUTE, h["missing"], h["reason"]) for h in holes(stored)] == [
        (1, 5, "missing"),
        (6, 4, "absent"),
        (10, 2, "missing"),
    ]
    assert "12 rows refused" in stored.run(
        "data", "import", "--file", str(path), "--market", MARKET, "--interval", "1m"
    ).out  # fmt: skip


def test_strict_stores_nothing_and_names_the_row(stored: Place, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", row(0), row(1, open="1.000000001"), row(2))
    answer = imported(stored, path, "--strict")
    assert answer.status == 2
    assert "row 2, column open: 1.000000001 is finer than eight decimals" in answer.value["message"]
    assert stored.run("data", "list", "--json").value == []


def test_stored_candles_stay_unless_told_otherwise(stored: Place, tmp_path: Path) -> None:
    imported(stored, write(tmp_path / "a.csv", row(0), row(1)))
    other = write(tmp_path / "b.csv.gz", row(0), row(1, price=50), row(2))

    told = imported(stored, other).value
    assert (told["stored"], told["unchanged"], told["different"], told["replaced"]) == (1, 1, 1, 0)
    assert told["examples"][0]["open_time_ms"] == START + MINUTE
    told = imported(stored, other, "--replace").value
    assert (told["stored"], told["unchanged"], told["different"], told["replaced"]) == (0, 2, 1, 1)
    assert imported(stored, other).value["different"] == 0


def test_a_file_newest_first_and_one_in_disorder_are_the_same_series(stored: Place, tmp_path: Path) -> None:
    rows = [row(n) for n in (9, 8, 5, 4, 1, 0)]
    told = imported(stored, write(tmp_path / "a.csv", *rows)).value
    assert told["stored"] == 6
    assert [(h["from"] - START) // MINUTE for h in holes(stored)] == [2, 6]
    assert imported(stored, write(tmp_path / "b.csv", *sorted(rows, key=hash))).value["unchanged"] == 6


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "not a candle file"),
        ("gone.csv", None, "There is no file"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"open_time,open,high,low,close\n1,2,3,4,5\n", "no column volume"),
        ("a.csv", b"1,2,3,4,5\n", "no header and 5 columns"),
        ("a.csv", b"time,open_time,open,high,low,close,volume\n", "open_time twice"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.zip", b"no zip", "cannot be read"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("a.csv", b"\xff\xfe\x00\x01", "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_named_with_the_fix(
    place: Place, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    answer = imported(place, tmp_path / name)
    assert (answer.status, said in answer.value["message"]) == (2, True), answer.out
    assert answer.value["fix"]
    assert not place.data_dir.exists()


def test_a_file_cut_short_keeps_what_came_before(stored: Place, tmp_path: Path) -> None:
    whole = write(tmp_path / "a.csv.gz", *(row(n, price=100 + n % 7) for n in range(150_000))).read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) * 3 // 4])
    answer = imported(stored, tmp_path / "a.csv.gz")
    assert (answer.status, "cannot be read" in answer.value["message"]) == (2, True)
    (series,) = stored.run("data", "list", "--json").value
    assert 0 < series["rows"] < 150_000
    assert series["without"] == 0


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (("--market", "Bitfinex"), "market"),
        (("--interval", "7x"), "interval"),
        (("--source", "magic"), "source"),
        (("--holes", "maybe"), "holes"),
    ],
)
def test_wrong_options_are_named(place: Place, tmp_path: Path, more: tuple[str, ...], field: str) -> None:
    answer = imported(place, write(tmp_path / "a.csv", row(0)), *more)
    assert (answer.status, answer.value["field"]) == (2, field)


def test_hours_are_not_taken_for_minutes(stored: Place, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *(row(60 * n) for n in range(5)))
    answer = imported(stored, path)
    assert (answer.status, answer.value["field"], "60 minutes apart" in answer.value["message"]) == (
        2,
        "interval",
        True,
    )


def test_a_market_is_described_by_its_name(stored: Place, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", row(0))
    for market in ("ftx:BTC-PERP", "kraken:XBT/EUR", "binance_usdm:ETHUSDT"):
        assert imported(stored, path, market=market).status == 0
    assert [s["market"] for s in json.loads(stored.run("data", "list", "--json").out)] == [
        "ftx:BTC-PERP", "kraken:XBT/EUR", "binance_usdm:ETHUSDT",
    ]  # fmt: skip
