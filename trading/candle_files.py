"""Candle files: csv, csv.gz and parquet, read into columns of exact integers.

A file has a header: ``open_time, open, high, low, close, volume``, or all columns of Binance's archive (``COLUMNS``).
``open_time`` is unix milliseconds, UTC; a column ``time`` in its place holds UTC dates such as ``2025-07-16 12:00:00``,
as the files of ``seed_files`` do. Numbers are decimals below 9.2e10: prices of at most eight places, volumes with more
are rounded to eight. Rows ascend by open time; a time without a row is a candle that the venue does not have.

Two readers give the same result: a plain one, row by row, which knows the line of every fault, and Arrow for large
files, whose refusals are explained by the plain one.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trading.candle_columns import CandleColumns, Integers, columns_from
from trading.candle_numbers import INT64_MAX, PLAIN_INTEGERS, integers_of, units_of_text
from trading.candles import Candle, check_candle
from trading.errors import BadInput
from trading.intervals import Interval, iso, parse_interval
from trading.seed_files import parse_seed_time

__all__ = ["COLUMNS", "REQUIRED", "load_candles", "load_columns"]

REQUIRED = ("open_time", "open", "high", "low", "close", "volume")
COLUMNS = (*REQUIRED, "close_time", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume", "ignore")
_READ = tuple(name for name in COLUMNS if name != "ignore")
_FORMATS = (".csv", ".csv.gz", ".parquet")
# A file this small is read in well under a second row by row, and Arrow's 30 MB of memory are saved.
_SMALL_BYTES = 1_000_000
# The year 2100: a later time is one in microseconds.
_LATEST_MS = 4_102_444_800_000


def load_candles(
    path: str | Path,
    market: str,
    *,
    interval: str | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> list[Candle]:
    """Return the candles of a file; see ``load_columns``."""
    return load_columns(path, market, interval=interval, start_ms=start_ms, end_ms=end_ms).candles()


def load_columns(
    path: str | Path,
    market: str,
    *,
    interval: str | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> CandleColumns:
    """Return the candles of ``path`` that open in ``start_ms`` … ``end_ms`` (exclusive).

    Without ``interval`` it is the least distance of two rows. Every row of the file is checked, also outside the range.
    Raises BadInput, which names file, line, column, value and fix, when the file or one of its rows cannot be used, and
    when no candle lies in the range.
    """
    path = Path(path)
    if not path.name.endswith(_FORMATS):
        raise BadInput(
            f"{path.name} is not a candle file.", field="file", value=str(path), fix="Give a .csv, .csv.gz or .parquet."
        )
    if not path.is_file():
        raise BadInput(f"There is no file {path}.", field="file", value=str(path), fix="Check the path.")
    width = parse_interval(interval) if interval else None
    columns = _read_fast(path, market, width)
    if columns is None:
        columns = _Rows(path, market, width).read()
    chosen = columns.slice(start_ms, end_ms)
    if not len(chosen):
        raise BadInput(
            f"{path} has no candle in the chosen range.",
            field="start" if start_ms is not None else "end",
            value=iso(start_ms if start_ms is not None else end_ms or 0),
            fix=f"Choose times from {iso(columns.start_ms)} to {iso(columns.end_ms)}.",
        )
    return chosen


# Arrow: large files


def _read_fast(path: Path, market: str, interval: Interval | None) -> CandleColumns | None:
    """Read with Arrow, or return None when the plain reader should: it is small, or something in it is wrong."""
    is_parquet = path.name.endswith(".parquet")
    if not is_parquet and path.stat().st_size < _SMALL_BYTES:
        return None
    import pyarrow as pa

    try:
        table = _read_parquet(path) if is_parquet else _read_csv(path)
        if "open_time" not in table.column_names:
            table = table.rename_columns(["open_time" if name == "time" else name for name in table.column_names])
        arrays = {name: integers_of(table.column(name), name) for name in _READ if name in table.column_names}
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return None
    times = arrays.get("open_time")
    if times is None or any(name not in arrays for name in REQUIRED) or not len(times):
        return None
    columns = columns_from(market, interval, arrays)
    return columns if _sane(columns) else None


def _read_csv(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    number = pa.decimal128(38, 8)
    types = {name: pa.int64() if name in PLAIN_INTEGERS else number for name in _READ} | {"time": pa.timestamp("ms")}
    return arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(use_threads=False),
        convert_options=arrow_csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
    )


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path, use_threads=False)


def _sane(columns: CandleColumns) -> bool:
    """Whether every row passes what the plain reader checks row by row."""
    times, width_ms = columns.open_time_ms, columns.interval.width_ms
    if width_ms is None:
        aligned = all(columns.interval.open_of(int(t)) == t for t in times)
    else:
        aligned = not bool(np.any((times - columns.interval.offset_ms) % width_ms))
    extras = (columns.quote_volume, columns.trade_count, columns.taker_buy_volume, columns.taker_buy_quote_volume)
    return (
        aligned
        and bool(times[-1] <= _LATEST_MS)
        and bool(np.all(np.diff(times) > 0))
        and bool(np.all(columns.low > 0))
        and bool(np.all(columns.low <= np.minimum(columns.open, columns.close)))
        and bool(np.all(np.maximum(columns.open, columns.close) <= columns.high))
        and bool(np.all(columns.volume >= 0))
        and all(extra is None or bool(np.all(extra >= 0)) for extra in extras)
    )


# The plain reader: small files, and the reason why a file is refused


class _Rows:
    """Reads a file row by row; the first fault is told with its line (or row, in parquet), column, value and fix."""

    def __init__(self, path: Path, market: str, interval: Interval | None) -> None:
        self._path = path
        self._market = market
        self._interval = interval
        self._place = "row" if path.name.endswith(".parquet") else "line"
        self._has_dates = False

    def read(self) -> CandleColumns:
        with _lines(self._path) as lines:
            names, rows = self._header(lines)
            numbers: list[int] = []
            table: list[list[int]] = []
            for line, row in rows:
                table.append(self._parse(line, names, row))
                numbers.append(line)
        if not table:
            raise self._fault(1, "open_time", "", "has no candles", "Give a file with at least one row.")
        wanted = [name for name in names if name != "ignore"]
        arrays = {
            name: np.array(values, np.int64) for name, values in zip(wanted, zip(*table, strict=True), strict=True)
        }
        self._check_order(arrays["open_time"], numbers)
        columns = columns_from(self._market, self._interval, arrays)
        for line, candle in zip(numbers, columns.candles(), strict=True):
            self._check(line, columns.interval, candle)
        return columns

    def _header(self, lines: Iterator[tuple[int, list[str]]]) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
        number, first = next(lines, (1, []))
        names = [name.strip() for name in first]
        if "time" in names and "open_time" not in names:
            self._has_dates = True
            names[names.index("time")] = "open_time"
        unknown = next((name for name in names if name not in COLUMNS or names.count(name) > 1), None)
        absent = next((name for name in REQUIRED if name not in names), None)
        if unknown is not None or absent is not None:
            raise self._fault(
                number,
                absent or unknown or "",
                ",".join(names)[:80],
                f"has no column {absent}" if absent else f"has the unknown or repeated column {unknown!r}",
                f"Start the file with the header {','.join(REQUIRED)}, optionally with {','.join(COLUMNS[6:])}.",
            )
        return names, lines

    def _parse(self, line: int, names: list[str], row: list[str]) -> list[int]:
        if len(row) != len(names):
            raise self._fault(
                line, names[min(len(row), len(names) - 1)], len(row), f"has {len(row)} values for {len(names)} columns",
                "Repair or remove the line.",
            )  # fmt: skip
        values = []
        for name, text in zip(names, row, strict=True):
            if name == "ignore":
                continue
            try:
                if name == "open_time" and self._has_dates:
                    value = parse_seed_time(text)
                else:
                    value = int(text) if name in PLAIN_INTEGERS else units_of_text(text, name)
            except (BadInput, ValueError) as error:
                finer = isinstance(error, BadInput) and "finer" in error.message
                no_such = "is no UTC date" if name == "open_time" and self._has_dates else "is no number"
                what = "is finer than eight decimals" if finer else no_such
                fix = "Round it to eight decimals." if finer else "Repair or remove the line."
                raise self._fault(line, name, text, what, fix) from error
            if value < 0 or value > INT64_MAX:
                what = "is negative" if value < 0 else "is above 92,233,720,368"
                raise self._fault(line, name, text, what, "Repair or remove the line.")
            if name == "open_time" and value > _LATEST_MS:
                what = "is no time in unix milliseconds"
                raise self._fault(line, name, text, what, "Give milliseconds: divide microseconds by 1000.")
            values.append(value)
        return values

    def _check_order(self, times: Integers, numbers: list[int]) -> None:
        wrong = np.flatnonzero(np.diff(times) <= 0)
        if len(wrong):
            at = int(wrong[0]) + 1
            what = "is a duplicate" if times[at] == times[at - 1] else "is earlier than the row before"
            raise self._fault(
                numbers[at], "open_time", int(times[at]), what, "Sort the rows by open_time and remove duplicates."
            )

    def _check(self, line: int, interval: Interval, candle: Candle) -> None:
        if interval.open_of(candle.open_time_ms) != candle.open_time_ms:
            what = f"is not an open time of {interval}"
            raise self._fault(
                line, "open_time", candle.open_time_ms, what, "Give another interval, or repair the line."
            )
        if (reason := check_candle(candle)) is not None:
            column = "low" if candle.low <= 0 else "high"
            text = f"{candle.open / 1e8}/{candle.high / 1e8}/{candle.low / 1e8}/{candle.close / 1e8}"
            raise self._fault(line, column, text, f"is impossible: {reason}", "Repair or remove the line.")

    def _fault(self, line: int, column: str, value: object, what: str, fix: str) -> BadInput:
        where = f"{self._path}, {self._place} {line}, column {column}"
        return BadInput(f"{where}: {value!r} {what}.", field=column, value=value, fix=fix)


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Open ``path`` and give (line number, values) of its non-empty lines, the header first."""
    try:
        if path.name.endswith(".parquet"):
            yield _parquet_rows(path)
            return
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as text:
            reader = csv.reader(text)
            yield ((reader.line_num, row) for row in reader if row)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise BadInput(
            f"{path} cannot be read: {error}.", field="file", value=str(path), fix="Fetch the file again."
        ) from error


def _parquet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import pyarrow as pa

    try:
        table = _read_parquet(path)
    except pa.ArrowException as error:
        raise OSError(str(error).splitlines()[0]) from error
    yield 0, list(table.column_names)
    rows = zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
    for number, row in enumerate(rows, 1):
        yield number, ["" if value is None else str(value) for value in row]
