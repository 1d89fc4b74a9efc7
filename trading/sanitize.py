"""Which rows of a candle file cannot be true, by rules that each name themselves.

The range is taken between the first and the last percentile of the closes, so that what is wrong does not widen it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trading.candle_numbers import INT64_MAX, units_of_text
from trading.candles import UNIT
from trading.errors import BadInput
from trading.seed_files import parse_seed_time

__all__ = ["Bounds", "CandleFile", "Dropped", "bounds_of", "default_min_price", "find_wrong", "read_candle_file"]

LOWEST_SHARE, HIGHEST_SHARE = 0.5, 1.5
_PRICES = ("open", "high", "low", "close")
_LEAST_ROWS = 20


class Bounds(NamedTuple):
    """Prices outside are wrong; in quote currency, ``min_price`` by itself and ``low`` … ``high`` from the range."""

    min_price: float
    low: float
    high: float

    def rule(self, lowest: float, highest: float) -> str | None:
        """What is wrong with a candle of these extremes."""
        if lowest < self.min_price:
            return f"price {lowest:.10g} is below {self.min_price:g}"
        if lowest < self.low:
            return f"price {lowest:.10g} is below half of the range, {self.low:.10g}"
        if highest > self.high:
            return f"price {highest:.10g} is above 1.5 times the range, {self.high:.10g}"
        return None


class Dropped(NamedTuple):
    """A row that goes: its line in the file (the header is 1), its text, and the rule that it breaks."""

    line: int
    text: str
    rule: str


@dataclass(slots=True)
class CandleFile:
    """The lines of a csv file: ``rows`` maps a line's number to its values."""

    path: Path
    header: list[str]
    rows: dict[int, list[str]]

    def text(self, numbers: Iterable[int]) -> str:
        """A file with the header and these lines, as they were."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows[number] for number in numbers)
        return out.getvalue()


def default_min_price(symbol: str) -> float:
    """No bitcoin has cost less than 1,000 dollars since 2017; of other markets nothing is known."""
    return 1000.0 if symbol.upper().startswith(("BTC", "XBT", "UBTC", "CBBTC")) else 0.0


def bounds_of(closes: Sequence[float], min_price: float) -> Bounds:
    """The bounds for a series; too short a one has no range."""
    fine = sorted(close for close in closes if close >= max(min_price, 1e-300))
    if len(fine) < _LEAST_ROWS:
        return Bounds(min_price, 0.0, float("inf"))
    # Never the extremes themselves, however short the series.
    place = len(fine) // 100 + 1
    low, high = fine[place], fine[-1 - place]
    return Bounds(min_price, LOWEST_SHARE * low, HIGHEST_SHARE * high)


def read_candle_file(path: Path) -> CandleFile:
    """Read a csv or csv.gz with a header; BadInput when it is none."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.name.endswith(".gz") else raw).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise BadInput(
            f"{path} cannot be read: {error}.", field="file", value=str(path), fix="Give a .csv or .csv.gz."
        ) from error
    names = [name.strip() for name in lines[0]] if lines else []
    wanted = ("time" if "time" in names else "open_time", *_PRICES, "volume")
    absent = next((name for name in wanted if name not in names), None)
    if absent is not None:
        raise BadInput(
            f"{path}, line 1: there is no column {absent}.",
            field=absent,
            value=",".join(names)[:80],
            fix="Give a candle file whose header has time or open_time, open, high, low, close, volume.",
        )
    return CandleFile(path, names, {number: row for number, row in enumerate(lines[1:], 2) if row})


def find_wrong(file: CandleFile, min_price: float) -> tuple[list[int], list[Dropped]]:
    """The lines to keep, by time, and those to drop, as they stand. Of equal times the first stays."""
    names = file.header
    time_at = names.index("time" if "time" in names else "open_time")
    columns = [names.index(name) for name in (*_PRICES, "volume")]
    parsed: dict[int, tuple[int, list[float]]] = {}
    rules: dict[int, str] = {}
    for number, row in file.rows.items():
        try:
            parsed[number] = _parsed(row, time_at, columns)
        except (BadInput, ValueError, IndexError):
            rules[number] = "cannot be read"
    for number, (_, (first, high, low, last, volume)) in parsed.items():
        if low <= 0 or volume < 0 or high < max(first, last) or low > min(first, last):
            rules[number] = "is impossible: high and low do not contain open and close, or a number is not above zero"
    bounds = bounds_of([values[3] for number, (_, values) in parsed.items() if number not in rules], min_price)
    seen: set[int] = set()
    for number, (time_ms, values) in parsed.items():
        if number in rules:
            continue
        rule = bounds.rule(values[2], values[1])
        if rule is None and time_ms in seen:
            rule = "has the time of a row before it"
        if rule is None:
            seen.add(time_ms)
        else:
            rules[number] = rule
    kept = sorted((number for number in parsed if number not in rules), key=lambda number: parsed[number][0])
    return kept, [Dropped(number, ",".join(file.rows[number]), rules[number]) for number in sorted(rules)]


def _parsed(row: list[str], time_at: int, columns: Sequence[int]) -> tuple[int, list[float]]:
    text = row[time_at].strip()
    time_ms = int(text) if text.lstrip("-").isdigit() else parse_seed_time(text)
    units = [units_of_text(row[place].strip(), "volume") for place in columns]
    if max(map(abs, units)) > INT64_MAX:
        raise ValueError("too large")
    return time_ms, [value / UNIT for value in units]
