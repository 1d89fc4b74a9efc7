"""The work of ``manta gaps list``, ``export`` and ``rebuild``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manta.data_view import opened, table_words
from manta.gap_scan import plain
from trading.config.loading import data_dir, load_config
from trading.errors import BadInput
from trading.gaps.detector import parse_mode
from trading.gaps.gaps_file import merge_gaps_file, replace_rows, row_of
from trading.gaps.life import GapStatus
from trading.gaps.passes import rules_of
from trading.gaps.texts import moment
from trading.intervals import parse_interval
from trading.storage import price_gaps
from trading.storage.database import Connection
from trading.storage.gap_rebuild import Difference, apply_difference, find_difference
from trading.storage.price_gaps import Series, StoredGap

__all__ = ["Filter", "export_gaps", "gap_words", "list_gaps", "rebuild", "rebuild_words"]

_SHOWN = 20


class Filter(NamedTuple):
    """Which gaps are listed: None leaves a side open; ``status`` may be ``unfilled``."""

    market: str | None
    timeframe: str | None
    mode: str | None
    status: str | None
    from_ms: int | None
    to_ms: int | None
    limit: int


def list_gaps(wanted: Filter, config: Path | None) -> list[dict[str, Any]]:
    """The newest gaps that ``wanted`` lets through, oldest first."""
    known = (*GapStatus, "unfilled")
    if wanted.status is not None and wanted.status not in known:
        raise BadInput(
            f"Status {wanted.status!r} is not known.",
            field="status",
            value=wanted.status,
            fix=f"Use one of {', '.join(known)}.",
        )
    interval = parse_interval(wanted.timeframe).name if wanted.timeframe else None
    mode = parse_mode(wanted.mode).value if wanted.mode else None
    status = None if wanted.status == "unfilled" else wanted.status

    async def work() -> list[StoredGap]:
        async with opened(config) as database:
            return await database.run(
                lambda connection: price_gaps.read_gaps(
                    connection, market=wanted.market, interval=interval, mode=mode, status=status,
                    from_ms=wanted.from_ms, to_ms=wanted.to_ms, limit=None if wanted.status == "unfilled" else
                    wanted.limit,
                )
            )  # fmt: skip

    found = asyncio.run(work())
    if wanted.status == "unfilled":
        found = [gap for gap in found if gap.status != GapStatus.FILLED][-wanted.limit :]
    return [plain(gap) for gap in found]


def gap_words(gaps: Sequence[dict[str, Any]]) -> str:
    """A table."""
    if not gaps:
        return "no gaps are recorded"
    rows = [
        (
            *(gap[name] for name in ("id", "market", "interval", "mode")),
            moment(gap["start_time_ms"], "UTC"),
            *(gap[name] for name in ("type", "low", "high", "status")),
            "" if gap["closed_time_ms"] is None else moment(gap["closed_time_ms"], "UTC"),
        )
        for gap in gaps
    ]
    head = ("id", "market", "interval", "mode", "start", "type", "low", "high", "status", "closed")
    return table_words(head, rows, right=("low", "high"))


def export_gaps(file: Path | None, config_path: Path | None) -> dict[str, Any]:
    """Bring the gaps file up to the record."""
    path = _gaps_file(file, config_path)
    if path is None:
        raise BadInput("gaps.file names no file.", field="file", fix="Give --file.")

    async def work() -> list[StoredGap]:
        async with opened(config_path) as database:
            return await database.run(price_gaps.read_gaps)

    rows = merge_gaps_file(path, [row_of(gap) for gap in asyncio.run(work())])
    return {"file": str(path), "rows": rows}


def rebuild(
    market: str | None,
    intervals: Sequence[str],
    mode: str | None,
    from_ms: int | None,
    config_path: Path | None,
    *,
    apply: bool,
) -> dict[str, Any]:
    """What a fresh pass over the stored candles finds otherwise than recorded; with ``apply`` that is recorded."""
    config = load_config(config_path, os.environ)
    wanted = [market] if market else list(config.gaps.markets or config.markets)
    chosen = parse_mode(mode or config.gaps.mode)
    every = [Series(name, interval, chosen) for name in wanted for interval in intervals]
    rules = rules_of(config.gaps)

    async def work() -> list[Difference]:
        async with opened(config_path) as database:

            async def all_of(connection: Connection) -> list[Difference]:
                found = [await find_difference(connection, series, rules, from_ms) for series in every]
                for difference in found if apply else ():
                    await apply_difference(connection, difference)
                return found

            differences = await database.run(all_of)
            file = _gaps_file(None, config_path)
            if apply and file is not None:
                rows = [row_of(gap) for gap in await database.run(price_gaps.read_gaps)]
                removed = [row_of(gap) for difference in differences for gap in difference.removed]
                await asyncio.to_thread(replace_rows, file, rows, removed)
            return differences

    return {"applied": apply, "series": [_difference(item) for item in asyncio.run(work())]}


def rebuild_words(result: dict[str, Any]) -> str:
    lines = []
    for item in result["series"]:
        counts = ", ".join(f"{len(item[name])} {name}" for name in ("added", "removed", "changed"))
        lines.append(f"{item['market']} {item['interval']} {item['mode']}: {counts}, {item['kept']} as recorded")
        lines += _some("+", item["added"])
        lines += _some("-", item["removed"])
        lines += _some("~", [pair["new"] for pair in item["changed"]])
    lines.append("applied" if result["applied"] else "nothing was changed; --apply does it")
    return "\n".join(lines)


def _some(mark: str, gaps: Sequence[dict[str, Any]]) -> Iterable[str]:
    for gap in gaps[:_SHOWN]:
        zone = f"{gap['type'].upper():4} {gap['low']} - {gap['high']}"
        yield f"  {mark} {moment(gap['start_time_ms'], 'UTC')}  {zone}  {gap['status']}  {gap['id']}".rstrip()
    if len(gaps) > _SHOWN:
        yield f"  {mark} and {len(gaps) - _SHOWN} more; --json lists them"


def _difference(item: Difference) -> dict[str, Any]:
    return {
        "market": item.series.market,
        "interval": item.series.interval,
        "mode": item.series.mode.value,
        "added": [plain(gap) for gap in item.added],
        "removed": [plain(gap) for gap in item.removed],
        "changed": [{"old": plain(old), "new": plain(new)} for old, new in item.changed],
        "kept": item.kept,
    }


def _gaps_file(given: Path | None, config_path: Path | None) -> Path | None:
    configured = load_config(config_path, os.environ).gaps.file
    return given or (None if configured is None else data_dir(config_path, os.environ) / configured)
