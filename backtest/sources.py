"""The candles of a run, market by market, from files or from the database, and how many minutes are not known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from backtest.coarse import as_minutes, check_foldable
from backtest.covered import check_past, uncovered
from backtest.requests import RunRequest, check_quotes
from trading.candle_files import load_columns
from trading.candle_series import CandleSeries
from trading.candles import Candle, Hole
from trading.candles import Source as CandleSource
from trading.errors import BadInput, DataHole
from trading.instances import history_ms
from trading.intervals import MINUTE, MINUTE_MS, Interval
from trading.markets import Market, split_market
from trading.storage import candles, natives, quality
from trading.storage import markets as stored_markets
from trading.storage.candle_series import read_series
from trading.storage.database import Connection

__all__ = ["Source", "Span", "check_missing", "cut_for", "load_file", "load_sources", "market_named", "span_of"]

_UNKNOWN_MARKET = Market("", "", "spot", "", "USDT", 8, 8, Decimal("0.00000001"), Decimal("0.00000001"), Decimal(0))


@dataclass(frozen=True, slots=True)
class Source:
    """1m candles of one market in order, its missing minutes, and how the venue rounds orders.

    ``width`` is what the file holds: of longer candles each is two of the minutes, as ``backtest.coarse`` says.
    ``natives`` are the venue's own longer candles.
    """

    candles: Sequence[Candle]
    holes: list[Hole]
    market: Market
    known_market: bool
    width: Interval = MINUTE
    natives: tuple[Candle, ...] = ()

    @property
    def series(self) -> CandleSeries:
        """The candles as columns."""
        return CandleSeries.of(self.candles)

    def bars(self, from_ms: int, to_ms: int) -> int:
        """How many candles of ``width`` close after ``from_ms`` and not after ``to_ms``."""
        seen = len(self.series.closing(from_ms, to_ms))
        return seen if self.width == MINUTE else -(-seen // 2)

    def missing(self, from_ms: int, to_ms: int) -> int:
        """Missing minutes of that time, those among them for which this source holds nothing, before or behind."""
        known_from, known_to = self.candles[0].open_time_ms, self.candles[-1].close_time_ms
        holes = sum(max(0, min(hole.to_ms, to_ms) - max(hole.from_ms, from_ms)) for hole in self.holes)
        return (holes + max(0, min(known_from, to_ms) - from_ms) + max(0, to_ms - max(known_to, from_ms))) // MINUTE_MS


@dataclass(frozen=True, slots=True)
class Span:
    """The time a run trades: candles that close after ``from_ms`` and not after ``to_ms``."""

    from_ms: int
    to_ms: int


def span_of(request: RunRequest, sources: Sequence[Source]) -> Span:
    """From the start that was asked for, or the first candle of any market, to the last candle of any."""
    first = min(source.candles[0].open_time_ms for source in sources)
    last = max(source.candles[-1].close_time_ms for source in sources)
    return Span(max(first, request.start_ms if request.start_ms is not None else first), last)


def check_missing(request: RunRequest, sources: Sequence[Source], span: Span) -> None:
    """Raise DataHole when too many of a market's minutes are unknown: what they would have done is anybody's guess."""
    minutes = max(1, (span.to_ms - span.from_ms) // MINUTE_MS)
    for source in sources:
        missing = source.missing(span.from_ms, span.to_ms)
        if missing * 100 > request.max_missing_percent * minutes:
            whose = f"{source.market.key}: " if len(sources) > 1 else ""
            raise DataHole(
                f"{whose}{missing} of {minutes} minutes are missing ({missing / minutes:.1%}), more than"
                f" {request.max_missing_percent} %.",
                field="max_missing_percent",
                value=str(request.max_missing_percent),
                fix="`manta data repair` fetches them; or choose another range, or allow more with --max-missing.",
            )


def cut_for(request: RunRequest, source: Source) -> Source:
    """Of ``source`` what a run of ``request`` alone would load: the history that warms it up, and its range."""
    series = source.series
    if request.start_ms is not None:
        from_ms = request.start_ms - history_ms(request.config())
        series = series[int(np.searchsorted(series.open_time_ms, from_ms)) :]
    if request.end_ms is not None:
        series = series.closing(0, request.end_ms)
    return source if len(series) == len(source.candles) else replace(source, candles=series)


def load_file(path: Path, market: str, request: RunRequest) -> Source:
    """The candles of a file; a minute, or a longer candle, that it does not hold counts as absent."""
    columns = load_columns(path, market)
    found: Sequence[Candle] = CandleSeries.from_columns(columns.slice(None, request.end_ms), CandleSource.IMPORT.value)
    if not found or found[-1].close_time_ms <= (request.start_ms or 0):
        raise uncovered(path.name, request.start_ms, request.end_ms, (columns.start_ms, columns.end_ms))
    width = columns.interval
    if width != MINUTE:
        check_foldable(request.looked_at(market), width)
        found = as_minutes(found)
    return Source(found, [], market_named(market), known_market=False, width=width)


async def load_sources(connection: Connection, request: RunRequest, files: Mapping[str, Path]) -> list[Source]:
    """The candles of each market of ``request`` in its order, from its file or from the database.

    Raises DataHole when a market has none in the range, BadInput when its candles do not fit or it counts in another
    currency than those before it.
    """
    known = {market.key: market for market in await stored_markets.read_markets(connection)}
    sources = [await _load(connection, request, name, files.get(name), known) for name in request.traded]
    try:
        check_quotes({source.market.key: source.market.quote for source in sources if source.known_market})
    except ValueError as error:
        what, _, fix = str(error).rpartition(": ")
        raise BadInput(f"{what}.", field="market", fix=f"{fix.capitalize()}.") from error
    return sources


async def _load(
    connection: Connection, request: RunRequest, name: str, file: Path | None, known: Mapping[str, Market]
) -> Source:
    market = known.get(name)
    if file is not None:
        source = await asyncio.to_thread(load_file, file, name, request)
        found, holes, own, width = source.candles, [], [], source.width
        check_past(found[-1].close_time_ms, file.name, await connection.fetchval("select ms(clock_timestamp())"))
    else:
        width = MINUTE
        if market is None:
            raise BadInput(
                f"Market {name!r} has no candles here.",
                field="market",
                value=name,
                fix=f"Use one of: {', '.join(sorted(known)) or 'none yet, start Manta once'}, or give --file.",
            )
        before = request.start_ms - history_ms(request.config()) if request.start_ms is not None else None
        found = await read_series(connection, name, MINUTE.name, from_ms=before, to_ms=request.end_ms)
        if not found or found[-1].close_time_ms <= (request.start_ms or 0):
            raise uncovered(name, request.start_ms, request.end_ms, await _whole_reach(connection, name))
        reach = (found[0].open_time_ms, found[-1].close_time_ms)
        holes = await quality.holes_between(connection, name, *reach, reason="missing")
        own = await natives.read_all_natives(connection, name, to_ms=reach[1])
    # A market row that an earlier file run made knows no more than that run did.
    known_market = market is not None and market != market_named(name)
    return Source(found, holes, market or market_named(name), known_market, width, tuple(own))


async def _whole_reach(connection: Connection, market: str) -> tuple[int, int] | None:
    first = await candles.first_open(connection, market)
    return None if first is None else (first, await candles.last_close(connection, market) or first)


def market_named(key: str) -> Market:
    """A market of which nothing is known but its name."""
    venue, symbol = split_market(key)
    return replace(_UNKNOWN_MARKET, venue=venue, symbol=symbol, base=symbol)
