"""Candle files are read exactly, and a fault is told with file, line, column, value and fix."""

import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from trading.candle_columns import CandleColumns, columns_of
from trading.candle_files import load_candles, load_columns
from trading.candles import Candle
from trading.errors import BadInput
from trading.seed_files import append_seed_file
from trading.venues.simulator.sample import SAMPLE_FILE

HEADER = "open_time,open,high,low,close,volume"
ROWS = [
    "1625154120000,33495.38000000,33529.84000000,33492.90000000,33523.68000000,17.56077600",
    "1625154180000,33523.07,33550.0,33515.01,33535.13,15.288399",
    "1625154300000,33535,33536,33534,33535.5,0",
]


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    text = "\n".join([header, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_rows_become_candles_with_exact_units(tmp_path: Path, name: str) -> None:
    candles = load_candles(write(tmp_path / name, *ROWS), "binance:BTCUSDT")

    assert candles[0] == Candle(
        "binance:BTCUSDT",
        "1m",
        1_625_154_120_000,
        1_625_154_180_000,
        33495_38000000,
        33529_84000000,
        33492_90000000,
        33523_68000000,
        17_56077600,
        source="import",
    )
    assert [candle.open_time_ms for candle in candles] == [1_625_154_120_000, 1_625_154_180_000, 1_625_154_300_000]


def test_twelve_columns_bring_flow(shared_data: Path) -> None:
    path = shared_data / "candles_1m" / "binance_spot_BTCUSDT_1m_12col_20210701-20210715.csv.gz"

    first = load_candles(path, "binance:BTCUSDT")[0]

    assert (first.quote_volume, first.trade_count, first.taker_buy_volume) == (588383_09191864, 539, 9_69745000)


def test_both_readers_give_the_same(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "candles_1m" / "binance_spot_BTCUSDT_1m_12col_20210701-20210715.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    large = load_columns(path, "binance:BTCUSDT").slice(end_ms=int(lines[2001].split(",")[0]))
    small = load_columns(write(tmp_path / "small.csv", *lines[1:2001], header=lines[0]), "binance:BTCUSDT")

    assert large.candles() == small.candles()


def test_half_a_million_rows_with_absent_minutes(shared_data: Path) -> None:
    columns = load_columns(shared_data / "candles_1m" / "bitfinex_BTCUSD_1m_2018.csv.gz", "binance:BTCUSD")

    steps = np.diff(columns.open_time_ms)
    assert len(columns) == 520_499
    assert columns.interval.name == "1m"
    assert int((steps // 60_000 - 1).sum()) == 5101


@pytest.mark.parametrize(
    ("folder", "name", "interval"),
    [
        ("candles_4h", "binance_spot_BTCUSDT_4h_to20251031.csv.gz", "4h"),
        ("candles_1d", "binance_spot_BTCUSDT_1d_to20251031.csv.gz", "1d"),
    ],
)
def test_interval_is_inferred(shared_data: Path, folder: str, name: str, interval: str) -> None:
    assert load_columns(shared_data / folder / name, "binance:BTCUSDT").interval.name == interval


def test_range_is_half_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", *ROWS)

    candles = load_candles(path, "m:M", start_ms=1_625_154_180_000, end_ms=1_625_154_300_000)

    assert [candle.open_time_ms for candle in candles] == [1_625_154_180_000]
    with pytest.raises(BadInput, match="no candle in the chosen range"):
        load_candles(path, "m:M", start_ms=1_700_000_000_000)


@pytest.mark.parametrize("kind", ["float", "decimal", "string"])
def test_parquet_in_any_number_type(tmp_path: Path, kind: str) -> None:
    names = HEADER.split(",")
    columns = [list(column) for column in zip(*(row.split(",") for row in ROWS), strict=True)]
    types = {"float": (float, pa.float64()), "decimal": (Decimal, pa.decimal128(20, 8)), "string": (str, pa.string())}
    convert, arrow = types[kind]
    arrays = [pa.array([int(text) for text in columns[0]], pa.int64())]
    arrays += [pa.array([convert(text) for text in column], arrow) for column in columns[1:]]
    parquet.write_table(pa.table(arrays, names), tmp_path / "a.parquet")

    assert load_candles(tmp_path / "a.parquet", "m:M") == load_candles(write(tmp_path / "a.csv", *ROWS), "m:M")


def test_volumes_are_rounded_but_prices_never(tmp_path: Path) -> None:
    rounded = load_candles(write(tmp_path / "a.csv", "60000,1,1,1,1,218102.595075000049"), "m:M")

    assert rounded[0].volume == 218102_59507500
    with pytest.raises(BadInput, match="finer than eight decimals"):
        load_candles(write(tmp_path / "b.csv", "60000,1,1.000000001,1,1,1"), "m:M")


@pytest.mark.parametrize(
    ("row", "column", "value", "what"),
    [
        ("1625154360000,33523.07,x33550,33515.01,33535.13,15", "high", "x33550", "is no number"),
        ("1625154360000,33523.07,33550,33515.01,,15", "close", "", "is no number"),
        ("1625154360000,33523.07,33550,33515.01,nan,15", "close", "nan", "is no number"),
        ("1625154360000,33523.07,33550,33515.01,33535.13,-15", "volume", "-15", "is negative"),
        ("1625154360000,33523.07,33550,33515.01", "close", 4, "has 4 values for 6 columns"),
        ("1625154360000,1,2,1,1,99999999999999", "volume", "99999999999999", "is above"),
        ("1625154300000,1,1,1,1,1", "open_time", 1_625_154_300_000, "is a duplicate"),
        ("1625154240000,1,1,1,1,1", "open_time", 1_625_154_240_000, "is earlier than the row before"),
        ("1625154360500,1,1,1,1,1", "open_time", 1_625_154_360_500, "is not an open time of 1m"),
        ("1625154360000,1,1,0,1,1", "low", "1.0/1.0/0.0/1.0", "is impossible"),
        ("1625154360000,1,2,1,3,1", "high", "1.0/2.0/1.0/3.0", "high and low do not contain"),
    ],
)
@pytest.mark.parametrize("padding", [0, 30_000])
def test_a_corrupt_row_is_named(tmp_path: Path, row: str, column: str, value: object, what: str, padding: int) -> None:
    """Whichever reader a file of that size meets."""
    before = [f"{1_621_554_120_000 + 60_000 * i},1.5,1.5,1.5,1.5,{i}.{i * 7919:08d}" for i in range(padding)]
    path = write(tmp_path / "bad.csv", *before, *ROWS, row)

    with pytest.raises(BadInput) as refusal:
        load_candles(path, "m:M", interval="1m")

    assert f"bad.csv, line {padding + 5}, column {column}: {value!r}" in refusal.value.message
    assert what in refusal.value.message
    assert refusal.value.fix


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("1625154120000,1,1,1,1,1", "has no column open_time"),
        ("open_time,open,high,low,close", "has no column volume"),
        ("open_time,open,high,low,close,volume,colour", "unknown or repeated column 'colour'"),
        ("open_time,open,open,high,low,close,volume", "unknown or repeated column 'open'"),
    ],
)
def test_header_is_required(tmp_path: Path, header: str, what: str) -> None:
    with pytest.raises(BadInput, match=what) as refusal:
        load_candles(write(tmp_path / "a.csv", "1625154120000,1,1,1,1,1,1", header=header), "m:M")
    assert "open_time,open,high,low,close,volume" in str(refusal.value)


def test_unreadable_files(tmp_path: Path) -> None:
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress("\n".join([HEADER, *ROWS] * 50).encode())[:-60])
    (tmp_path / "no.parquet").write_bytes(b"nothing of the kind")
    for path, what in (
        (cut, "cannot be read"),
        (tmp_path / "no.parquet", "cannot be read"),
        (tmp_path / "none.csv", "There is no file"),
        (write(tmp_path / "a.txt"), "is not a candle file"),
        (write(tmp_path / "empty.csv"), "has no candles"),
    ):
        with pytest.raises(BadInput, match=what):
            load_candles(path, "m:M")


def test_columns_and_candles_are_the_same_thing(tmp_path: Path) -> None:
    columns = load_columns(write(tmp_path / "a.csv", *ROWS), "m:M")

    again = columns_of(columns.candles())

    assert isinstance(again, CandleColumns)
    assert again.candles() == columns.candles()
    assert (columns.start_ms, columns.end_ms) == (1_625_154_120_000, 1_625_154_360_000)
    with pytest.raises(BadInput, match="do not ascend"):
        columns_of(columns.candles()[::-1])


@pytest.mark.covers("S0-24")
@pytest.mark.parametrize("count", [50, 30_000])
def test_the_first_downloaders_files_are_read(tmp_path: Path, count: int) -> None:
    candles = load_candles(SAMPLE_FILE, "pionex:BTC_USDT")[:count]
    path = append_seed_file(tmp_path, "BTC_USDT", "1m", candles).path
    assert [candle[:9] for candle in load_candles(path, "pionex:BTC_USDT")] == [candle[:9] for candle in candles]


def test_a_date_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,open,high,low,close,volume\n2025-07-16 12:00:00,1,1,1,1,1\n2025-07-16 12:61:00,1,1,1,1,1\n")
    with pytest.raises(BadInput, match=r"line 3, column open_time: '2025-07-16 12:61:00' is no UTC date"):
        load_candles(path, "pionex:BTC_USDT")
