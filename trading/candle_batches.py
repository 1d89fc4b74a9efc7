"""Candle files of any size, read in batches of sane candles; what is wrong with the other rows is told.

Formats: csv, csv.gz and parquet with a header, and the zip archives that Binance publishes, with or without one. Open
times are unix milliseconds or microseconds, or (column ``time``) UTC dates as texts. ``candle_files`` reads whole files
for replays and refuses them at the first fault; this reads what can be used of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trading.candle_columns import CandleColumns, Integers, columns_from
from trading.candle_numbers import INT64_MAX, integers_of, rounded_of, units_of_text
from trading.candle_source import CandleSource
from trading.errors import BadInput
from trading.intervals import Interval
from trading.seed_files import parse_seed_time

__all__ = ["Batch", "Refusals", "Refused", "read_batches"]

Flags = NDArray[np.bool_]

_SHOWN = 20
# Bitcoin's first block: an earlier time is in another unit.
_FIRST_MS = 1_231_006_505_000
_MICROSECONDS_FROM = 10**14
_EXTRAS = ("quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume")


class Refused(NamedTuple):
    """A row that is not used: its number in the file (the first after the header is 1), the column, and why."""

    row: int
    column: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.column} {self.value}: {self.why}"


@dataclass(slots=True)
class Refusals:
    """All rows that were not used: how many for which reason, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[Refused] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, refused: Refused) -> None:
        self.counts[refused.why] += 1
        if len(self.first) < _SHOWN:
            self.first.append(refused)


class Batch(NamedTuple):
    """Some rows of a file. ``columns`` are sane, ascending and of unique times, or None when no row was usable.

    ``unusable`` are the open times of refused rows, ``repeats`` how many rows were the same as one before them,
    ``rows`` how many were read, ``share`` how much of the file is done (0 to 1).
    """

    columns: CandleColumns | None
    unusable: Integers
    repeats: int
    rows: int
    share: float


def read_batches(
    source: CandleSource, market: str, interval: Interval, *, closed_by_ms: int, refusals: Refusals
) -> Iterator[Batch]:
    """Read ``source`` to its end; what is refused is added to ``refusals`` before its batch is given.

    A candle that closes after ``closed_by_ms`` is refused. Raises BadInput when the file cannot be read, or when its
    rows lie further apart than ``interval``.
    """
    reader = _Reader(market, interval, closed_by_ms, refusals)
    for table in source.tables():
        for bad in source.take_malformed():
            refusals.add(Refused(bad.row, "row", bad.text, "has another number of values than the header"))
        for part, numbers in reader.parts(table):
            yield reader.batch(part, numbers, source.share)


class _Reader:
    def __init__(self, market: str, interval: Interval, closed_by_ms: int, refusals: Refusals) -> None:
        self._market = market
        self._interval = interval
        self._closed_by_ms = closed_by_ms
        self._refusals = refusals
        self._rows = 0
        self._unread: list[int] = []
        self._time_first = True
        self._checked_width = False

    def parts(self, table: Any) -> Iterator[tuple[Any, Integers]]:
        """The rows of ``table`` with their numbers; those with an empty optional column are a part without them."""
        from pyarrow import compute

        numbers = np.arange(self._rows + 1, self._rows + 1 + len(table), dtype=np.int64)
        self._rows += len(table)
        lacking = np.zeros(len(table), np.bool_)
        for name in table.schema.names:
            column = table.column(name)
            if name in _EXTRAS and column.null_count:
                lacking |= column.is_null().to_numpy(zero_copy_only=False)
            elif name in _EXTRAS and str(column.type) == "string":
                lacking |= compute.equal(column, "").to_numpy(zero_copy_only=False)
        if not lacking.any():
            yield table, numbers
            return
        plain = table.select([name for name in table.schema.names if name not in _EXTRAS])
        for part, chosen in ((plain, lacking), (table, ~lacking)):
            if chosen.any():
                yield part.filter(chosen), numbers[chosen]

    def batch(self, table: Any, numbers: Integers, share: float) -> Batch:
        count = len(table)
        arrays, numbers = self._arrays(table, numbers)
        unusable = [np.array(self._unread, np.int64)]
        self._unread = []
        for column, why, wrong in self._faults(arrays):
            if wrong.any():
                for place in np.flatnonzero(wrong).tolist():
                    self._refuse(int(numbers[place]), column, arrays[column][place], why)
                unusable.append(arrays["open_time"][wrong])
                arrays = {name: array[~wrong] for name, array in arrays.items()}
                numbers = numbers[~wrong]
        arrays, repeats = self._ascending(arrays, numbers)
        self._check_width(arrays["open_time"])
        columns = columns_from(self._market, self._interval, arrays) if len(arrays["open_time"]) else None
        return Batch(columns, self._minutes(np.concatenate(unusable)), repeats, count, share)

    # Numbers

    def _arrays(self, table: Any, numbers: Integers) -> tuple[dict[str, Integers], Integers]:
        """The columns as integers: at once, or row by row when one of the rows does not allow it."""
        import pyarrow as pa

        try:
            return {name: _column(table.column(name), name) for name in table.schema.names}, numbers
        except (pa.ArrowException, ValueError, OverflowError):
            return self._row_by_row(table, numbers)

    def _row_by_row(self, table: Any, numbers: Integers) -> tuple[dict[str, Integers], Integers]:
        names = table.schema.names
        self._time_first = names[0] == "open_time"
        values: dict[str, list[int]] = {name: [] for name in names}
        kept = []
        rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        for number, row in zip(numbers.tolist(), rows, strict=True):
            parsed = self._row(number, names, row)
            if parsed is not None:
                kept.append(number)
                for name, value in zip(names, parsed, strict=True):
                    values[name].append(value)
        arrays = {name: np.array(column, np.int64) for name, column in values.items()}
        return arrays, np.array(kept, np.int64)

    def _row(self, number: int, names: list[str], row: tuple[Any, ...]) -> list[int] | None:
        parsed: list[int] = []
        for name, value in zip(names, row, strict=True):
            text = "" if value is None else str(value).strip()
            try:
                units = _time_of(text) if name == "open_time" else _number(text, name)
            except (BadInput, ValueError, OverflowError) as error:
                finer = isinstance(error, BadInput) and "finer" in error.message
                why = "is finer than eight decimals" if finer else "is no number"
                self._set_aside(number, name, text, why, parsed)
                return None
            if abs(units) > INT64_MAX:
                self._set_aside(number, name, text, "is above 92,233,720,368", parsed)
                return None
            parsed.append(units)
        return parsed

    def _set_aside(self, number: int, name: str, text: str, why: str, parsed: list[int]) -> None:
        self._refuse(number, name, text[:40], why)
        # The open time is the first column of nearly every file; else its minute is as good as not there.
        if self._time_first and parsed:
            self._unread.append(parsed[0])

    # Sanity

    def _faults(self, arrays: dict[str, Integers]) -> Iterator[tuple[str, str, Flags]]:
        """What may be wrong, one after the other: the caller takes the wrong rows out of ``arrays`` in between."""
        interval = self._interval
        checks: list[tuple[str, str, Callable[[dict[str, Integers]], Flags]]] = [
            ("open_time", "is before 2009: unix milliseconds are wanted", lambda a: a["open_time"] < _FIRST_MS),
            ("open_time", "is in the future, or its candle has not closed", self._open_still),
            ("open_time", f"is not an open time of {interval}", self._misplaced),
            ("low", "is not above zero", lambda a: a["low"] <= 0),
            ("high", "is below open or close", lambda a: a["high"] < np.maximum(a["open"], a["close"])),
            ("low", "is above open or close", lambda a: a["low"] > np.minimum(a["open"], a["close"])),
            ("volume", "is below zero", partial(_negative, "volume")),
        ]  # fmt: skip
        checks += [(name, "is below zero", partial(_negative, name)) for name in _EXTRAS if name in arrays]
        left = arrays
        for column, why, check in checks:
            wrong = check(left)
            yield column, why, wrong
            if wrong.any():
                left = {name: array[~wrong] for name, array in left.items()}

    def _open_still(self, arrays: dict[str, Integers]) -> Flags:
        return arrays["open_time"] >= self._interval.open_of(self._closed_by_ms)

    def _misplaced(self, arrays: dict[str, Integers]) -> Flags:
        times, width_ms = arrays["open_time"], self._interval.width_ms
        if width_ms is None:
            return np.array([self._interval.open_of(time) != time for time in times.tolist()], np.bool_)
        misplaced: Flags = (times - self._interval.offset_ms) % width_ms != 0
        return misplaced

    def _minutes(self, times: Integers) -> Integers:
        """Those of ``times`` at which a candle could open."""
        fine = times[(times >= _FIRST_MS) & (times < self._closed_by_ms)]
        return np.unique(fine[~self._misplaced({"open_time": fine})]) if len(fine) else fine

    # Order

    def _ascending(self, arrays: dict[str, Integers], numbers: Integers) -> tuple[dict[str, Integers], int]:
        """The rows by time, each time once. The first row of a time holds; another one that differs is refused."""
        times = arrays["open_time"]
        if bool(np.all(np.diff(times) > 0)):
            return arrays, 0
        order = np.argsort(times, kind="stable")
        arrays = {name: array[order] for name, array in arrays.items()}
        numbers, times = numbers[order], arrays["open_time"]
        again = np.concatenate([[False], np.diff(times) == 0])
        first = np.maximum.accumulate(np.where(again, 0, np.arange(len(times))))
        facts = ("open", "high", "low", "close", "volume")
        differs = again & np.any([arrays[name] != arrays[name][first] for name in facts], axis=0)
        for place in np.flatnonzero(differs).tolist():
            self._refuse(int(numbers[place]), "open_time", times[place], "stands there twice, with other values")
        return {name: array[~again] for name, array in arrays.items()}, int(again.sum() - differs.sum())

    def _check_width(self, times: Integers) -> None:
        if self._checked_width or len(times) < 3:
            return
        self._checked_width = True
        apart_ms, width_ms = int(np.diff(times).min()), self._interval.typical_ms
        if apart_ms >= 2 * width_ms:
            raise BadInput(
                f"The rows lie at least {apart_ms // 60_000} minutes apart, which is not {self._interval}.",
                field="interval",
                value=self._interval.name,
                fix="Give the interval of the file's candles.",
            )

    def _refuse(self, row: int, column: str, value: object, why: str) -> None:
        shown = value if isinstance(value, str) else _shown(int(str(value)), column)
        self._refusals.add(Refused(row, column, shown, why))


def _negative(name: str, arrays: dict[str, Integers]) -> Flags:
    negative: Flags = arrays[name] < 0
    return negative


def _column(column: Any, name: str) -> Integers:
    import pyarrow as pa

    if name == "open_time":
        return _times(column)
    try:
        return integers_of(column, name)
    except pa.ArrowInvalid:
        if not name.endswith("volume") or not pa.types.is_string(column.type):
            raise
        return rounded_of(column, name)


def _times(column: Any) -> Integers:
    """Open times in ms, of ms or microseconds, Arrow's own times, or dates as texts (UTC unless they say otherwise)."""
    import pyarrow as pa

    if pa.types.is_string(column.type) and len(column) and not str(column[0]).strip().lstrip("-").isdigit():
        return np.array([parse_seed_time(text) for text in column.to_pylist()], np.int64)
    times = integers_of(column, "open_time")
    return np.where(times >= _MICROSECONDS_FROM, times // 1000, times)


def _time_of(text: str) -> int:
    if text.lstrip("-").isdigit():
        time_ms = int(text)
        return time_ms // 1000 if time_ms >= _MICROSECONDS_FROM else time_ms
    return parse_seed_time(text)


def _number(text: str, name: str) -> int:
    return int(text) if name == "count" else units_of_text(text, name)


def _shown(value: int, column: str) -> str:
    return str(value) if column in ("open_time", "count", "row") else f"{value / 1e8:.10g}"
