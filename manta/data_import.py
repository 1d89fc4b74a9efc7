"""``manta data import``: candle files into the store, batch by batch, every minute of them accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manta.data_view import moment, opened
from manta.progress import bar
from trading.candle_batches import Batch, Refusals, read_batches
from trading.candle_columns import CandleColumns
from trading.candle_source import CandleSource
from trading.candles import HoleReason, Source
from trading.errors import BadInput
from trading.intervals import MINUTE, Interval, parse_interval
from trading.markets import split_market
from trading.storage.accounting import account_between, account_minutes
from trading.storage.bulk import Difference, store_columns
from trading.storage.database import Connection, Database
from trading.storage.follow import follow_minutes
from trading.storage.imported_markets import ensure_market, named_market
from trading.storage.quality import holes_between

__all__ = ["ImportOptions", "import_file", "import_words"]

_BATCH_S = 300.0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """``holes`` is what minutes are that the file passes over: absent, or missing when the file is known to lack some.

    ``source`` is what the candles are marked with.
    """

    file: Path
    market: str
    interval: str
    source: str = Source.IMPORT.value
    holes: str = HoleReason.ABSENT.value
    replace: bool = False
    strict: bool = False
    quiet: bool = False


def import_file(options: ImportOptions, config: Path | None) -> dict[str, Any]:
    """Store what is usable in the file; raises MantaError. What was stored before an error stays, accounted for."""
    split_market(options.market)
    interval = parse_interval(options.interval)
    closed_by_ms = time.time_ns() // 1_000_000
    _check_choices(options)
    if options.strict:
        _require_sane(options, interval, closed_by_ms)
    return asyncio.run(_import(options, interval, closed_by_ms, config))


def import_words(result: dict[str, Any]) -> str:
    lines = [
        f"{result['stored']:,} candles stored as {result['market']} {result['interval']}, "
        f"{moment(result['first_open_ms'])} to {moment(result['last_close_ms'])} UTC, "
        f"in {result['seconds']:.1f} s ({result['rows_per_second']:,} rows/s)"
        if result["first_open_ms"] is not None
        else "the file has no usable row"
    ]
    if result["unchanged"] or result["repeats"]:
        lines.append(f"{result['unchanged']:,} were stored already, {result['repeats']:,} stand twice in the file")
    if result["different"]:
        what = "replaced" if result["replaced"] else "kept as stored (--replace takes the file's)"
        lines.append(f"{result['different']:,} differ from what was stored and were {what}; the first:")
        lines += [f"  {moment(d['open_time_ms'])}  stored {d['stored']}  file {d['given']}" for d in result["examples"]]
    if result["refused"]:
        lines.append(f"{result['refused']:,} rows refused; the first:")
        lines += [f"  {text}" for text in result["refused_rows"]]
    if result["interval"] == MINUTE.name:
        lines.append(f"minutes without a candle: {result['absent']:,} absent, {result['missing']:,} missing")
    if result["left_out"]:
        lines.append(f"columns not known and left out: {', '.join(result['left_out'])}")
    return "\n".join(lines)


def _check_choices(options: ImportOptions) -> None:
    for name, value, known in (
        ("source", options.source, [Source.IMPORT, Source.NATIVE, Source.REST]),
        ("holes", options.holes, list(HoleReason)),
    ):
        if value not in known:
            raise BadInput(
                f"--{name} {value!r} is not known.", field=name, value=value, fix=f"One of: {', '.join(known)}."
            )


def _require_sane(options: ImportOptions, interval: Interval, closed_by_ms: int) -> None:
    """Read the whole file once without storing anything; BadInput at the first batch with a row that is refused."""
    refusals = Refusals()
    with CandleSource(options.file) as source:
        for _ in read_batches(source, options.market, interval, closed_by_ms=closed_by_ms, refusals=refusals):
            if refusals.first:
                first = refusals.first[0]
                raise BadInput(
                    f"{options.file}, row {first.row}, column {first.column}: {first.value} {first.why}.",
                    field=first.column,
                    value=first.value,
                    fix="Nothing was stored. Repair the row, or leave out --strict to have such rows only counted.",
                )


class _Import:
    """One file on its way into the store."""

    def __init__(self, options: ImportOptions, interval: Interval) -> None:
        self._options = options
        self._interval = interval
        self._covered: tuple[int, int] | None = None
        self.detail = f"not in {options.file.name}"
        self._why = f"import of {options.file.name}"
        self.rows = self.stored = self.unchanged = self.repeats = self.different = self.replaced = 0
        self.examples: list[Difference] = []

    async def store(self, database: Database, batch: Batch) -> None:
        """One transaction: the candles of the batch, and the holes between them and those before."""
        self.rows += batch.rows
        self.repeats += batch.repeats
        columns = batch.columns
        if columns is None:
            return
        stretch = self._stretch(columns)

        async def work(connection: Connection) -> Any:
            if self._covered is None:
                market = named_market(self._options.market, _price_decimals(columns))
                await ensure_market(connection, market)
            told = await store_columns(
                connection,
                columns,
                self._options.source,
                replace=self._options.replace,
                why=self._why,
            )
            if self._interval == MINUTE:
                known = await holes_between(connection, columns.market, *stretch, reason=HoleReason.MISSING.value)
                await account_minutes(
                    connection,
                    columns.market,
                    columns.open_time_ms,
                    *stretch,
                    unusable=batch.unusable.tolist(),
                    reason=self._options.holes,
                    detail=self.detail,
                )
                if told.inserted or told.replaced or known:
                    await follow_minutes(connection, columns.market, *stretch, self._why)
            return told

        told = await database.run(work, deadline_s=_BATCH_S)
        self.stored += told.inserted
        self.unchanged += told.unchanged
        self.different += told.different
        self.replaced += told.replaced
        self.examples = (self.examples + list(told.examples))[:_SHOWN]
        low, high = self._covered or stretch
        self._covered = min(low, stretch[0]), max(high, stretch[1])

    async def finish(self, database: Database) -> dict[str, Any]:
        """Account for what lies between the file and what was stored before; the facts of the whole import."""
        market, minutes = self._options.market, self._interval == MINUTE
        absent = missing = 0
        if self._covered is not None and minutes:
            low, high = self._covered
            await database.run(lambda conn: self._join(conn, market, low, high), deadline_s=_BATCH_S)
            for hole in await database.run(lambda conn: holes_between(conn, market, low, high)):
                count = (hole.to_ms - hole.from_ms) // 60_000
                absent, missing = (absent + count, missing) if hole.reason == "absent" else (absent, missing + count)
        first, last = self._covered or (None, None)
        return {
            "market": market,
            "interval": self._interval.name,
            "file": str(self._options.file),
            "rows": self.rows,
            "stored": self.stored,
            "unchanged": self.unchanged,
            "different": self.different,
            "replaced": self.replaced,
            "examples": [example._asdict() for example in self.examples],
            "repeats": self.repeats,
            "first_open_ms": first,
            "last_close_ms": last,
            "absent": absent,
            "missing": missing,
        }

    async def _join(self, connection: Connection, market: str, low: int, high: int) -> None:
        """What lies between the file and what was stored before is missing, and candles over it are incomplete."""
        for from_ms, to_ms in await account_between(connection, market, low, high, "between what was imported"):
            await follow_minutes(connection, market, from_ms, to_ms, self._why)

    def _stretch(self, columns: CandleColumns) -> tuple[int, int]:
        """What the batch covers: itself, up to the rows read before it if they adjoin in the file's order."""
        low, high = columns.start_ms, columns.end_ms
        if self._covered is None:
            return low, high
        if low >= self._covered[1]:
            return self._covered[1], high
        return (low, self._covered[0]) if high <= self._covered[0] else (low, high)


async def _import(options: ImportOptions, interval: Interval, closed_by_ms: int, config: Path | None) -> dict[str, Any]:
    refusals = Refusals()
    work = _Import(options, interval)
    with CandleSource(options.file) as source:
        async with opened(config) as database:
            began = time.monotonic()
            batches = read_batches(source, options.market, interval, closed_by_ms=closed_by_ms, refusals=refusals)
            try:
                with bar(options.file.name, 100, quiet=options.quiet) as tell:
                    async for batch in _ahead(batches):
                        await work.store(database, batch)
                        tell(round(batch.share * 100))
            finally:
                # Also after an error: what is stored is stored.
                result = await work.finish(database)
            seconds = time.monotonic() - began
        return result | {
            "refused": refusals.total,
            "refused_reasons": dict(refusals.counts),
            "refused_rows": [str(refused) for refused in refusals.first],
            "left_out": source.left_out,
            "seconds": round(seconds, 3),
            "rows_per_second": round(result["rows"] / max(seconds, 1e-9)),
        }


async def _ahead(batches: Iterator[Batch]) -> AsyncIterator[Batch]:
    """The batches, each read in a thread while the one before it is stored."""
    reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
    try:
        while (batch := await reading) is not None:
            reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
            yield batch
    finally:
        await asyncio.wait([reading])


def _price_decimals(columns: CandleColumns) -> int:
    """The fewest decimals, two at least, that hold every price."""
    prices = np.concatenate([columns.open, columns.high, columns.low, columns.close])
    for decimals in range(2, 8):
        if not (prices % 10 ** (8 - decimals)).any():
            return decimals
    return 8
