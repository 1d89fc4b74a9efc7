"""The candle files of the first downloader, ``btc_usdt_60m_pionex.csv``: kept up by appending, never shortened.

Columns ``time`` (UTC, such as ``2025-07-16 12:00:00``), ``open``, ``high``, ``low``, ``close``, ``volume``; one row for
each open time, ascending. ``60M`` and ``1h`` are the same file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from trading.atomic_files import locked, replacing
from trading.candles import Candle, from_units, to_units
from trading.errors import BadInput
from trading.intervals import Interval, parse_interval

__all__ = [
    "SEED_COLUMNS",
    "SeedFile",
    "SeedRow",
    "append_seed_file",
    "parse_seed_time",
    "read_seed_rows",
    "seed_file_name",
    "seed_text",
    "seed_time",
]

SEED_COLUMNS = ("time", "open", "high", "low", "close", "volume")


class SeedFile(NamedTuple):
    """What became of a file: its rows before and after."""

    path: Path
    rows_before: int
    rows_after: int


class SeedRow(NamedTuple):
    """One row as the file has it; ``texts`` are open, high, low, close and volume, which are rewritten unchanged."""

    open_time_ms: int
    texts: tuple[str, str, str, str, str]


def seed_file_name(symbol: str, interval: str | Interval, venue: str = "pionex") -> str:
    """``btc_usdt_60m_pionex.csv``: small letters, and ``60m`` for an hour, as the first downloader wrote it."""
    name = interval.name if isinstance(interval, Interval) else parse_interval(interval).name
    if name == "1M":
        # In small letters a month would be the file of a minute.
        name = "1mo"
    if not symbol or not all(letter.isalnum() or letter in "_.-" for letter in symbol):
        raise BadInput(
            f"Symbol {symbol!r} makes no file name.",
            field="symbol",
            value=symbol,
            fix="Use letters, digits, _ . and -, such as BTC_USDT.",
        )
    return f"{symbol.lower()}_{'60m' if name == '1h' else name.lower()}_{venue}.csv"


def append_seed_file(
    folder: Path, symbol: str, interval: str, candles: Iterable[Candle], *, venue: str = "pionex"
) -> SeedFile:
    """Add ``candles`` to the file of ``symbol`` and ``interval`` in ``folder``, making it if there is none.

    A row that the file has keeps its values; what it has beyond ``candles`` stays. The file is replaced as a whole, by
    one writer at a time, so a crash, a full disk (MantaError) or a second writer cannot harm it. BadInput when the file
    is no such file.
    """
    path = folder / seed_file_name(symbol, interval, venue)
    new = {candle.open_time_ms: _row(candle) for candle in candles}
    with locked(path):
        old = {row.open_time_ms: row for row in read_seed_rows(path)} if path.exists() else {}
        rows = new | old
        if len(rows) > len(old) or not path.exists():
            with replacing(path) as file:
                file.write(seed_text(rows[time_ms] for time_ms in sorted(rows)).encode())
    return SeedFile(path, len(old), len(rows))


def read_seed_rows(path: Path) -> list[SeedRow]:
    """The rows of ``path`` in their order; BadInput, naming line, column and fix, for one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = list(csv.reader(io.StringIO(text)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{path} cannot be read: {error}.", field="file", value=str(path), fix="Is it a candle file?"
        ) from error
    if not lines or tuple(name.strip() for name in lines[0][:6]) != SEED_COLUMNS:
        raise BadInput(
            f"{path}, line 1: {','.join(lines[0])[:80] if lines else ''!r} is not the header of this kind of file.",
            field="header",
            value=",".join(lines[0])[:80] if lines else "",
            fix=f"It begins with {','.join(SEED_COLUMNS)}.",
        )
    return [_parsed(path, number, line) for number, line in enumerate(lines[1:], 2) if line]


def seed_text(rows: Iterable[SeedRow]) -> str:
    """The whole text of a file with ``rows``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SEED_COLUMNS)
    writer.writerows((seed_time(row.open_time_ms), *row.texts) for row in rows)
    return out.getvalue()


def seed_time(open_time_ms: int) -> str:
    """``2025-07-16 12:00:00``, UTC."""
    return datetime.fromtimestamp(open_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def parse_seed_time(text: str) -> int:
    """Epoch ms of a time as these files have it; one without a zone is UTC. ValueError if it is none."""
    moment = datetime.fromisoformat(text.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return round(moment.timestamp() * 1000)
    except OverflowError as error:
        raise ValueError(text) from error


def _row(candle: Candle) -> SeedRow:
    texts = [_plain(units) for units in (candle.open, candle.high, candle.low, candle.close, candle.volume)]
    return SeedRow(candle.open_time_ms, (texts[0], texts[1], texts[2], texts[3], texts[4]))


def _plain(units: int) -> str:
    text = format(from_units(units), "f")
    return text.rstrip("0").rstrip(".")


def _parsed(path: Path, number: int, line: list[str]) -> SeedRow:
    column, value = "time", line[0]
    try:
        time_ms = parse_seed_time(value)
        for column, value in zip(SEED_COLUMNS[1:], line[1:6], strict=True):
            to_units(value, column) if column != "volume" else float(value)
    except (BadInput, ValueError) as error:
        what = error.message if isinstance(error, BadInput) else f"{value!r} cannot be read."
        raise BadInput(
            f"{path}, line {number}, column {column}: {what}",
            field=column,
            value=value,
            fix="Repair or remove the line; `manta data repair` shows what it would drop.",
        ) from error
    return SeedRow(time_ms, (line[1], line[2], line[3], line[4], line[5]))
