"""``manta data download``: a venue's past candles into the store, page by page, but not what is stored."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from manta.data_lending import lend_past, lender_of
from manta.data_view import moment, opened
from manta.output import console
from manta.progress import candle_bar
from trading.candles import Candle
from trading.config.loading import load_config
from trading.config.model import Config
from trading.errors import BadInput, VenueRetryable
from trading.intervals import DAY_MS, MINUTE, MINUTE_MS, parse_interval
from trading.jumps import Doubts, jump_anomaly
from trading.markets import Market, split_market
from trading.seed_files import append_seed_file
from trading.storage.aliases import note_alias
from trading.storage.candles import read_candles
from trading.storage.database import Database
from trading.storage.download import Progress, between_stored, store_page, unknown_spans
from trading.storage.markets import upsert_market
from trading.venues.adapter import History, Page, adapter
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.origin import Origin, is_loopback
from trading.venues.resolve import open_history

__all__ = ["DownloadOptions", "download", "download_words"]

_DEFAULT_DAYS = 30.0
_LONGEST_WAIT_S = 120.0
_TRIES = 6
_FIRST_WAIT_S = 1.0
_MOVED_MS = 10 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """``markets`` as venue:symbol; none: those configured. ``to_file``: the folder of the first downloader's files."""

    markets: Sequence[str]
    interval: str = "1m"
    days: float | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    to_file: Path | None = None
    quiet: bool = False


def download(options: DownloadOptions, config_path: Path | None) -> list[dict[str, Any]]:
    """Fetch what is not stored yet of each market; raises MantaError. What came before an error is stored."""
    config = load_config(config_path, os.environ)
    markets = list(dict.fromkeys(options.markets or config.markets))
    interval = parse_interval(options.interval)
    if options.days is not None and options.from_ms is not None:
        raise BadInput(
            "--days and --from both say where to begin.", field="days", value=options.days, fix="Give one of them."
        )
    venues = dict.fromkeys(split_market(market)[0] for market in markets)
    for venue in venues:
        native = adapter(venue).intervals
        if interval.name not in native:
            raise BadInput(
                f"{venue} has no {interval} candles.",
                field="interval",
                value=options.interval,
                fix=f"It has {', '.join(native)}; Manta folds all others from 1m.",
            )
    origins = {_origin(config, venue) for venue in venues}
    if len(origins) > 1:
        raise BadInput(
            "Some of these venues are simulators on this machine, others are real.",
            field="market",
            value=", ".join(venues),
            fix="Download them one by one, each into its own data directory.",
        )
    return asyncio.run(_download(options, config, config_path, markets, origins.pop()))


def download_words(results: Sequence[dict[str, Any]]) -> str:
    lines = []
    for result in results:
        name = f"{result['market']} {result['interval']}"
        if result["requests"] == 0:
            lines.append(
                f"{name}: nothing to ask for, {moment(result['from_ms'])} to {moment(result['to_ms'])} is stored"
            )
        else:
            lines.append(
                f"{name}: {result['stored']:,} candles stored, {result['requests']:,} requests, "
                f"{result['seconds']:.1f} s; {moment(result['from_ms'])} to {moment(result['to_ms'])} UTC"
            )
        if result["different"]:
            lines.append(f"  {result['different']:,} differ from what was stored and were left out")
        if result["absent"] or result["missing"]:
            lines.append(f"  without a candle: {result['absent']:,} absent at the venue, {result['missing']:,} missing")
        lines += [f"  {note}" for note in result["notes"]]
    return "\n".join(lines)


def _origin(config: Config, venue: str) -> Origin:
    return "simulator" if is_loopback(urlsplit(config.venues.of(venue).rest_url).hostname or "") else "venue"


async def _download(
    options: DownloadOptions, config: Config, config_path: Path | None, names: Sequence[str], origin: Origin
) -> list[dict[str, Any]]:
    results = []
    async with opened(config_path, origin) as database, ClusterLimits(config, database.target) as limits:
        for name in names:
            venue, symbol = split_market(name)
            async with open_history(config, venue, origin=origin, limits=limits) as history:
                market = await _patiently(lambda history=history, symbol=symbol: history.market(symbol), options.quiet)
                one = _Download(options, database, history, market)
                other = lender_of(config, market, name) if one.interval == MINUTE else None
                result = await one.run(adapter(venue).doubt_ms, may_be_old=other is not None)
                if other is not None and one.wanted_ms < result["from_ms"]:
                    # The horizon has moved on since the first question.
                    span = one.wanted_ms, min(result["to_ms"], result["from_ms"] + _MOVED_MS)
                    lent = await lend_past(
                        config, database, limits, origin, market.key, other, span, quiet=options.quiet
                    )
                    result |= lent
                    result["notes"].append(f"{lent['lent']:,} minutes before that are lent by {other}")
            if market.key != name:
                await database.run(lambda conn, name=name, key=market.key: note_alias(conn, name, key))
            if market.warning:
                result["notes"].insert(0, f"{name} means {market.key}. {market.warning}")
            if options.to_file is not None:
                result["file"] = await _write_seed_file(options, database, market, result)
            results.append(result)
    return results


async def _write_seed_file(options: DownloadOptions, database: Database, market: Market, result: dict[str, Any]) -> str:
    assert options.to_file is not None  # noqa: S101
    interval, from_ms, to_ms = result["interval"], result["from_ms"], result["to_ms"]
    rows = await database.run(lambda conn: read_candles(conn, market.key, interval, from_ms=from_ms, to_ms=to_ms))
    told = append_seed_file(options.to_file, market.symbol, interval, rows, venue=market.venue)
    result["notes"].append(f"{told.path}: {told.rows_before:,} rows before, {told.rows_after:,} now")
    return str(told.path)


class _Download:
    """One market's span of time."""

    def __init__(self, options: DownloadOptions, database: Database, history: History, market: Market) -> None:
        self._options = options
        self._database = database
        self._history = history
        self._market = market
        self.interval = self._interval = parse_interval(options.interval)
        # From where on candles are wanted, also those that the venue shows no more.
        self.wanted_ms = 0
        self._notes: list[str] = []
        self._doubts = Doubts()
        self._last: Candle | None = None

    async def run(self, doubt_ms: int, *, may_be_old: bool = False) -> dict[str, Any]:
        """Download what the venue shows; with ``may_be_old``, that may be nothing."""
        began = time.monotonic()
        sample = await _patiently(self._history.time, self._options.quiet)
        closed_by_ms = sample.venue_ms - doubt_ms
        await self._database.run(lambda conn: upsert_market(conn, self._market))
        from_ms, to_ms = self._range(closed_by_ms, may_be_old=may_be_old)
        done = Progress()
        before = self._history.requests
        spans = await self._database.run(
            lambda conn: unknown_spans(conn, self._market.key, self._interval, from_ms, to_ms), deadline_s=120
        )
        with candle_bar(f"{self._market.key} {self._interval}", from_ms, to_ms, quiet=self._options.quiet) as tell:
            for start, end in spans:
                await self._fetch(start, end, closed_by_ms, done, tell)
        if done.rows:
            await self._database.run(
                lambda conn: between_stored(conn, self._market.key, self._interval, from_ms, to_ms), deadline_s=120
            )
        return {
            "market": self._market.key,
            "interval": self._interval.name,
            "from_ms": from_ms,
            "to_ms": to_ms,
            **done.facts(),
            "requests": self._history.requests - before,
            "seconds": round(time.monotonic() - began, 3),
            "notes": self._notes,
        }

    def _range(self, now_ms: int, *, may_be_old: bool) -> tuple[int, int]:
        options, interval = self._options, self._interval
        to_ms = interval.open_of(min(now_ms, now_ms if options.to_ms is None else options.to_ms))
        wanted_ms = options.from_ms
        if wanted_ms is None:
            wanted_ms = now_ms - int((options.days if options.days is not None else _DEFAULT_DAYS) * DAY_MS)
        self.wanted_ms = from_ms = interval.open_of(max(0, wanted_ms))
        horizon_ms = self._history.horizon_ms(interval.name)
        if horizon_ms is not None and from_ms < now_ms - horizon_ms:
            from_ms = interval.open_of(now_ms - horizon_ms) + interval.typical_ms
            self._notes.append(
                f"{self._market.venue} shows {interval} candles back to {moment(from_ms)} UTC only; "
                "what is older must come from a file (manta data import) or another venue"
            )
        if from_ms >= to_ms > self.wanted_ms and may_be_old:
            return to_ms, to_ms
        if from_ms >= to_ms:
            raise BadInput(
                f"There is no closed {interval} candle to ask for between {moment(from_ms)} and {moment(to_ms)} UTC.",
                field="from",
                value=options.from_ms,
                fix="Choose a longer span, further back.",
            )
        return from_ms, to_ms

    async def _fetch(
        self, start: int, end: int, closed_by_ms: int, done: Progress, tell: Callable[[int], None]
    ) -> None:
        at = start
        while at < end:

            async def ask(at: int = at) -> Any:
                return await self._history.page(
                    self._market.symbol, self._interval.name, at, end - self._step, closed_by_ms
                )

            page = self._believed(await _patiently(ask, self._options.quiet))
            upto = min(page.through_ms, end)
            if upto > at:
                told = await self._database.run(
                    lambda conn, page=page, at=at, upto=upto: store_page(
                        conn, self._market.key, self._interval, page, at, upto
                    ),
                    deadline_s=120,
                )
                done.add(told)
                tell(upto)
            if not page.more or page.through_ms <= at:
                return
            at = page.through_ms

    def _believed(self, page: Page) -> Page:
        """``page`` without rows whose price jumps and comes back: they are unknown until they are asked for again."""
        while (doubtful := self._doubts.first(self._last, page.candles)[0]) is not None:
            self._notes.append(f"{moment(doubtful.open_time_ms)} UTC left out: {jump_anomaly(doubtful).detail}")
            page = page._replace(
                candles=tuple(candle for candle in page.candles if candle is not doubtful),
                unusable=tuple(sorted({*page.unusable, doubtful.open_time_ms})),
            )
        self._last = page.candles[-1] if page.candles else self._last
        return page

    @property
    def _step(self) -> int:
        return self._interval.typical_ms


async def _patiently(ask: Callable[[], Any], quiet: bool) -> Any:
    """Ask, and again when the venue wants a pause or cannot answer now; its error once that has lasted too long."""
    for attempt in range(_TRIES):
        try:
            return await ask()
        except VenueRetryable as error:
            wait_s = error.retry_after_s if error.retry_after_s is not None else _FIRST_WAIT_S * 2.0**attempt
            if attempt == _TRIES - 1 or wait_s > _LONGEST_WAIT_S:
                raise
            if not quiet:
                console.print(f"{error.message} Waiting {wait_s:.0f} s …", style="dim", markup=False)
            await asyncio.sleep(wait_s)
    raise AssertionError
