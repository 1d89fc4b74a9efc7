"""``manta data export``: a stored series as a file, in bounded memory, whole or not at all."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from manta.data_view import moment, opened
from manta.progress import bar
from trading.atomic_files import replacing
from trading.errors import BadInput
from trading.intervals import parse_interval
from trading.markets import split_market
from trading.seed_files import append_seed_file, seed_file_name
from trading.storage.candles import read_candles
from trading.storage.database import Connection
from trading.storage.export import Extent, read_csv_parts, read_extent
from trading.storage.series import read_series

__all__ = ["ExportOptions", "export_series", "export_words"]

_SEED = "pionex"
_FORMATS = {"csv": ".csv", "csv.gz": ".csv.gz", "parquet": ".parquet"}
_EXPORT_S = 3600.0
# Twice as fast as the usual level, and the file is a tenth larger.
_GZIP_LEVEL = 4


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """``file`` is the file to write, or the folder of the seed's file with format ``pionex``."""

    market: str
    interval: str
    file: Path
    format: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    quiet: bool = False


def export_series(options: ExportOptions, config: Path | None) -> dict[str, Any]:
    """Write the series; raises MantaError, and then whatever ``file`` held before is untouched."""
    split_market(options.market)
    parse_interval(options.interval)
    kind = _format(options)
    return asyncio.run(_export(options, kind, config))


def export_words(result: dict[str, Any]) -> str:
    span = f"{moment(result['first_open_ms'])} to {moment(result['last_open_ms'])} UTC"
    if "rows_before" in result:
        return f"{result['file']}: {result['rows_before']:,} rows before, {result['rows_after']:,} now ({span} given)"
    return f"{result['rows']:,} candles, {span}, in {result['file']} ({result['bytes'] / 1e6:,.1f} MB)"


def _format(options: ExportOptions) -> str:
    name = options.file.name
    kind = options.format or next((kind for kind, ending in _FORMATS.items() if name.endswith(ending)), None)
    if kind not in (*_FORMATS, _SEED):
        raise BadInput(
            f"{options.format or name!r} says no format.",
            field="format" if options.format else "file",
            value=options.format or name,
            fix=f"Use one of {', '.join(_FORMATS)}, or --format {_SEED} with a folder.",
        )
    if kind != _SEED and options.file.is_dir():
        raise BadInput(f"{options.file} is a folder.", field="file", value=str(options.file), fix="Name a file in it.")
    if kind == _SEED and options.file.is_file():
        raise BadInput(
            f"{options.file} is a file.",
            field="file",
            value=str(options.file),
            fix=f"With --format {_SEED} give a folder; the file is then named like {seed_file_name('BTC_USDT', '1h')}.",
        )
    return kind


async def _export(options: ExportOptions, kind: str, config: Path | None) -> dict[str, Any]:
    async with opened(config) as database, database.transaction() as connection:
        await connection.execute("set transaction isolation level repeatable read, read only")
        extent = await read_extent(connection, options.market, options.interval, options.from_ms, options.to_ms)
        if extent is None:
            raise await _nothing(connection, options)
        if kind == _SEED:
            return await _export_seed(connection, options, extent)
        began = time.monotonic()
        with replacing(options.file) as file:
            await _write(connection, options, extent, kind, file)
        seconds = time.monotonic() - began
    return _facts(options, extent) | {
        "file": str(options.file),
        "format": kind,
        "rows": extent.rows,
        "columns": list(extent.columns),
        "bytes": options.file.stat().st_size,
        "seconds": round(seconds, 3),
    }


def _facts(options: ExportOptions, extent: Extent) -> dict[str, Any]:
    return {
        "market": options.market,
        "interval": parse_interval(options.interval).name,
        "first_open_ms": extent.first_open_ms,
        "last_open_ms": extent.last_open_ms,
    }


async def _nothing(connection: Connection, options: ExportOptions) -> BadInput:
    stored = [s for s in await read_series(connection) if s.market == options.market]
    known = ", ".join(f"{s.interval} {moment(s.first_open_ms)} to {moment(s.last_close_ms)}" for s in stored)
    return BadInput(
        f"No {options.interval} candles of {options.market} are stored in that range.",
        field="interval",
        value=options.interval,
        fix=f"There are: {known}." if known else "`manta data list` shows what there is.",
    )


async def _export_seed(connection: Connection, options: ExportOptions, extent: Extent) -> dict[str, Any]:
    interval = parse_interval(options.interval).name
    rows = await read_candles(
        connection, options.market, interval, from_ms=extent.first_open_ms, to_ms=extent.last_open_ms + 1
    )
    told = append_seed_file(options.file, split_market(options.market)[1], interval, rows)
    return _facts(options, extent) | {
        "file": str(told.path),
        "format": _SEED,
        "rows": len(rows),
        "rows_before": told.rows_before,
        "rows_after": told.rows_after,
    }


async def _write(connection: Connection, options: ExportOptions, extent: Extent, kind: str, file: IO[bytes]) -> None:
    async with AsyncExitStack() as stack:
        if kind == "parquet":
            write = _parquet(extent, file, stack)
        else:
            out = file
            if kind == "csv.gz":
                # Without a name and a time of its own, so that the same candles are the same bytes.
                out = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)  # type: ignore[assignment]
                stack.enter_context(closing(out))
            out.write(",".join(extent.columns).encode() + b"\n")
            write = out.write
        done = 0
        tell = stack.enter_context(bar(options.file.name, extent.rows, quiet=options.quiet))
        async for part, rows in read_csv_parts(connection, options.market, options.interval, extent):
            await asyncio.to_thread(write, part)
            done += rows
            tell(done)


def _parquet(extent: Extent, file: IO[bytes], stack: AsyncExitStack) -> Callable[[bytes], Any]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    # What is freed goes back at once: the other pools keep it, tens of MB in all.
    pa.set_memory_pool(pa.system_memory_pool())
    types = {name: pa.int64() if name in ("open_time", "count") else pa.float64() for name in extent.columns}
    writer = stack.enter_context(parquet.ParquetWriter(file, pa.schema(types), compression="zstd"))

    def write(part: bytes) -> None:
        table = arrow_csv.read_csv(
            pa.BufferReader(part),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(part) + 1, column_names=list(extent.columns)
            ),
            convert_options=arrow_csv.ConvertOptions(column_types=types),
        )
        writer.write_table(table)

    return write
