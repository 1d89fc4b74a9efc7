"""``manta data list``: what the candle store holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from manta.service import database_target
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.storage.series import read_series
from trading.venues.origin import Origin

__all__ = ["list_series", "moment", "opened", "series_words", "table_words"]


@asynccontextmanager
async def opened(path: Path | None, origin: Origin = "venue") -> AsyncIterator[Database]:
    """The configured database, migrated; its bundled server runs at least as long as the block."""
    async with database_target(path) as target:
        await migrate(target, origin)
        async with Database(target, application_name="manta data") as database:
            yield database


def moment(time_ms: int) -> str:
    """``time_ms`` as UTC for people."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def table_words(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """A plain table; the columns named in ``right`` stand right."""
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=200, highlight=False, emoji=False, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def list_series(path: Path | None) -> list[dict[str, Any]]:
    """Every stored series; times are unix ms, UTC."""

    async def work() -> list[dict[str, Any]]:
        async with opened(path) as database:
            return [series._asdict() for series in await database.run(read_series, deadline_s=120)]

    return asyncio.run(work())


def series_words(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "nothing is stored; see `manta data download --help` and `manta data import --help`"
    rows = [
        (
            series["market"],
            series["interval"],
            moment(series["first_open_ms"]),
            moment(series["last_close_ms"]),
            f"{series['rows']:,}",
            f"{series['without']:,}",
            ", ".join(f"{source} {count:,}" for source, count in series["sources"].items()),
            f"{series['bytes'] / 1e6:,.1f} MB",
        )
        for series in found
    ]
    head = ("market", "interval", "first open", "last close", "candles", "without", "sources", "size")
    return table_words(head, rows, right=("candles", "without", "size"))
