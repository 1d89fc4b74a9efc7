"""``manta data verify`` and ``manta data repair``: what cannot be true in the store or in a file, and its removal."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manta.data_view import moment, opened
from trading.atomic_files import locked, replacing
from trading.candle_batches import Refusals, read_batches
from trading.candle_source import CandleSource
from trading.config.loading import data_dir
from trading.errors import BadInput
from trading.intervals import MINUTE, Interval, parse_interval
from trading.markets import split_market
from trading.sanitize import default_min_price, find_wrong, read_candle_file
from trading.spans import Span, add_span
from trading.storage.bulk import compare_columns
from trading.storage.database import Connection, Database
from trading.storage.follow import follow_minutes
from trading.storage.inspection import Suspect, drop_candles, find_suspects, series_bounds
from trading.storage.quality import unaccounted
from trading.storage.series import Series, read_series

__all__ = ["RepairOptions", "repair", "repair_words", "verify_store", "verify_words"]

_SHOWN = 20
_LONG_S = 300.0


def verify_store(
    market: str | None, interval: str | None, file: Path | None, config: Path | None
) -> list[dict[str, Any]]:
    """Check each stored series, or one; with ``file``, compare it with that, too. ``ok``: all is well."""
    name = parse_interval(interval).name if interval else None
    if file is not None and (market is None or name is None):
        raise BadInput(
            "--file is compared with one series.", field="market", fix="Give --market and --interval with it."
        )

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as database:
            found = await database.run(read_series, deadline_s=_LONG_S)
            chosen = [s for s in found if market in (None, s.market) and name in (None, s.interval)]
            if not chosen and (market or name):
                raise BadInput(
                    f"Nothing is stored of {market or 'any market'} {interval or ''}.",
                    field="market",
                    value=market,
                    fix="`manta data list` shows what there is.",
                )
            results = [await _verify(database, series) for series in chosen]
            if file is not None:
                results[0]["file"] = await _compare(database, chosen[0], file)
                results[0]["ok"] = results[0]["ok"] and not results[0]["file"]["different"]
            return results

    return asyncio.run(work())


def verify_words(results: Sequence[dict[str, Any]]) -> str:
    lines = []
    for result in results:
        verdict = "ok" if result["ok"] else "NOT ok"
        lines.append(f"{result['market']} {result['interval']}: {verdict}, {result['rows']:,} candles")
        lines += [f"  {moment(s['open_time_ms'])}  {s['rule']}" for s in result["suspects"]]
        lines += [f"  {moment(a)} to {moment(b)}: neither candle nor hole" for a, b in result["unaccounted"][:_SHOWN]]
        if told := result.get("file"):
            lines.append(
                f"  {told['path']}: {told['same']:,} the same, {told['different']:,} different, {told['absent']:,} not "
                f"stored, {told['refused']:,} rows unusable"
            )
            lines += [
                f"    {moment(d['open_time_ms'])}  stored {d['stored']}  file {d['given']}" for d in told["examples"]
            ]
    return "\n".join(lines) or "nothing is stored"


async def _verify(database: Database, series: Series) -> dict[str, Any]:
    interval = parse_interval(series.interval)
    now_ms = time.time_ns() // 1_000_000

    async def work(connection: Connection) -> tuple[list[Suspect], list[tuple[int, int]]]:
        suspects = await find_suspects(connection, series.market, interval, closed_by_ms=now_ms)
        return suspects, await unaccounted(connection, series.market) if interval == MINUTE else []

    suspects, holes = await database.run(work, deadline_s=_LONG_S)
    return {
        "market": series.market,
        "interval": series.interval,
        "ok": not suspects and not holes,
        "rows": series.rows,
        "suspect": len(suspects),
        "suspects": [suspect._asdict() for suspect in suspects[:_SHOWN]],
        "unaccounted": holes,
    }


async def _compare(database: Database, series: Series, path: Path) -> dict[str, Any]:
    refusals = Refusals()
    told: dict[str, Any] = {"path": str(path), "same": 0, "different": 0, "absent": 0, "examples": []}
    now_ms = time.time_ns() // 1_000_000
    with CandleSource(path) as source:
        batches = read_batches(
            source, series.market, parse_interval(series.interval), closed_by_ms=now_ms, refusals=refusals
        )
        for batch in batches:
            if batch.columns is None:
                continue
            columns = batch.columns
            found = await database.run(lambda conn, c=columns: compare_columns(conn, c), deadline_s=_LONG_S)
            for name in ("same", "different", "absent"):
                told[name] += getattr(found, name)
            told["examples"] = (told["examples"] + [each._asdict() for each in found.examples])[:_SHOWN]
    return told | {"refused": refusals.total}


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """Either a ``file`` or a stored series. Without ``apply`` nothing changes; what goes is saved first."""

    file: Path | None
    market: str | None
    interval: str | None
    min_price: float | None
    apply: bool
    backup: Path | None


def repair(options: RepairOptions, config: Path | None) -> dict[str, Any]:
    """Find the rows that break a rule and, with ``apply``, drop them after saving them; raises MantaError."""
    if (options.file is None) == (options.market is None):
        raise BadInput("Give --file, or --market and --interval: one of them.", field="file", fix="See --help.")
    if options.file is not None:
        return _repair_file(options, options.file)
    return asyncio.run(_repair_series(options, options.market or "", config))


def repair_words(result: dict[str, Any]) -> str:
    count = len(result["dropped"])
    if not count:
        return f"{result['what']}: every row is fine"
    lines = [f"{row['place']}  {row['row']}: {row['rule']}" for row in result["dropped"]]
    lines.append(
        f"{result['what']}: {count:,} rows dropped, saved in {result['backup']}"
        if result["applied"]
        else f"{result['what']}: {count:,} rows would be dropped; nothing was changed, --apply does it"
    )
    return "\n".join(lines)


def _repair_file(options: RepairOptions, path: Path) -> dict[str, Any]:
    least = options.min_price if options.min_price is not None else default_min_price(path.name)
    with locked(path):
        file = read_candle_file(path)
        kept, dropped = find_wrong(file, least)
        backup = options.backup or path.with_name(f"{path.name}.dropped-{_stamp()}.csv")
        applied = options.apply and bool(dropped)
        if applied:
            with replacing(backup) as saved:
                saved.write(file.text(row.line for row in dropped).encode())
            text = file.text(kept).encode()
            with replacing(path) as new:
                new.write(gzip.compress(text, mtime=0) if path.name.endswith(".gz") else text)
    rows = [{"place": f"line {row.line}", "row": row.text, "rule": row.rule} for row in dropped]
    return _result(str(path), len(kept), rows, backup if applied else None)


async def _repair_series(options: RepairOptions, market: str, config: Path | None) -> dict[str, Any]:
    _, symbol = split_market(market)
    interval = parse_interval(options.interval or MINUTE.name)
    least = options.min_price if options.min_price is not None else default_min_price(symbol)
    now_ms = time.time_ns() // 1_000_000
    folder = data_dir(config, os.environ) / "backups"
    name = f"{market}_{interval}_dropped-{_stamp()}.csv".replace(":", "_").replace("/", "_")
    backup = options.backup or folder / name
    async with opened(config) as database, database.transaction() as connection:
        bounds = await series_bounds(connection, market, interval, least)
        suspects = await find_suspects(connection, market, interval, closed_by_ms=now_ms, bounds=bounds)
        applied = options.apply and bool(suspects)
        if applied:
            with replacing(backup) as saved:
                saved.write(_saved(suspects).encode())
            await drop_candles(connection, market, interval, suspects)
            for start, end in _spans(suspects, interval):
                await follow_minutes(connection, market, start, end, "repair")
    rows = [{"place": moment(s.open_time_ms), "row": ",".join(map(repr, s[1:6])), "rule": s.rule} for s in suspects]
    return _result(f"{market} {interval}", None, rows, backup if applied else None)


def _result(what: str, kept: int | None, rows: list[dict[str, Any]], backup: Path | None) -> dict[str, Any]:
    return {
        "what": what,
        "applied": backup is not None,
        "kept": kept,
        "dropped": rows,
        "backup": str(backup) if backup is not None else None,
    }


def _spans(suspects: Sequence[Suspect], interval: Interval) -> list[Span]:
    """The minutes that ``suspects`` take part in, neighbours together."""
    spans: list[Span] = []
    for suspect in suspects:
        start = interval.open_of(suspect.open_time_ms)
        spans = add_span(spans, start, interval.close_of(start))
    return spans


def _saved(suspects: Sequence[Suspect]) -> str:
    lines = [",".join([str(s.open_time_ms), *map(repr, s[1:6])]) for s in suspects]
    return "\n".join(["open_time,open,high,low,close,volume", *lines]) + "\n"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
