"""``manta verify parity --day``: a day of the live database against its backtest, by hand, running or stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

from backtest.nightly import Verdict, running_books
from backtest.verdicts import check_and_store, run_title
from manta.service import database_target
from trading.errors import BadInput, DataHole
from trading.intervals import DAY_MS
from trading.storage.database import Database
from trading.storage.migrate import migrate, read_origin
from trading.storage.parity import ParityDifference

__all__ = ["day_words", "parse_day", "verify_day"]

_SHOWN = 10


def parse_day(text: str) -> int:
    """The midnight of a UTC day written like 2026-11-25, in epoch ms; BadInput otherwise."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"--day {text!r} is no date.", field="day", value=text, fix="Write it like 2026-11-25; days are UTC."
        ) from error
    return (day - dt.date(1970, 1, 1)).days * DAY_MS


def verify_day(text: str, book: str | None, config_path: Path | None) -> dict[str, Any]:
    """Compare the day for ``book``, or for every book that ran then, and store the results; nobody is messaged.

    Raises BadInput for a bad date or an unknown book, DataHole when no book ran on that day.
    """
    return asyncio.run(_verify(parse_day(text), text, book, config_path))


def day_words(result: dict[str, Any]) -> str:
    """The results in lines: a title for each book, what was compared, and its first differences."""
    lines = []
    for run in result["books"]:
        counts = ", ".join(f"{number:,} {name}" for name, number in run["counts"].items())
        partly = "" if run["complete"] else f" (up to {_clock(run['reached'])} only)"
        lines += [run["title"] + partly, f"  compared: {counts}"]
        for item in run["differences"][:_SHOWN]:
            mark = "explained" if item["explained"] else "UNEXPLAINED"
            values = f" (live {item['live']}, reference {item['reference']})" if item["field"] else ""
            lines.append(
                f"  {mark} {_clock(item['time'])} {item['kind']} {item['field'] or ''} {item['cause']}: "
                f"{item['detail']}{values}"
            )
        if (more := run["explained"] + run["unexplained"] - _SHOWN) > 0:
            lines.append(f"  and {more} more; --json and the API list them")
    return "\n".join(lines)


async def _verify(day_ms: int, text: str, book: str | None, config_path: Path | None) -> dict[str, Any]:
    async with database_target(config_path) as target, Database(target, application_name="manta verify") as database:
        await migrate(target, await database.run(read_origin) or "venue")
        books = await database.run(running_books)
        if book is not None and book not in books:
            raise BadInput(
                f"There is no running book {book!r}.",
                field="book",
                value=book,
                fix=f"Use one of: {', '.join(books) or 'none yet, start Manta once'}.",
            )
        verdicts, refusal = [], None
        for name in [book] if book is not None else books:
            try:
                verdicts.append(await check_and_store(database, name, day_ms))
            except DataHole as error:
                refusal = error
    if not verdicts:
        raise refusal or DataHole("No book has traded yet.", field="day", value=text, fix="Start it: manta up.")
    return {
        "day": text,
        "unexplained": sum(verdict.run.unexplained for verdict in verdicts),
        "books": [_facts(verdict) for verdict in verdicts],
    }


def _facts(verdict: Verdict) -> dict[str, Any]:
    """The run, with its differences: those without a cause first."""
    told = sorted(verdict.differences, key=lambda item: item.explained)
    return {**verdict.run.to_dict(), "title": run_title(verdict.run), "differences": [_plain(item) for item in told]}


def _plain(item: ParityDifference) -> dict[str, Any]:
    fields = item._asdict()
    return {"time": fields.pop("time_ms"), **fields}


def _clock(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%H:%M UTC")
