"""The candle store by hand: files in, files out, holes found, intervals folded, and what a row costs on disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.figures import Effort, Figure, Report, Table
from bench.history import history_pieces
from bench.samples import spread
from manta.data_export import ExportOptions, export_series
from manta.data_import import ImportOptions, import_file
from trading.candle_columns import CandleColumns
from trading.candles import UNIT
from trading.storage.database import Database
from trading.storage.fold import fold_minutes
from trading.storage.holes import scan_holes
from trading.storage.postgres import BundledPostgres
from trading.storage.series import read_series
from trading.storage.settings import DatabaseTarget

__all__ = ["measure"]

MARKET = "bench:BTCUSD"
_YEAR_MS = 365 * 86_400_000
_EXPORT_ROWS = 1_000_000
_POLL_S = 0.01


async def measure(effort: Effort) -> Report:
    """Import two years of minutes, look for their holes, fold a year of them, and export a million rows."""
    return await asyncio.to_thread(_measure, effort)


def _measure(effort: Effort) -> Report:
    words, pieces = history_pieces()
    imports: list[float] = []
    facts: dict[str, Any] = {}
    for number in range(effort.runs):
        with tempfile.TemporaryDirectory(prefix="manta-bench-") as name, _server(Path(name)) as target:
            files = [_write(Path(name) / f"{n}.csv", piece) for n, piece in enumerate(pieces)]
            imports.append(_import(files))
            if number == effort.runs - 1:
                facts = asyncio.run(_read(target, pieces)) | _export(Path(name), pieces)
    return Report(
        "data",
        f"{sum(map(len, pieces)):,} minutes ({words}) through `manta data import` from csv files into an empty bundled "
        "Postgres, fsync on; then the scan for holes of all of them, a year folded to 37m in SQL, and "
        f"`manta data export` of {facts['exported']:,} of them in a process of its own.",
        [
            Figure("import of a csv file, holes accounted for", median(imports), "rows/s", 150_000, at_least=True),
            Figure("hole scan of two years of one market", facts["scan_s"], "s", 1),
            Figure("a year of 37m from its minutes", facts["fold_s"], "s", 1),
            Figure("export of 1 M rows as csv", facts["csv_s"], "s", 10),
            Figure("export of 1 M rows as csv.gz", facts["gz_s"], "s", 10),
            Figure("export of 1 M rows as parquet", facts["parquet_s"], "s", 10),
            Figure("memory of an export at its peak", facts["peak_mb"], "MB", 200),
            Figure("a stored row, its indexes included", facts["bytes_a_row"], "bytes"),
            Figure("a year of one market", facts["bytes_a_row"] * 525_600 / 1e6, "MB", 1000),
        ],
        [Table("Bytes a row", ("as", "bytes"), facts["sizes"])],
        notes=[
            f"import: {spread(imports, 'rows/s')}",
            "Not measured: compressed chunks, for the bundled server has no TimescaleDB. On one that has it, "
            "`manta db check --timescale` tells the bytes a row before and after. A compressed file says what is in "
            "the numbers.",
            "The rate of candles that arrive one by one is the subject backfill.",
        ],
    )


@contextmanager
def _server(folder: Path) -> Iterator[DatabaseTarget]:
    """A bundled Postgres that the commands find by their environment."""
    postgres = BundledPostgres(folder / "var" / "postgres")
    target = asyncio.run(postgres.start())
    kept = dict(os.environ)
    os.environ |= {
        "MANTA_DATA_DIR": str(folder / "var"),
        "DB_HOST": target.host,
        "DB_PORT": str(target.port),
        "DB_NAME": target.database,
        "DB_USER": target.user,
        "DB_PASSWORD": target.password() or "",
    }
    try:
        yield target
    finally:
        os.environ.clear()
        os.environ.update(kept)
        asyncio.run(postgres.stop())


def _write(path: Path, piece: CandleColumns) -> Path:
    prices = (piece.open, piece.high, piece.low, piece.close, piece.volume)
    columns = [piece.open_time_ms.tolist(), *((array / UNIT).tolist() for array in prices)]
    with path.open("w", encoding="ascii") as file:
        file.write("open_time,open,high,low,close,volume\n")
        file.writelines(f"{t},{o!r},{h!r},{l!r},{c!r},{v:.8f}\n" for t, o, h, l, c, v in zip(*columns, strict=True))  # noqa: E741
    return path


def _import(files: list[Path]) -> float:
    told = [import_file(ImportOptions(file, MARKET, "1m", quiet=True), None) for file in files]
    return float(sum(each["rows"] for each in told) / sum(each["seconds"] for each in told))


async def _read(target: DatabaseTarget, pieces: list[CandleColumns]) -> dict[str, Any]:
    end_ms = pieces[-1].end_ms
    async with Database(target, application_name="manta bench") as database:
        await database.run(lambda conn: conn.execute("analyze candles"))
        began = time.monotonic()
        holes = await database.run(lambda conn: scan_holes(conn, MARKET, "1m"))
        scan_s = time.monotonic() - began
        began = time.monotonic()
        folded = await database.run(lambda conn: fold_minutes(conn, MARKET, "37m", end_ms - _YEAR_MS, end_ms))
        fold_s = time.monotonic() - began
        (series,) = await database.run(read_series)
    assert holes or len(pieces) > 2
    assert len(folded) > 10_000
    return {"scan_s": scan_s, "fold_s": fold_s, "bytes_a_row": series.bytes / series.rows}


def _export(folder: Path, pieces: list[CandleColumns]) -> dict[str, Any]:
    times = [time for piece in pieces for time in piece.open_time_ms.tolist()]
    rows = min(_EXPORT_ROWS, len(times) - 1)
    to_ms = times[rows]
    facts: dict[str, Any] = {"exported": rows, "peak_mb": 0.0}
    stored = export_series(ExportOptions(MARKET, "1m", folder / "warm.csv", to_ms=times[10], quiet=True), None)
    sizes: list[tuple[str, float]] = []
    for key, name in (("csv_s", "out.csv"), ("gz_s", "out.csv.gz"), ("parquet_s", "out.parquet")):
        path = folder / name
        command = ["data", "export", "--market", stored["market"], "--file", str(path), "--to", str(to_ms), "--json"]
        began = time.monotonic()
        peak = _peak_mb([sys.executable, "-P", "-m", "manta", *command])
        # To a whole million, and with the start of the command.
        facts[key] = (time.monotonic() - began) * _EXPORT_ROWS / rows
        facts["peak_mb"] = max(facts["peak_mb"], peak)
        sizes.append((name.removeprefix("out."), path.stat().st_size / rows))
    facts["sizes"] = sizes
    return facts


def _peak_mb(command: list[str]) -> float:
    """Run ``command``; its resident memory at the peak."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(_POLL_S)
    assert child.returncode == 0
    return peak / 1e6
