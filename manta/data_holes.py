"""``manta data holes``: where a series has no candles, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manta.data_view import moment, opened, table_words
from trading.intervals import parse_interval
from trading.storage.holes import scan_holes

__all__ = ["hole_words", "list_holes"]

_SHOWN = 200


def list_holes(
    market: str, interval: str, from_ms: int | None, to_ms: int | None, config: Path | None
) -> list[dict[str, Any]]:
    """The holes of the series: ``from`` and ``to`` (the next present open) in unix ms, ``missing`` bars, ``reason``."""
    name = parse_interval(interval).name

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as database:
            found = await database.run(
                lambda conn: scan_holes(conn, market, name, from_ms=from_ms, to_ms=to_ms), deadline_s=120
            )
        return [
            {"from": hole.from_ms, "to": hole.to_ms, "missing": hole.missing, "reason": hole.reason} for hole in found
        ]

    return asyncio.run(work())


def hole_words(holes: Sequence[dict[str, Any]], market: str, interval: str) -> str:
    if not holes:
        return f"{market} {interval} has no holes"
    rows = [
        (moment(hole["from"]), moment(hole["to"]), f"{hole['missing']:,}", hole["reason"]) for hole in holes[:_SHOWN]
    ]
    words = [table_words(("from", "to", "bars", "reason"), rows, right=("bars",))]
    if len(holes) > _SHOWN:
        words.append(f"… and {len(holes) - _SHOWN:,} more; --from and --to narrow it down, --json gives all")
    words.append(f"{len(holes):,} holes, {sum(hole['missing'] for hole in holes):,} bars of {market} {interval}")
    return "\n".join(words)
