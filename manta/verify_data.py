"""``manta verify data``: folds every stored minute again, in SQL and in numpy, and compares with what is stored.

With files it needs no database: every file's candles are folded into every wider file of the same market.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from manta.output import console
from trading.candle_check import Check, compare
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import BadInput
from trading.fold_columns import fold_columns, touched
from trading.intervals import parse_interval
from trading.storage.columns import StoredColumns, floats_of, missing_spans, read_columns
from trading.storage.cursors import get_cursor
from trading.storage.database import Connection, Database
from trading.storage.fold import fold_minutes
from trading.storage.markets import market_id, market_keys

__all__ = ["check_files", "check_market", "verify_data", "verify_data_words"]

_NAME = re.compile(r"([a-z][a-z0-9]*?(?:_usdm)?)(?:_spot)?_([A-Z0-9-]+)_(\d+[mhdwM])(?=[_.])")
_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_END_MS = 253_370_764_800_000


def verify_data(
    config: Path | None, files: Sequence[Path], markets: Sequence[str], from_ms: int | None, to_ms: int | None
) -> dict[str, Any]:
    """Check ``files``, or without any the database; see ``check_files`` and ``check_market``."""
    span = from_ms or 0, _END_MS if to_ms is None else to_ms
    if files:
        return _result(*check_files(files, markets, *span))
    return _result(asyncio.run(_check_stored(config, markets, *span)), [])


def verify_data_words(result: dict[str, Any]) -> str:
    """A line for each comparison, and below them the first differences of each."""
    lines = [f"{'market':24}{'interval':>9}  {'compared':26}{'candles':>9}{'differ':>8}{'over holes':>12}"]
    for check in result["checks"]:
        what = f"{check['found']} = {check['expected']}"
        lines.append(
            f"{check['market']:24}{check['interval']:>9}  {what:26}{check['candles']:>9}{check['count']:>8}"
            f"{check['explained']:>12}"
        )
    for check in result["checks"]:
        for each in check["differences"]:
            moment = datetime.fromtimestamp(each["open_time_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
            told = f": {check['found']} {each['found']!r}, expected {each['expected']!r}"
            values = "" if each["found"] is None else told
            lines.append(f"  {check['market']} {check['interval']} {moment} UTC {each['field']}{values}")
    lines += [f"not read: {each}" for each in result["unread"]]
    count = result["differences"]
    lines.append(f"{count} difference{'' if count == 1 else 's'} in {result['candles']} candles compared")
    return "\n".join(lines)


def check_files(
    paths: Sequence[Path], markets: Sequence[str] = (), from_ms: int = 0, to_ms: int = _END_MS
) -> tuple[list[Check], list[str]]:
    """Every file of ``paths`` folded into every wider one of its market, and what could not be read.

    Where two overlap nowhere, or do not nest, there is nothing to compare. BadInput when that is so of all.
    """
    held: dict[str, list[CandleColumns]] = {}
    unread: list[str] = []
    for path, market, interval in _named(paths):
        if markets and market not in markets:
            continue
        try:
            columns = load_columns(path, market, interval=interval).slice(from_ms, to_ms)
        except BadInput as error:
            unread.append(error.message)
            continue
        if len(columns):
            held.setdefault(market, []).append(columns)
    checks: list[Check] = []
    for columns in held.values():
        holes = _holes(columns)
        for narrow in columns:
            for wide in columns:
                if narrow.interval.typical_ms < wide.interval.typical_ms and _overlap(narrow, wide):
                    checks += _fold_file(narrow, wide, holes)
    if not checks:
        raise BadInput(
            "No two of these files hold candles of one market, of different intervals, at the same time.",
            field="file",
            value=", ".join(map(str, paths)),
            fix="Give a folder with files named like binance_BTCUSDT_1m.csv.gz and binance_BTCUSDT_1h.csv.gz.",
        )
    return sorted(checks, key=lambda each: (each.market, parse_interval(each.interval).typical_ms, each.found)), unread


async def check_market(connection: Connection, market: str, from_ms: int = 0, to_ms: int = _END_MS) -> list[Check]:
    """All stored intervals of ``market`` against its minutes, folded in SQL and in numpy."""
    minutes = await read_columns(connection, market, "1m", from_ms, to_ms)
    number = await market_id(connection, market)
    stored = await connection.fetch(
        "select interval, bool_or(source = 'derived') as derived from candles"
        " where market_id = $1 and interval <> '1m' group by interval",
        number,
    )
    if not len(minutes.columns):
        return []
    reached = await get_cursor(connection, f"timeframe:{market}") or minutes.columns.end_ms
    begin, end = minutes.columns.start_ms, min(to_ms, max(reached, minutes.columns.end_ms))
    missing = await missing_spans(connection, market, begin, end)
    checks: list[Check] = []
    for interval, derived in sorted(stored, key=lambda row: parse_interval(row[0]).typical_ms):
        # What has just been recorded may not have been folded yet.
        told = min(end, reached)
        sql = floats_of(market, interval, await fold_minutes(connection, market, interval, begin, told))
        batch = fold_columns(minutes.columns, interval, start_ms=begin, end_ms=told)
        flags = {"complete": (~touched(batch, missing), sql.complete)}
        checks.append(compare(batch, sql.columns, ("numpy", "SQL"), flags=flags, span=(begin, told)))
        known = await read_columns(connection, market, interval, begin, told)
        checks += _against(known, sql, (begin, told), derived=derived)
    return checks


def _against(known: StoredColumns, sql: StoredColumns, span: tuple[int, int], *, derived: bool) -> Iterator[Check]:
    native = known.only(known.native)
    if derived:
        mine = known.only(~known.native)
        # Where the venue's own candle is stored, there is no derived one beside it.
        elsewhere = np.isin(sql.columns.open_time_ms, native.columns.open_time_ms)
        flags = {"complete": (mine.complete, sql.complete)}
        yield compare(mine.columns, sql.columns, ("stored", "minutes"), skip=elsewhere, flags=flags, span=span)
    if len(native.columns):
        held = np.isin(native.columns.open_time_ms, sql.columns.open_time_ms)
        whole = sql.only(sql.complete & np.isin(sql.columns.open_time_ms, native.columns.open_time_ms))
        yield compare(native.only(held).columns, whole.columns, ("venue's own", "minutes"))


async def _check_stored(config: Path | None, markets: Sequence[str], from_ms: int, to_ms: int) -> list[Check]:
    from manta.service import database_target

    async with (
        database_target(config) as target,
        Database(target, application_name="manta verify data") as database,
        database.transaction() as connection,
    ):
        # All of it as it stood at one moment: actors may be writing.
        await connection.execute("set transaction isolation level repeatable read, read only")
        every = sorted((await market_keys(connection)).values())
        unknown = next((market for market in markets if market not in every), None)
        if unknown is not None:
            raise BadInput(
                f"Market {unknown} is not in the database.",
                field="market",
                value=unknown,
                fix=f"Use one of {', '.join(every)}." if every else "Record or import candles first.",
            )
        checks: list[Check] = []
        for market in markets or every:
            checks += await check_market(connection, market, from_ms, to_ms)
    return checks


def _result(checks: Sequence[Check], unread: Iterable[str]) -> dict[str, Any]:
    return {
        "differences": sum(check.count for check in checks),
        "candles": sum(check.candles for check in checks),
        "checks": [
            {**asdict(check), "differences": [each._asdict() for each in check.differences]} for check in checks
        ],
        "unread": list(unread),
    }


def _named(paths: Sequence[Path]) -> Iterator[tuple[Path, str, str]]:
    """(path, market, interval) of each candle file, as its name says."""
    for given in paths:
        found = sorted(given.rglob("*")) if given.is_dir() else [given]
        for path in found:
            match = _NAME.match(path.name)
            if match is not None and path.name.endswith(_SUFFIXES) and ".gaps." not in path.name:
                yield path, f"{match[1]}:{match[2]}", match[3]
            elif not given.is_dir():
                raise BadInput(
                    f"{path} does not name its market and interval.",
                    field="file",
                    value=str(path),
                    fix="Name it like binance_BTCUSDT_1m.csv.gz, or binance_usdm_BTCUSDT_1h_2025.parquet.",
                )


def _overlap(a: CandleColumns, b: CandleColumns) -> bool:
    return a.start_ms < b.end_ms and b.start_ms < a.end_ms


def _holes(columns: Sequence[CandleColumns]) -> list[tuple[int, int]]:
    """What any of the files of a market lacks between its first and last candle."""
    spans: list[tuple[int, int]] = []
    for each in columns:
        width_ms = each.interval.width_ms
        if width_ms is not None:
            steps = np.flatnonzero(np.diff(each.open_time_ms) > width_ms)
            starts, ends = each.open_time_ms[steps] + width_ms, each.open_time_ms[steps + 1]
            spans += zip(starts.tolist(), ends.tolist(), strict=True)
    merged: list[tuple[int, int]] = []
    for span in sorted(spans):
        if merged and span[0] <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], span[1])
        else:
            merged.append(span)
    return merged


def _fold_file(narrow: CandleColumns, wide: CandleColumns, holes: list[tuple[int, int]]) -> list[Check]:
    try:
        folded = fold_columns(narrow, wide.interval.name)
    except BadInput as error:
        if error.field != "interval":
            console.print(f"{narrow.market}: {error.message}", markup=False)
        return []
    over = touched(wide, np.array(holes, np.int64).reshape(-1, 2))
    check = compare(folded, wide, (str(narrow.interval), "venue's own"), holes=over)
    return [check] if check.candles or check.count else []
