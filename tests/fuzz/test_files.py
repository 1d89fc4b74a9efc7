"""Whatever stands in a file of candles: it is read, or refused with a reason."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.fuzz.explore import EXAMPLES, explore, texts
from trading.candle_batches import Refusals, read_batches
from trading.candle_files import COLUMNS, load_columns
from trading.candle_source import CandleSource
from trading.candles import check_candle
from trading.intervals import parse_interval
from trading.sanitize import find_wrong, read_candle_file
from trading.seed_files import SEED_COLUMNS, append_seed_file, read_seed_rows

NOW = 1_900_000_000_000
_cells = st.one_of(
    texts,
    st.integers(0, 2**63).map(str),
    st.sampled_from(["1600000020000", "1600000080000", "2020-09-13 12:27:00", "100"]),
)
_rows = st.lists(st.lists(_cells, min_size=4, max_size=13).map(",".join), max_size=8)
_good = st.lists(st.integers(0, 50).map(lambda n: f"{1_600_000_020_000 + n * 60_000},100,101,99,100,{n}"), max_size=8)
_headers = st.one_of(
    st.just(",".join(COLUMNS[:6])), st.just(",".join(COLUMNS)), st.just(",".join(SEED_COLUMNS)), texts, st.just(None)
)


@st.composite
def _csv(draw: st.DrawFn) -> bytes:
    header = draw(_headers)
    lines = draw(st.one_of(_good, st.tuples(_good, _rows).map(lambda pair: pair[0] + pair[1]), _rows))
    text = draw(st.sampled_from(["\n", "\r\n"])).join(([header] if header is not None else []) + lines)
    raw = text.encode("utf-8", "surrogatepass")
    return draw(st.one_of(st.just(raw), st.binary(max_size=200), st.integers(0, 300).map(lambda n: raw[:n])))


def _packed(kind: str, raw: bytes, cut: int) -> bytes:
    if kind == ".csv.gz":
        raw = gzip.compress(raw)
    if kind == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.csv", raw)
        raw = packed.getvalue()
    return raw[: len(raw) - cut] if cut else raw


READERS: dict[str, Callable[[Path], object]] = {}


def reader(function: Callable[[Path], object]) -> Callable[[Path], object]:
    READERS[function.__name__] = function
    return function


@reader
def loading(path: Path) -> None:
    for candle in load_columns(path, "a:B").candles():
        assert check_candle(candle) is None


@reader
def importing(path: Path) -> None:
    interval, seen = parse_interval("1m"), -1
    with CandleSource(path) as source:
        for batch in read_batches(source, "a:B", interval, closed_by_ms=NOW, refusals=Refusals()):
            if batch.columns is not None:
                candles = batch.columns.candles()
                assert all(check_candle(candle) is None for candle in candles)
                assert all(candle.open_time_ms < NOW for candle in candles)
                seen += len(candles)


@reader
def repairing(path: Path) -> None:
    file = read_candle_file(path)
    kept, dropped = find_wrong(file, 50.0)
    assert len(kept) + len(dropped) == len(file.rows)
    file.text(kept)


@reader
def seeding(path: Path) -> None:
    read_seed_rows(path)


@EXAMPLES
@pytest.mark.parametrize("name", list(READERS))
def test_no_file_makes_a_reader_raise_anything_else(tmp_path: Path, name: str, examples: int) -> None:
    files = st.tuples(st.sampled_from([".csv", ".csv", ".csv.gz", ".zip", ".parquet"]), _csv(), st.integers(0, 20))

    def work(file: tuple[str, bytes, int]) -> None:
        path = tmp_path / f"a{file[0]}"
        path.write_bytes(_packed(*file))
        READERS[name](path)

    explore(examples, files, work)


@EXAMPLES
def test_a_file_to_append_to_is_refused_or_kept_whole(tmp_path: Path, examples: int) -> None:
    path = tmp_path / "b_60m_pionex.csv"

    def work(raw: bytes) -> None:
        path.write_bytes(raw)
        try:
            told = append_seed_file(tmp_path, "B", "1h", [])
        finally:
            assert path.read_bytes() == raw
        assert told.rows_after == told.rows_before

    explore(examples, _csv(), work)
