"""A day's comparison carried out to the end: the result stored, and told to whoever has to hear of it."""

from __future__ import annotations

import time

from backtest.nightly import Verdict, check_day
from trading import __version__
from trading.config.model import Notify
from trading.errors import DataHole, OutcomeUnknown, StorageRetryable
from trading.events import Event, EventKind
from trading.notify.routing import alert_event, tell
from trading.storage import events, parity
from trading.storage.database import Connection, Database
from trading.storage.parity import ParityRun, day_text

__all__ = ["check_and_store", "failed_run", "run_title", "verdict_events"]

_STORE_S = 120.0


async def check_and_store(database: Database, book: str, day_ms: int, notify: Notify | None = None) -> Verdict:
    """Check the day and store the result in place of an earlier one, in one transaction with what is told of it.

    With ``notify`` unexplained differences are an alert, and every other result a message for channels that want it;
    without it, somebody is looking. Repeatable: the same result is told once. An error is stored as the result
    ``failed`` and raised; but not that there is no such day, or that the database is away.
    """
    try:
        verdict = await check_day(database, book, day_ms)
    except (DataHole, StorageRetryable, OutcomeUnknown):
        raise
    except Exception as error:
        await _store(database, Verdict(failed_run(book, day_ms, error), []), notify)
        raise
    await _store(database, verdict, notify)
    return verdict


def failed_run(book: str, day_ms: int, error: Exception) -> ParityRun:
    """The result of a check that could not be carried out."""
    return ParityRun(
        book=book,
        day_ms=day_ms,
        started_ms=time.time_ns() // 1_000_000,
        status="failed",
        complete=False,
        reached_ms=None,
        counts={},
        explained=0,
        unexplained=0,
        code_version=__version__,
        error=f"{type(error).__name__}: {error}",
    )


def verdict_events(verdict: Verdict) -> tuple[Event, Event | None]:
    """What is told of a result: the event that says it is there, and the alert, if it is one."""
    run = verdict.run
    # How far the comparison came: a result is never told from a time that the venue has not reached.
    day, at_ms = day_text(run.day_ms), run.reached_ms or run.day_ms
    payload = {key: value for key, value in run.to_dict().items() if key not in ("counts", "code_version")}
    done = Event(
        EventKind.PARITY, at_ms, run.book, {"title": run_title(run), **payload}, f"{run.book}:{day}:{run.status}"
    )
    if run.status == "failed":
        text = f"{run.error} It is tried again; by hand: manta verify parity --day {day} --book {run.book}"
        return done, alert_event(f"parity-failed:{run.book}:{day}", run_title(run), text, at_ms, run.book)
    if not run.unexplained:
        return done, None
    first = next(item for item in verdict.differences if not item.explained)
    text = (
        f"{run.unexplained} unexplained, {run.explained} explained. First, {_clock(first.time_ms)}: {first.kind} "
        f"{first.field or ''} {first.cause}: {first.detail} (live {first.live}, reference {first.reference}). "
        f"See manta verify parity --day {day} --book {run.book}"
    )
    return done, alert_event(f"parity:{run.book}:{day}", run_title(run), " ".join(text.split()), at_ms, run.book)


def run_title(run: ParityRun) -> str:
    """The result in one line."""
    day = day_text(run.day_ms)
    words = {
        "identical": f"Live = backtest: {run.book}, {day}, identical",
        "explained": f"Live = backtest: {run.book}, {day}, {run.explained} explained",
        "different": f"Live differs from the backtest: {run.book}, {day}",
        "failed": f"Live and backtest could not be compared: {run.book}, {day}",
    }
    return words[run.status]


async def _store(database: Database, verdict: Verdict, notify: Notify | None) -> None:
    done, alert = verdict_events(verdict)

    async def write(connection: Connection) -> None:
        await parity.store_run(connection, verdict.run, verdict.differences)
        if notify is None:
            await events.append_events(connection, [done])
        elif alert is None:
            await tell(connection, [done], notify)
        else:
            await tell(connection, [alert], notify)
            await events.append_events(connection, [done])

    await database.run(write, deadline_s=_STORE_S)


def _clock(time_ms: int) -> str:
    return time.strftime("%H:%M UTC", time.gmtime(time_ms // 1000))
