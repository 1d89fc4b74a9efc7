"""``manta data export``: a series as a file that reads back the same, whole or not at all."""

import gzip
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.manta.conftest import Answer, Place
from tests.manta.data.test_import import MINUTE, START, holes, imported, row, write
from trading.candle_files import load_candles

MARKET = "bitfinex:BTCUSD"


def exported(place: Place, file: Path, *more: str) -> Answer:
    return place.run("data", "export", "--market", MARKET, "--file", str(file), "--json", *more)


@pytest.fixture
def filled(stored: Place, tmp_path: Path) -> Place:
    rows = [row(n, price=100 + n / 4, volume=f"{n}.00000001") for n in range(300) if n % 50]
    imported(stored, write(tmp_path / "given.csv", *rows))
    return stored


@pytest.mark.covers("S2-6", "S0-24")
def test_what_is_exported_reads_back_the_same(filled: Place, tmp_path: Path) -> None:
    for name in ("out.csv", "out.csv.gz", "out.parquet"):
        told = exported(filled, tmp_path / name).value
        assert (told["rows"], told["bytes"]) == (294, (tmp_path / name).stat().st_size)
        assert load_candles(tmp_path / name, MARKET) == load_candles(tmp_path / "given.csv", MARKET)
        again = imported(filled, tmp_path / name).value
        assert (again["unchanged"], again["different"], again["stored"]) == (294, 0, 0)

    assert imported(filled, tmp_path / "out.parquet", market="copy:BTCUSD").value["stored"] == 294
    assert holes(filled, market="copy:BTCUSD") == holes(filled)


def test_flow_is_kept_where_it_is_known(stored: Place, tmp_path: Path, shared_data: Path) -> None:
    with_flow = [f"{row(n)},250,7,1.25" for n in range(3)]
    header = "open_time,open,high,low,close,volume,quote_volume,count,taker_buy_volume"
    imported(stored, write(tmp_path / "a.csv", *with_flow, header=header))
    imported(stored, write(tmp_path / "b.csv", row(3)))
    out = tmp_path / "out.csv"
    exported(stored, out)
    assert out.read_text().splitlines()[3:] == [f"{START + 2 * MINUTE},100,101,99,100,2.5,250,7,1.25",
                                                f"{START + 3 * MINUTE},100,101,99,100,2.5,,,"]  # fmt: skip
    told = imported(stored, out).value
    assert (told["unchanged"], told["refused"]) == (4, 0)
    exported(stored, tmp_path / "out.parquet")
    assert imported(stored, tmp_path / "out.parquet").value["unchanged"] == 4
    assert parquet.read_table(tmp_path / "out.parquet").column("count").to_pylist() == [7, 7, 7, None]


def test_a_range_is_what_opens_in_it(filled: Place, tmp_path: Path) -> None:
    span = ("--from", str(START + 60 * MINUTE), "--to", str(START + 90 * MINUTE))
    told = exported(filled, tmp_path / "out.csv", *span).value
    assert (told["rows"], told["first_open_ms"]) == (30, START + 60 * MINUTE)
    assert told["last_open_ms"] == START + 89 * MINUTE


@pytest.mark.covers("S0-9", "W14")
def test_the_seeds_file_is_appended_to(stored: Place, tmp_path: Path) -> None:
    hours = [row(0, time=START // 3_600_000 * 3_600_000 + n * 3_600_000) for n in range(5)]
    imported(stored, write(tmp_path / "a.csv", *hours), interval="1h")
    told = exported(stored, tmp_path / "data", "--format", "pionex", "--interval", "60M").value
    assert (Path(told["file"]).name, told["rows_before"], told["rows_after"]) == ("btcusd_60m_pionex.csv", 0, 5)
    told = exported(stored, tmp_path / "data", "--format", "pionex", "--interval", "1h").value
    assert (told["rows_before"], told["rows_after"]) == (5, 5)


WRONG: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("out.txt", (), "file"),
    ("out.csv", ("--format", "xml"), "format"),
    ("out.csv", ("--interval", "4h"), "interval"),
    ("out.csv", ("--from", "2030-01-01"), "interval"),
    ("out.csv", ("--from", "soon"), "from"),
    ("out.csv", ("--market", "bitfinex:NONE"), "market"),
    ("given.csv/out.csv", (), None),
    ("given.csv", ("--format", "pionex"), "file"),
)


def test_wrong_orders_are_named_with_the_fix(filled: Place, tmp_path: Path) -> None:
    for name, more, field in WRONG:
        answer = exported(filled, tmp_path / name, *more)
        assert answer.status == 2, (name, more)
        assert answer.value["fix"], (name, more)
        assert field is None or answer.value["field"] == field, (name, more)


@pytest.mark.parametrize("name", ["out.csv.gz", "out.parquet"])
def test_a_full_disk_is_told_and_leaves_the_old_file(filled: Place, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / name).write_bytes(b"old")
    answer = subprocess.run(
        [sys.executable, "-m", "manta", "data", "export", "--market", MARKET, "--file", str(folder / name), "--json"],
        cwd=filled.folder,
        env=filled.variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "no room" in answer.stdout
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(name, b"old")]


def test_the_same_candles_are_the_same_bytes(filled: Place, tmp_path: Path) -> None:
    for name in ("one.csv.gz", "two.csv.gz"):
        exported(filled, tmp_path / name)
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.csv.gz").read_bytes()).startswith(b"open_time,open,high,low,close,volume\n")
