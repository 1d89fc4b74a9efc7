"""A database that already holds years of minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import Config
from trading.intervals import MINUTE_MS
from trading.markets import Market
from trading.storage.candles import upsert_candles
from trading.storage.cursors import set_cursor
from trading.storage.database import Connection, Database
from trading.storage.fold import fold_minutes
from trading.storage.markets import upsert_market
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres
from trading.storage.quality import record_hole
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_START_MS, SESSION_START_MS

__all__ = ["SAMPLE", "carried", "history_pieces", "prepare", "store_market"]

YEARS_MINUTES = 2 * 365 * 1440
_REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "candles_1m"
_REAL_FILES = ("bitfinex_BTCUSD_1m_2017.csv.gz", "bitfinex_BTCUSD_1m_2018.csv.gz")
_CHUNK = 20_000
_TINY = Decimal("0.00001")
# As the simulator describes the sample's symbol.
SAMPLE = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), _TINY, Decimal(5))


def history_pieces() -> tuple[str, list[CandleColumns]]:
    """Two years of minutes that end where the sample begins, and what they are.

    Real ones with their outages where the folder of market data stands beside the checkout, else the sample repeated.
    """
    files = [_REAL / name for name in _REAL_FILES]
    if all(file.is_file() for file in files):
        years = [load_columns(file, SAMPLE.key, interval="1m") for file in files]
        by = SAMPLE_START_MS - years[-1].end_ms
        return "real minutes of 2017 and 2018 with their outages, moved in time", [_moved(year, by) for year in years]
    sample = load_columns(SAMPLE_FILE, SAMPLE.key, interval="1m")
    width = sample.end_ms - sample.start_ms
    copies = -(-YEARS_MINUTES * MINUTE_MS // width)
    return "the sample repeated", [_moved(sample, -width * number) for number in range(copies, 0, -1)]


def carried(pieces: Sequence[CandleColumns]) -> list[Candle]:
    """All minutes from first to last: an absent one has the close before it, and no volume."""
    found: list[Candle] = []
    for piece in pieces:
        for candle in piece.candles():
            while found and found[-1].close_time_ms < candle.open_time_ms:
                last = found[-1]
                close, end_ms = last.close, last.close_time_ms
                found.append(
                    last._replace(
                        open_time_ms=end_ms,
                        close_time_ms=end_ms + MINUTE_MS,
                        open=close,
                        high=close,
                        low=close,
                        volume=0,
                    )
                )
            found.append(candle)
    return found


async def prepare(folder: Path, config: Config) -> tuple[str, int]:
    """Make a data directory whose pipeline has handled two years of minutes up to the sample's session.

    Returns what the minutes are and how many there are.
    """
    words, pieces = history_pieces()
    pieces.append(load_columns(SAMPLE_FILE, SAMPLE.key, interval="1m", end_ms=SESSION_START_MS))
    postgres = BundledPostgres(folder / "postgres")
    target = await postgres.start()
    try:
        await migrate(target, "simulator")
        async with Database(target, application_name="manta bench") as database:
            await store_market(database, SAMPLE.symbol)
            for piece in pieces:
                await _store(database, piece)
            await _store_holes(database, pieces)
            await database.run(lambda conn: _derive(conn, config, pieces[0].start_ms), deadline_s=300)
    finally:
        await postgres.stop()
    return words, sum(len(piece) for piece in pieces)


async def store_market(database: Database, symbol: str) -> str:
    """Store a market like the sample's under ``symbol``; returns its key."""
    market = replace(SAMPLE, symbol=symbol)
    await database.run(lambda conn: upsert_market(conn, market))
    return market.key


async def _store(database: Database, piece: CandleColumns) -> None:
    last_ms = piece.end_ms
    for start in range(0, len(piece), _CHUNK):
        end = start + _CHUNK
        until_ms = int(piece.open_time_ms[end]) if end < len(piece) else last_ms
        chunk = piece.slice(int(piece.open_time_ms[start]), until_ms).candles()
        async with database.transaction() as connection:
            await upsert_candles(connection, chunk)


async def _store_holes(database: Database, pieces: list[CandleColumns]) -> None:
    times = np.concatenate([piece.open_time_ms for piece in pieces])
    at = np.flatnonzero(np.diff(times) > MINUTE_MS)
    async with database.transaction() as connection:
        for place in at.tolist():
            hole = Hole(SAMPLE.key, int(times[place]) + MINUTE_MS, int(times[place + 1]), HoleReason.ABSENT, "outage")
            await record_hole(connection, hole)


async def _derive(connection: Connection, config: Config, from_ms: int) -> None:
    """Derived candles and cursors, as the pipeline would have left them."""
    for interval in config.all_intervals():
        await upsert_candles(
            connection, await fold_minutes(connection, SAMPLE.key, interval, from_ms, SESSION_START_MS)
        )
    for role in ("recorder", "timeframe", "brain"):
        await set_cursor(connection, f"{role}:{SAMPLE.key}", SESSION_START_MS)


def _moved(columns: CandleColumns, by_ms: int) -> CandleColumns:
    return replace(columns, open_time_ms=columns.open_time_ms + by_ms)
