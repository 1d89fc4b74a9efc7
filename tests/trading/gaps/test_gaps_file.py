"""gaps.csv: the first monitor's columns, its own file read, and no row lost to writers, crashes or a full disk."""

import csv
import io
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trading.gaps.test_texts import GAP
from trading.candles import to_units
from trading.errors import BadInput
from trading.gaps.gaps_file import COLUMNS, GapRow, merge_gaps_file, read_gaps_file, row_of
from trading.seed_files import parse_seed_time

SEED = """id,timeframe,start_time,gap_type,gap_low,gap_high,status,found_time,closed_time,close_price
G00001,60M,2025-11-02 05:00:00,up,109870.1,110010.25,closed,2025-11-02 06:02:11,2025-11-02 09:00:00,109870.10000000
G00003,4H,2025-11-03T08:00:00+00:00,down,107000,107450.5,open,2025-11-03 12:06:00,,
"""


def test_the_first_monitors_file_is_read_and_keeps_its_rows_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text(SEED)
    first, second = read_gaps_file(path)
    assert (first.id, first.interval, first.closed, first.market, first.mode) == (
        "G00001", "1h", True, "pionex:BTC_USDT", "b2dir",
    )  # fmt: skip
    assert (second.interval, second.start_ms, second.closed) == ("4h", parse_seed_time("2025-11-03 08:00:00"), False)
    merge_gaps_file(path, [row_of(GAP)._replace(id="")])
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ["G00001", "G00003", "G00004"]
    assert rows[0]["close_price"] == "109870.10000000"
    assert rows[2] == {
        "id": "G00004", "timeframe": "1h", "start_time": "2025-12-21 13:00:00", "gap_type": "down",
        "gap_low": "88149.99000000", "gap_high": "88306.00000000", "status": "closed",
        "found_time": "2025-12-21 14:00:00", "closed_time": "2025-12-21 15:00:00", "close_price": "88306.00000000",
        "symbol": "BTCUSDT", "venue": "binance", "mode": "b2dir",
    }  # fmt: skip


def test_a_known_gap_keeps_its_id_and_closes_once(tmp_path: Path) -> None:
    path = tmp_path / "gaps" / "gaps.csv"
    opened = row_of(GAP)._replace(id="", closed=False, closed_ms=None, close_price=None)
    assert merge_gaps_file(path, [opened]) == 1
    closed = row_of(GAP)._replace(id="")
    merge_gaps_file(path, [closed])
    assert read_gaps_file(path) == [closed._replace(id="G00001")]
    merge_gaps_file(path, [opened, closed._replace(close_price=to_units("1"))])
    assert read_gaps_file(path) == [closed._replace(id="G00001")]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("X1,60M,2025-11-02 05:00:00,up,1,2,open,,,", "id"),
        ("G1,7x,2025-11-02 05:00:00,up,1,2,open,,,", "timeframe"),
        ("G1,60M,yesterday,up,1,2,open,,,", "start_time"),
        ("G1,60M,2025-11-02 05:00:00,sideways,1,2,open,,,", "gap_type"),
        ("G1,60M,2025-11-02 05:00:00,up,NaN,2,open,,,", "gap_low"),
        ("G1,60M,2025-11-02 05:00:00,up,2,2,open,,,", "gap_high"),
        ("G1,60M,2025-11-02 05:00:00,up,1,2,maybe,,,", "status"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_the_file_left_alone(tmp_path: Path, line: str, column: str) -> None:
    path = tmp_path / "gaps.csv"
    text = f"{SEED}{line}\n"
    path.write_text(text)
    with pytest.raises(BadInput, match=rf"line 4, column {column}"):
        merge_gaps_file(path, [row_of(GAP)])
    assert path.read_text() == text


_CELLS = st.one_of(
    st.sampled_from(
        ["G00001", "60M", "1M", "2025-11-02 05:00:00", "9999-12-31", "up", "1e400", "Infinity", "open", ""]
    ),
    st.text(max_size=12),
)


@given(st.lists(st.lists(_CELLS, min_size=1, max_size=14), max_size=4), st.binary(max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_in_the_file_is_read_or_refused(tmp_path: Path, rows: list[list[str]], noise: bytes) -> None:
    path = tmp_path / "gaps.csv"
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass") + noise)
    found: list[GapRow] = []
    refusal = None
    try:
        found = read_gaps_file(path)
    except BadInput as error:
        refusal = error
    assert refusal is None or (refusal.field and refusal.fix)
    assert all(0 < row.low < row.high < 2**63 for row in found)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("time,open\n1,2\n")
    with pytest.raises(BadInput, match="the column id is missing"):
        read_gaps_file(path)


@pytest.mark.covers("W14")
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_some, args=(path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    rows = read_gaps_file(path)
    assert sorted(row.start_ms for row in rows) == [n * 3_600_000 for n in range(24)]
    assert [row.id for row in rows] == [f"G{n + 1:05}" for n in range(24)]
    assert sorted(item.name for item in tmp_path.iterdir()) == [".gaps.csv.lock", "gaps.csv"]


def write_some(path: Path, part: int) -> None:
    for n in range(part, 24, 3):
        row: GapRow = row_of(GAP)._replace(id="", start_ms=n * 3_600_000)
        merge_gaps_file(path, [row])
