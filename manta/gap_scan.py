"""The work of ``manta gaps scan``: look at the last candles, record what is not recorded yet, and tell it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manta.gap_messages import flush_outbox
from manta.gap_sources import (
    download_newest,
    file_candles,
    folder_file,
    preferred,
    stored_candles,
    update_folder,
)
from manta.service import database_target
from trading.candles import Candle, Source
from trading.config.loading import data_dir, load_config
from trading.config.model import Config
from trading.config.secrets import environment_secrets
from trading.errors import BadInput
from trading.events import Event
from trading.gaps.detector import GapMode, GapType, Seams, Zone
from trading.gaps.gaps_file import GapRow, merge_gaps_file, read_gaps_file, row_of
from trading.gaps.life import Filled, GapKey, GapStatus, LiveGap
from trading.gaps.passes import Rules
from trading.gaps.scan import Scan, scan_candles, window_lines
from trading.gaps.texts import closed_event, found_event, moment, price
from trading.intervals import parse_interval
from trading.logs import configure_logging
from trading.markets import Market, split_market
from trading.notify.direct import send_now
from trading.notify.routing import tell
from trading.storage import markets, price_gaps, quality
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection, Database
from trading.storage.gap_adoption import adopt_rows
from trading.storage.migrate import migrate, read_origin
from trading.storage.price_gaps import Series, StoredGap

__all__ = ["Report", "ScanOptions", "scan", "scan_words"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """``intervals`` are canonical. ``file`` or ``folder`` are candle files to read instead of a database.

    ``csv`` is the gaps file, None for none; ``timezone`` that of the second clock.
    """

    market: str
    intervals: tuple[str, ...]
    mode: GapMode
    rules: Rules
    download: bool
    bars: int
    dry_run: bool
    verbose: bool
    file: Path | None
    folder: Path | None
    csv: Path | None
    timezone: str


@dataclass(slots=True)
class Report:
    """What one interval brought. ``gaps`` start within the scan, ``new`` are those that were not recorded before;
    ``closed`` were recorded before and are filled now. A dry run's new gaps have no id.
    """

    series: Series
    bars: int = 0
    from_ms: int | None = None
    to_ms: int | None = None
    gaps: list[StoredGap] = field(default_factory=list)
    new: set[GapKey] = field(default_factory=set)
    closed: list[StoredGap] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "market": self.series.market,
            "interval": self.series.interval,
            "mode": self.series.mode.value,
            "bars": self.bars,
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
            "gaps": [plain(gap) | {"new": gap.key in self.new} for gap in self.gaps],
            "closed": [plain(gap) for gap in self.closed],
        }


def plain(gap: StoredGap) -> dict[str, Any]:
    """A gap as JSON, named as the HTTP API names it; prices as exact text, times in ms."""
    return {
        "id": gap.id,
        "market": gap.market,
        "interval": gap.interval,
        "mode": gap.mode,
        "source_interval": gap.source_interval,
        "type": gap.type,
        "low": price(gap.low),
        "high": price(gap.high),
        "status": gap.status,
        "start_time_ms": gap.start_ms,
        "found_time_ms": gap.found_ms,
        "touched_time_ms": gap.touched_ms,
        "closed_time_ms": gap.closed_ms,
        "close_price": None if gap.close_price is None else price(gap.close_price),
        "detail": gap.detail or {},
    }


def scan(options: ScanOptions, config_path: Path | None, say: Say) -> dict[str, Any]:
    """Scan every interval. ``say`` takes the lines of ``verbose``. A dry run changes nothing and tells nobody."""
    config = load_config(config_path, os.environ)
    if not options.dry_run:
        # The channel "log" writes there; what the command prints stays its own.
        configure_logging(data_dir(config_path, os.environ) / "logs" / "gaps.log")
    if options.file is not None or options.folder is not None:
        return asyncio.run(_scan_files(options, config, config_path, say))
    return asyncio.run(_scan_store(options, config, config_path, say))


def scan_words(result: dict[str, Any], timezone: str) -> str:
    """A list for each interval; new gaps are marked."""
    lines = []
    for report in result["intervals"]:
        gaps = report["gaps"]
        if not report["bars"]:
            lines.append(f"{report['market']}: no candles of {report['interval']} are stored; -d fetches them")
            continue
        plural = "" if len(gaps) == 1 else "s"
        head = f"{len(gaps)} gap{plural} in the last {report['bars']} bars for {report['interval']}"
        lines.append(f"{report['market']}: {head}{':' if gaps else ''}")
        for gap in gaps:
            end = f"filled at {gap['close_price']}" if gap["status"] == GapStatus.FILLED else gap["status"]
            told = f"{gap['type'].upper():4} {gap['low']} - {gap['high']}  {end}"
            name = " ".join(filter(None, (gap["id"], "NEW" if gap["new"] else "")))
            lines.append(f"  {moment(gap['start_time_ms'], timezone)}  {told}  {name}")
        lines += [f"  closed {gap['id']}: {gap['type']} gap filled at {gap['close_price']}" for gap in report["closed"]]
    if result["dry_run"]:
        lines.append("dry run: nothing was recorded or sent")
    lines += [f"not sent yet: {text}" for text in result["unsent"]]
    return "\n".join(lines)


def _result(options: ScanOptions, reports: list[Report], unsent: list[str]) -> dict[str, Any]:
    return {
        "dry_run": options.dry_run,
        "intervals": [report.to_dict() for report in reports],
        "file": None if options.csv is None or options.dry_run else str(options.csv),
        "unsent": unsent,
    }


# The store


async def _scan_store(options: ScanOptions, config: Config, path: Path | None, say: Say) -> dict[str, Any]:
    if options.dry_run and not _has_store(path):
        return _result(options, await _preview(options, config, path, say), [])
    fresh = None
    if options.download:
        fresh = await download_newest(config, path, options.market, options.intervals, options.bars)
    async with (
        database_target(path) as target,
        Database(target, application_name="manta gaps") as database,
    ):
        await migrate(target, await database.run(read_origin) or "venue")
        reports = [await _scan_series(options, config, database, name, fresh, say) for name in options.intervals]
        unsent: list[str] = []
        if not options.dry_run:
            if options.csv is not None:
                rows = [row_of(gap) for gap in await database.run(price_gaps.read_gaps)]
                await asyncio.to_thread(merge_gaps_file, options.csv, rows)
            if any(report.new or report.closed for report in reports):
                left = await flush_outbox(config, database)
                unsent = [f"{count} messages wait for channel {name}" for name, count in left.items()]
        return _result(options, reports, unsent)


def _has_store(path: Path | None) -> bool:
    return bool(os.environ.get("DB_HOST")) or (data_dir(path, os.environ) / "postgres").exists()


async def _preview(options: ScanOptions, config: Config, path: Path | None, say: Say) -> list[Report]:
    """A dry run beside no database: what the venue shows is all there is."""
    if not options.download:
        raise BadInput(
            "There are no candles yet: Manta has no database here.",
            field="market",
            value=options.market,
            fix="Add --download-latest, give --file, or import candles with `manta data import`.",
        )
    market, candles = await download_newest(config, path, options.market, options.intervals, options.bars)
    return [
        _report(options, Series(market.key, name, options.mode), candles[name], Seams(), {}, (), say)
        for name in options.intervals
    ]


async def _scan_series(
    options: ScanOptions,
    config: Config,
    database: Database,
    interval: str,
    fresh: tuple[Market, dict[str, list[Candle]]] | None,
    say: Say,
) -> Report:
    series = Series(fresh[0].key if fresh else options.market, interval, options.mode)
    lines: list[str] = []

    async def work(connection: Connection) -> Report:
        # Run again after a lost connection: then only the lines of the last try count.
        lines.clear()
        if not options.dry_run:
            if fresh is not None:
                await markets.upsert_market(connection, fresh[0])
            if options.csv is not None:
                await adopt_rows(connection, read_gaps_file(options.csv))
        stored, known, live = [], {}, []
        if fresh is None or series.market in (await markets.market_keys(connection)).values():
            live = await price_gaps.live_gaps(connection, series)
            since_ms = min((gap.since_ms for gap in live), default=None)
            stored = await stored_candles(connection, series.market, interval, options.bars, since_ms)
            known = {
                gap.key: gap
                for gap in await price_gaps.read_gaps(
                    connection, market=series.market, interval=interval, mode=series.mode.value
                )
            }
        downloaded = fresh[1][interval] if fresh else []
        # Where Manta makes these candles itself from minutes, the venue's own would only stand in their way.
        if downloaded and not options.dry_run and not any(item.source == Source.DERIVED for item in stored):
            have = {candle.open_time_ms for candle in stored}
            await upsert_candles(connection, [item for item in downloaded if item.open_time_ms not in have])
        candles = preferred(stored, downloaded)
        holes = []
        if stored and candles:
            span = candles[0].open_time_ms, candles[-1].close_time_ms
            holes = await quality.holes_between(connection, series.market, *span)
        report = _report(options, series, candles, Seams(holes), known, live, lines.append)
        if options.dry_run:
            return report
        found = _scanned(options, candles, Seams(holes), known, live)
        changed = await price_gaps.store_changes(connection, series, found.changes)
        events = [found_event(gap, options.timezone) for gap in changed.found]
        report.new = {gap.key for gap in changed.found}
        report.closed = [gap for gap in changed.filled if gap.key not in report.new]
        events += [closed_event(gap, _close_ms(gap)) for gap in report.closed]
        await tell(connection, events, config.notify)
        starts = {gap.key for gap in report.gaps}
        report.gaps = [
            gap
            for gap in await price_gaps.read_gaps(
                connection, market=series.market, interval=interval, mode=series.mode.value
            )
            if gap.key in starts
        ]
        return report

    report = await database.run(work)
    for line in lines:
        say(line)
    return report


def _close_ms(gap: StoredGap) -> int:
    return parse_interval(gap.interval).close_of(gap.closed_ms or gap.start_ms)


def _scanned(
    options: ScanOptions, candles: list[Candle], seams: Seams, known: dict[GapKey, StoredGap], live: Iterable[LiveGap]
) -> Scan:
    """New gaps, and what became of ``live`` ones."""
    open_keys = {gap.key for gap in live}
    return scan_candles(
        candles, options.bars, options.mode, options.rules, live=live, known=known.keys() - open_keys, seams=seams
    )


def _report(
    options: ScanOptions,
    series: Series,
    candles: list[Candle],
    seams: Seams,
    known: dict[GapKey, StoredGap],
    live: Iterable[LiveGap],
    say: Say,
) -> Report:
    """All gaps of the scan as they stand, recorded or not, and how recorded ones would end."""
    whole = scan_candles(candles, options.bars, options.mode, options.rules, seams=seams)
    if options.verbose:
        for line in window_lines(whole, options.mode, options.rules, options.timezone, seams):
            say(line)
    report = Report(series, whole.bars)
    if candles:
        report.from_ms, report.to_ms = whole.detect_from_ms, candles[-1].close_time_ms
    for change in whole.found:
        identity = known[change.key].id if change.key in known else ""
        report.gaps.append(_seen(identity, series, whole, change.key, change.zone, change.candle))
    report.new = {gap.key for gap in report.gaps if not gap.id}
    ends = [c for c in _scanned(options, candles, seams, known, live).changes if isinstance(c, Filled)]
    report.closed = [
        known[end.key]._replace(status=GapStatus.FILLED.value, closed_ms=end.candle.open_time_ms, close_price=end.price)
        for end in ends
        if end.key in known
    ]
    return report


def _seen(identity: str, series: Series, whole: Scan, key: GapKey, zone: Zone, b3: Candle) -> StoredGap:
    """A gap as the scanned candles tell its life."""
    touched, filled = whole.end_of(key)
    status = GapStatus.FILLED if filled else GapStatus.TOUCHED if touched else GapStatus.OPEN
    return StoredGap(
        identity, series.market, series.interval, series.mode.value,
        "1m" if b3.source == "derived" else series.interval, key.type, zone.low, zone.high, status.value, key.start_ms,
        b3.close_time_ms, touched.candle.open_time_ms if touched else None,
        filled.candle.open_time_ms if filled else None, filled.price if filled else None, {},
    )  # fmt: skip


# Files


async def _scan_files(options: ScanOptions, config: Config, path: Path | None, say: Say) -> dict[str, Any]:
    reports: list[Report] = []
    events: list[Event] = []
    for name, candles in (await _candles_of_files(options, config, path)).items():
        report, told = await asyncio.to_thread(_scan_file, options, name, candles, say)
        reports.append(report)
        events += told
    unsent = [] if options.dry_run else await send_now(events, config.notify, environment_secrets(os.environ))
    return _result(options, reports, unsent)


async def _candles_of_files(options: ScanOptions, config: Config, config_path: Path | None) -> dict[str, list[Candle]]:
    """By interval; a dry run leaves candle files alone, too."""
    market, folder = options.market, options.folder or Path()
    paths = {name: options.file or folder_file(folder, market, name) for name in options.intervals}
    newest: dict[str, list[Candle]] = {}
    if options.download and options.dry_run:
        _, newest = await download_newest(config, config_path, market, options.intervals, options.bars)
    elif options.download:
        await update_folder(config, config_path, market, options.intervals, options.bars, folder)
    found = {}
    for name, path in paths.items():
        have = [] if newest and not path.exists() else await asyncio.to_thread(file_candles, path, market, name)
        found[name] = preferred(have, newest.get(name, []))
    return found


def _scan_file(options: ScanOptions, interval: str, candles: list[Candle], say: Say) -> tuple[Report, list[Event]]:
    """Scan the candles of one file against the gaps file, which keeps what was found."""
    series = Series(options.market, interval, options.mode)
    venue, symbol = split_market(options.market)
    wanted = (venue, symbol, interval, options.mode.value)

    def recorded() -> dict[GapKey, StoredGap]:
        rows = read_gaps_file(options.csv) if options.csv is not None else []
        return {row.key[4]: _of_row(row) for row in rows if row.key[:4] == wanted}

    before = recorded()
    live = [
        LiveGap(key, Zone(GapType(gap.type), gap.low, gap.high), parse_interval(interval).close_of(key.start_ms))
        for key, gap in before.items()
        if gap.status != GapStatus.FILLED
    ]
    report = _report(options, series, candles, Seams(), before, live, say)
    if options.dry_run:
        return report, []
    fresh = [gap for gap in report.gaps if gap.key not in before]
    if options.csv is not None:
        merge_gaps_file(
            options.csv, [row_of(gap._replace(id="")) for gap in fresh] + [row_of(g) for g in report.closed]
        )
        after = recorded()
        report.gaps = [gap if gap.key in before else gap._replace(id=after[gap.key].id) for gap in report.gaps]
        fresh = [gap for gap in report.gaps if gap.key not in before]
    events = [found_event(gap, options.timezone) for gap in fresh]
    return report, events + [closed_event(gap, _close_ms(gap)) for gap in report.closed]


def _of_row(row: GapRow) -> StoredGap:
    status = GapStatus.FILLED if row.closed else GapStatus.OPEN
    return StoredGap(
        row.id, row.market, row.interval, row.mode, row.interval, row.type, row.low, row.high, status.value,
        row.start_ms, row.found_ms or row.start_ms, None, row.closed_ms, row.close_price, {},
    )  # fmt: skip
