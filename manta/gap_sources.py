"""Where ``manta gaps`` takes closed candles from: the store, a venue's REST side, or candle files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from manta.shared_limits import running_limits
from trading.candle_batches import Refusals, read_batches
from trading.candle_source import CandleSource
from trading.candles import Candle
from trading.config.model import Config
from trading.downloads import CandleFiles, check_intervals
from trading.errors import BadInput
from trading.intervals import MINUTE, Interval, parse_interval
from trading.markets import Market, split_market
from trading.seed_files import seed_file_name
from trading.storage.candles import first_open, last_close, read_candles
from trading.storage.database import Connection
from trading.storage.fold import fold_minutes
from trading.venues.adapter import History
from trading.venues.origin import Origin, is_loopback
from trading.venues.resolve import open_history

__all__ = ["download_newest", "file_candles", "folder_file", "preferred", "stored_candles", "update_folder"]


async def download_newest(
    config: Config, config_path: Path | None, market: str, intervals: Sequence[str], bars: int
) -> tuple[Market, dict[str, list[Candle]]]:
    """The market as its venue describes it, and its newest ``bars`` closed candles by interval.

    BadInput for an interval that the venue does not have. One client asks for all, for the venue counts requests.
    """
    venue, symbol = split_market(market)
    names = check_intervals(venue, tuple(intervals))
    async with _asking(config, config_path, venue) as history:
        found = await history.market(symbol)
        now_ms = (await history.time()).venue_ms
        return found, {name: await _newest(history, found.symbol, parse_interval(name), now_ms, bars) for name in names}


async def _newest(history: History, symbol: str, width: Interval, now_ms: int, bars: int) -> list[Candle]:
    to_ms = width.open_of(now_ms)
    at_ms = width.open_of(to_ms - bars * width.typical_ms)
    candles: list[Candle] = []
    while at_ms < to_ms:
        page = await history.page(symbol, width.name, at_ms, to_ms, now_ms)
        candles += [candle for candle in page.candles if at_ms <= candle.open_time_ms < to_ms]
        if not page.more or page.through_ms <= at_ms:
            break
        at_ms = page.through_ms
    return candles[-bars:]


async def update_folder(
    config: Config, config_path: Path | None, market: str, intervals: Sequence[str], bars: int, folder: Path
) -> None:
    """Fetch the newest ``bars`` candles, and all since the last one, into the candle files in ``folder``."""
    venue, _ = split_market(market)
    names = check_intervals(venue, tuple(intervals))
    async with _asking(config, config_path, venue) as history:
        files = CandleFiles(history, market, folder)
        for name in names:
            await files.bring_up(name, bars=bars)


@asynccontextmanager
async def _asking(config: Config, config_path: Path | None, venue: str) -> AsyncIterator[History]:
    """The venue's REST side, within the limits of a Manta that runs beside this command."""
    host = urlsplit(config.venues.of(venue).rest_url).hostname or ""
    origin: Origin = "simulator" if is_loopback(host) else "venue"
    async with AsyncExitStack() as stack:
        limits = running_limits(config, config_path)
        if limits is not None:
            await stack.enter_async_context(limits)
        yield await stack.enter_async_context(open_history(config, venue, origin=origin, limits=limits))


async def stored_candles(
    connection: Connection, market: str, interval: str, bars: int, since_ms: int | None
) -> list[Candle]:
    """The newest ``bars`` candles and the two before them, or all from ``since_ms`` on if that is longer.

    An interval that is not kept is made of the stored minutes. BadInput for a market that is not stored.
    """
    width = parse_interval(interval)
    newest = await read_candles(connection, market, width.name, limit=bars + 2, newest=True)
    if newest:
        if since_ms is None or since_ms >= newest[0].open_time_ms:
            return newest
        return await read_candles(connection, market, width.name, from_ms=since_ms)
    first_ms = await first_open(connection, market, MINUTE.name)
    last_ms = await last_close(connection, market, MINUTE.name)
    if first_ms is None or last_ms is None:
        return []
    end_ms = width.open_of(last_ms)
    start_ms = width.open_of(end_ms - (bars + 2) * width.typical_ms)
    # Of the candle that the first minute fell into, the beginning is not known.
    start_ms = max(first_ms, min(start_ms, since_ms or start_ms))
    return await fold_minutes(connection, market, width.name, start_ms, end_ms)


def preferred(stored: list[Candle], downloaded: list[Candle]) -> list[Candle]:
    """Both, ascending: where both have a candle the stored one if it is whole, else the venue's own."""
    best = {candle.open_time_ms: candle for candle in stored}
    for candle in downloaded:
        known = best.get(candle.open_time_ms)
        if known is None or not known.complete:
            best[candle.open_time_ms] = candle
    return [best[time_ms] for time_ms in sorted(best)]


def file_candles(path: Path, market: str, interval: str) -> list[Candle]:
    """The closed candles of a file, ascending; a row that is no sane candle is left out like one that is absent.

    BadInput when the file cannot be read or has no usable row.
    """
    refusals = Refusals()
    found: dict[int, Candle] = {}
    now_ms = time.time_ns() // 1_000_000
    with CandleSource(path) as source:
        for batch in read_batches(source, market, parse_interval(interval), closed_by_ms=now_ms, refusals=refusals):
            if batch.columns is not None:
                found.update((candle.open_time_ms, candle) for candle in batch.columns.candles())
    if not found:
        first = f"; the first: {refusals.first[0]}" if refusals.first else ""
        raise BadInput(f"{path} has no usable candle{first}.", field="file", value=str(path), fix="Give another file.")
    return [found[time_ms] for time_ms in sorted(found)]


def folder_file(folder: Path, market: str, interval: str) -> Path:
    """The file in ``folder`` that the scheduled download keeps of these candles."""
    venue, symbol = split_market(market)
    return folder / seed_file_name(symbol, interval, venue)
