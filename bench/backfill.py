"""Rows a second into Postgres."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Effort, Figure, Report
from bench.history import SAMPLE, store_market
from bench.samples import spread
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.storage.candles import upsert_candles
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["measure"]

_COPIES = 5


async def measure(effort: Effort) -> Report:
    """Store the sample's month under several markets, in transactions as large as the store's own and as the feed's."""
    large: list[float] = []
    small: list[float] = []
    rows = 0
    for _ in range(effort.runs):
        with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
            for size, rates in ((5000, large), (1000, small)):
                rows, rate = await _once(Path(folder) / str(size), size)
                rates.append(rate)
    return Report(
        "backfill",
        f"{rows:,} candles of the sample upserted into an empty bundled Postgres, fsync on, one connection. The "
        "candles are read from their file beforehand.",
        [
            Figure("candle backfill, 5,000 rows a transaction", median(large), "rows/s", 50_000, at_least=True),
            Figure("candle backfill, 1,000 rows a transaction", median(small), "rows/s"),
        ],
        notes=[f"5,000: {spread(large, 'rows/s')}", f"1,000: {spread(small, 'rows/s')}"],
    )


async def _once(folder: Path, size: int) -> tuple[int, float]:
    candles = load_candles(SAMPLE_FILE, SAMPLE.key)
    folder.mkdir()
    postgres = BundledPostgres(folder / "postgres")
    target = await postgres.start()
    try:
        await migrate(target, "simulator")
        async with Database(target, application_name="manta bench") as database:
            names = [await store_market(database, f"COPY{number}USDT") for number in range(_COPIES)]
            began = time.monotonic()
            for part in _parts(candles, names, size):
                async with database.transaction() as connection:
                    await upsert_candles(connection, part)
            seconds = time.monotonic() - began
    finally:
        await postgres.stop()
    return len(candles) * _COPIES, len(candles) * _COPIES / seconds


def _parts(candles: list[Candle], markets: list[str], size: int) -> Iterator[list[Candle]]:
    for market in markets:
        for start in range(0, len(candles), size):
            yield [candle._replace(market=market) for candle in candles[start : start + size]]
