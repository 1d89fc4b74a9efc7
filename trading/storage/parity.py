"""Tables parity_runs and parity_differences: what the reference backtest said of each UTC day of each book."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trading.intervals import DAY_MS
from trading.nightly import MOST_DAYS, BookReach, DueDay
from trading.storage.cursors import read_cursors
from trading.storage.database import Connection

__all__ = ["MOST_STORED", "ParityDifference", "ParityRun", "day_text", "read_reaches", "read_statuses", "store_run"]

MOST_STORED = 500
"""Differences kept of one run; the run counts all."""


class ParityDifference(NamedTuple):
    """One thing that live and reference do not have in common.

    ``kind`` says what it is about (signal, feature, decision, order, fill, transfer, equity, span), ``field`` which of
    its values differs, None when one side lacks it whole. ``cause`` is one word, ``detail`` a sentence.
    """

    time_ms: int
    kind: str
    key: str
    field: str | None
    live: str | None
    reference: str | None
    cause: str
    detail: str
    explained: bool


@dataclass(frozen=True, slots=True)
class ParityRun:
    """The comparison of one UTC day of one book. ``day_ms`` is its midnight, ``started_ms`` host time.

    ``status`` is identical, explained (every difference has a known cause), different (some have none) or failed, with
    the reason in ``error``. ``complete`` is False while the live run has come to ``reached_ms`` only.
    """

    book: str
    day_ms: int
    started_ms: int
    status: str
    complete: bool
    reached_ms: int | None
    counts: Mapping[str, int]
    explained: int
    unexplained: int
    code_version: str
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The run as plain data, as it is told in events and printed."""
        return {
            "book": self.book,
            "day": day_text(self.day_ms),
            "status": self.status,
            "complete": self.complete,
            "reached": self.reached_ms,
            "counts": dict(self.counts),
            "explained": self.explained,
            "unexplained": self.unexplained,
            "error": self.error,
            "code_version": self.code_version,
        }


async def store_run(connection: Connection, run: ParityRun, differences: Sequence[ParityDifference]) -> None:
    """Store ``run`` in place of an earlier one of its day. Repeatable; call it in a transaction."""
    await connection.execute(
        """
        insert into parity_runs (book, day, started_at, status, complete, reached, counts, explained, unexplained,
            error, code_version)
        values ($1, $2, at_ms($3), $4, $5, at_ms($6), $7, $8, $9, $10, $11)
        on conflict (book, day) do update set
            started_at = excluded.started_at, finished_at = clock_timestamp(), status = excluded.status,
            complete = excluded.complete, reached = excluded.reached, counts = excluded.counts,
            explained = excluded.explained, unexplained = excluded.unexplained, error = excluded.error,
            code_version = excluded.code_version
        """,
        run.book,
        _date(run.day_ms),
        run.started_ms,
        run.status,
        run.complete,
        run.reached_ms,
        dict(run.counts),
        run.explained,
        run.unexplained,
        run.error,
        run.code_version,
    )
    await connection.execute("delete from parity_differences where book = $1 and day = $2", run.book, _date(run.day_ms))
    kept = sorted(differences, key=lambda item: item.explained)[:MOST_STORED]
    await connection.executemany(
        """
        insert into parity_differences
            (book, day, n, time, kind, key, field, live, reference, cause, detail, explained)
        values ($1, $2, $3, at_ms($4), $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        [(run.book, _date(run.day_ms), number, *item) for number, item in enumerate(kept, 1)],
    )


async def read_reaches(connection: Connection) -> list[BookReach]:
    """How far each book has come that instances trade in now; backtests have books of their own."""
    rows = await connection.fetch(
        """
        select i.book, ms(min(i.live_from)) from instances i join books b using (book)
        where b.mode <> 'backtest' and i.active group by i.book order by i.book
        """
    )
    found = []
    for book, live_from_ms in rows:
        cursors = await read_cursors(connection, prefix := f"execution:{book}:")
        reached = {name.removeprefix(prefix): position for name, position in cursors.items()}
        found.append(BookReach(book, live_from_ms, reached))
    return found


async def read_statuses(connection: Connection) -> dict[DueDay, str]:
    """The result of each day that was checked in the last weeks; ``partial`` where the day was not complete."""
    rows = await connection.fetch(
        """
        select book, day, case when complete or status = 'failed' then status else 'partial' end
        from parity_runs r
        where day > (select max(day) from parity_runs n where n.book = r.book) - $1::int
        """,
        4 * MOST_DAYS,
    )
    return {DueDay(row[0], _midnight_ms(row[1])): row[2] for row in rows}


def day_text(day_ms: int) -> str:
    """The date of a UTC day, such as ``2026-11-25``."""
    return _date(day_ms).isoformat()


def _date(day_ms: int) -> dt.date:
    return dt.datetime.fromtimestamp(day_ms / 1000, dt.UTC).date()


def _midnight_ms(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * DAY_MS
