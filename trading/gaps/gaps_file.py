"""``gaps.csv``: every gap as one row, in the columns of the first gap monitor and three of our own behind them.

The first monitor's own file is read as it is: its gaps are ``pionex`` ``BTC_USDT``, and of mode ``b2dir`` as far as
nothing else is said. A file is replaced as a whole by one writer at a time, and no row of it is ever lost.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from trading.atomic_files import locked, replacing
from trading.candles import from_units, to_units
from trading.errors import BadInput
from trading.gaps.detector import DEFAULT_MODE, GapType, parse_mode
from trading.gaps.life import GapKey, GapStatus
from trading.intervals import parse_interval
from trading.seed_files import parse_seed_time, seed_time
from trading.storage.price_gaps import StoredGap

__all__ = ["COLUMNS", "GapRow", "merge_gaps_file", "number_of", "read_gaps_file", "replace_rows", "row_of"]

_SEED_COLUMNS = (
    "id", "timeframe", "start_time", "gap_type", "gap_low", "gap_high", "status", "found_time", "closed_time",
    "close_price",
)  # fmt: skip
COLUMNS = (*_SEED_COLUMNS, "symbol", "venue", "mode")
_SEED = {"symbol": "BTC_USDT", "venue": "pionex", "mode": DEFAULT_MODE.value}
_ID = re.compile(r"G([0-9]{1,18})")


class GapRow(NamedTuple):
    """One row. ``closed`` is False for a gap that is open or touched; times are epoch ms, prices at 10**-8."""

    id: str
    interval: str
    start_ms: int
    type: str
    low: int
    high: int
    closed: bool
    found_ms: int | None
    closed_ms: int | None
    close_price: int | None
    symbol: str
    venue: str
    mode: str

    @property
    def key(self) -> tuple[str, str, str, str, GapKey]:
        """What names the gap: the same in another row is the same gap."""
        return self.venue, self.symbol, self.interval, self.mode, GapKey(self.start_ms, self.type)

    @property
    def market(self) -> str:
        return f"{self.venue}:{self.symbol}"


def row_of(gap: StoredGap) -> GapRow:
    """The row of a stored gap."""
    venue, _, symbol = gap.market.partition(":")
    return GapRow(
        gap.id, gap.interval, gap.start_ms, gap.type, gap.low, gap.high, gap.status == GapStatus.FILLED, gap.found_ms,
        gap.closed_ms, gap.close_price, symbol, venue, gap.mode,
    )  # fmt: skip


def number_of(identity: str) -> int:
    """The number in an id such as ``G00001``."""
    found = _ID.fullmatch(identity)
    if found is None:
        raise ValueError(identity)
    return int(found[1])


def read_gaps_file(path: Path) -> list[GapRow]:
    """The rows of ``path`` in their order, none if there is no file; BadInput, naming the line, for one that is wrong.

    A row must not be lost because it cannot be read: so the file is refused as a whole.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = list(csv.reader(io.StringIO(text)))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read: {error}.", field="file", value=str(path), fix="Check it.") from error
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    missing = [name for name in _SEED_COLUMNS if name not in header]
    if missing:
        raise BadInput(
            f"{path}, line 1: the column {missing[0]} is missing.",
            field=missing[0],
            value=",".join(header)[:80],
            fix=f"A gaps file begins with {','.join(_SEED_COLUMNS)}.",
        )
    return [_parsed(path, number, header, line) for number, line in enumerate(lines[1:], 2) if line]


def merge_gaps_file(path: Path, rows: Iterable[GapRow]) -> int:
    """Bring ``path`` up to ``rows`` and return how many it has; rows of gaps that are not among ``rows`` stay.

    A row without an id (empty) takes that of the file's row of the same gap, or else the next free one.
    """
    with locked(path):
        old = {row.key: row for row in read_gaps_file(path)}
        merged = dict(old)
        last = max((number_of(row.id) for row in old.values()), default=0)
        for row in rows:
            known = old.get(row.key)
            last += not row.id and known is None
            identity = row.id or (f"G{last:05}" if known is None else known.id)
            # A gap that was closed stays closed, whoever wrote it.
            merged[row.key] = (known if known is not None and known.closed else row)._replace(id=identity)
        if merged != old or not path.exists():
            ordered = sorted(merged.values(), key=lambda row: number_of(row.id))
            with replacing(path) as file:
                file.write(_text(ordered).encode())
    return len(merged)


def replace_rows(path: Path, rows: Iterable[GapRow], removed: Iterable[GapRow]) -> Path | None:
    """Write ``rows`` over what ``path`` has of them, without ``removed``; returns the copy made of it before.

    Unlike ``merge_gaps_file`` this may open a closed gap again: it is for a rebuild that was asked for.
    """
    with locked(path):
        before = {row.key: row for row in read_gaps_file(path)}
        gone = {row.key for row in removed}
        after = {key: row for key, row in before.items() if key not in gone} | {row.key: row for row in rows}
        if after == before:
            return None
        backup = None
        if path.exists():
            backup = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}.bak")
            with replacing(backup) as copy:
                copy.write(path.read_bytes())
        with replacing(path) as file:
            file.write(_text(sorted(after.values(), key=lambda row: number_of(row.id))).encode())
    return backup


def _text(rows: Iterable[GapRow]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(
            (
                row.id,
                row.interval,
                seed_time(row.start_ms),
                row.type,
                _price(row.low),
                _price(row.high),
                "closed" if row.closed else "open",
                _time(row.found_ms),
                _time(row.closed_ms),
                "" if row.close_price is None else _price(row.close_price),
                row.symbol,
                row.venue,
                row.mode,
            )
        )
    return out.getvalue()


def _price(units: int) -> str:
    return f"{from_units(units):.8f}"


def _time(time_ms: int | None) -> str:
    return "" if time_ms is None else seed_time(time_ms)


def _parsed(path: Path, number: int, header: list[str], line: list[str]) -> GapRow:
    told = {name: value.strip() for name, value in zip(header, line, strict=False)}
    column = "id"

    def value(name: str) -> str:
        nonlocal column
        column = name
        return told.get(name) or _SEED.get(name, "")

    try:
        number_of(value("id"))
        status = value("status").lower()
        row = GapRow(
            value("id"), parse_interval(value("timeframe")).name, parse_seed_time(value("start_time")),
            GapType(value("gap_type").lower()).value, to_units(value("gap_low")), to_units(value("gap_high")),
            {"open": False, "closed": True}[status if value("status") else ""],
            parse_seed_time(told["found_time"]) if value("found_time") else None,
            parse_seed_time(told["closed_time"]) if value("closed_time") else None,
            to_units(told["close_price"]) if value("close_price") else None,
            value("symbol"), value("venue"), parse_mode(value("mode")).value,
        )  # fmt: skip
        if not 0 < row.low < row.high < 2**63:
            value("gap_high")
            raise ValueError(row.high)
    except (BadInput, ValueError, KeyError) as error:
        raise BadInput(
            f"{path}, line {number}, column {column}: {told.get(column, '')!r} cannot be read.",
            field=column,
            value=told.get(column, ""),
            fix="Repair or remove the line; nothing was changed.",
        ) from error
    return row
