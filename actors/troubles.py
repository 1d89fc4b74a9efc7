"""The supervisor's ear: what lasts too long to keep quiet about becomes an alert, and another one when it is over."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from actors.session import Session
from trading.candles import Hole
from trading.intervals import HOUR_MS, MINUTE_MS
from trading.notify.messages import utc
from trading.notify.routing import tell
from trading.notify.trouble import Condition, Restarts, TroubleWatch
from trading.storage import cursors, quality
from trading.storage.backups import list_backups
from trading.storage.database import Connection
from trading.storage.troubles import close_troubles, open_trouble, read_troubles

__all__ = ["Standing", "Troubles", "about_backups", "conditions"]

_SILENT_S = 90.0
_HOLE_S = 900.0
# Longer than from one look for missing minutes to the next: a lender that failed once is asked again first.
_LENDER_S = 400.0
_BEHIND_S = 120.0
_BEHIND_MS = 10 * MINUTE_MS
# One that is due at the start, or just now, gets the time to be made.
_BACKUP_S = 3600.0
_UNSENT_AGE_S = 3600.0
_LATE = """
select book, count(*) from decisions
where outcome = 'late' and decided_at > clock_timestamp() - interval '15 minutes' group by book
"""

Read = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]
Commit = Callable[[Mapping[str, int], Callable[[Connection], Awaitable[None]]], Awaitable[None]]


class Standing(NamedTuple):
    """What storage says: open holes, all cursors, each lease's epoch by its actor's name, and by book how many
    decisions of the last quarter of an hour came too late.
    """

    holes: Sequence[Hole]
    cursors: Mapping[str, int]
    epochs: Mapping[str, int]
    late: Mapping[str, int]


class Troubles:
    """Looks at each check of the actors' health whether something has gone wrong for long.

    Durable: what was told and is not over, in the transaction of its alert. A crash in between tells it once.
    """

    def __init__(
        self, session: Session, read: Read, commit: Commit, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._read = read
        self._commit = commit
        self._monotonic = monotonic
        self._restarts = Restarts()
        self._watch: TroubleWatch | None = None

    async def look(self, answers: Sequence[dict[str, Any]]) -> None:
        """Take the actors' answers to ``health``; tell what is news."""
        if self._watch is None:
            self._watch = TroubleWatch(await self._read(read_troubles))
        markets = self._session.config.markets
        standing: Standing = await self._read(lambda conn: _standing(conn, markets))
        mono = self._monotonic()
        numbers = {each["actor"]: each["pid"] for each in answers if "pid" in each} | standing.epochs
        found = conditions(answers, standing, self._restarts.see(mono, numbers), self._session.time_rate)
        now_ms = time.time_ns() // 1_000_000
        found += about_backups(self._session, now_ms)
        told = self._watch.see(mono, now_ms, found)
        if not told.events and not told.closed:
            return

        async def write(conn: Connection) -> None:
            for trouble in told.opened:
                await open_trouble(conn, trouble)
            await close_troubles(conn, told.closed)
            await tell(conn, told.events, self._session.config.notify)

        await self._commit({}, write)

    @property
    def open(self) -> list[str]:
        """Names of the troubles that were told and are not over."""
        return [trouble.name for trouble in self._watch.open] if self._watch is not None else []


def conditions(
    answers: Iterable[dict[str, Any]], standing: Standing, restarts: Mapping[str, int], time_rate: float
) -> list[Condition]:
    """Everything that is wrong now, however short it has been so."""
    return [
        *_about_actors(answers, restarts),
        *_about_holes(standing.holes),
        *_about_lenders(answers),
        *_about_books(standing.cursors, time_rate),
        *_about_late_decisions(standing.late),
        *_about_channels(answers),
        *_about_strategies(answers),
    ]


def about_backups(session: Session, now_ms: int) -> list[Condition]:
    """That no backup was made for longer than one should take, whatever the reason."""
    if session.backup_dir is None:
        return []
    newest = next(iter(list_backups(Path(session.backup_dir))), None)
    if newest is not None and now_ms - newest.made_ms < session.config.storage.backup_hours * HOUR_MS:
        return []
    since = f"The last one is of {utc(newest.made_ms)}" if newest is not None else "There is none yet"
    return [
        Condition(
            "backup",
            "The database is not backed up",
            f"{since}, in {session.backup_dir}. host.log says why; `manta db backup` tries it now.",
            "system",
            _BACKUP_S,
        )
    ]


def _about_actors(answers: Iterable[dict[str, Any]], restarts: Mapping[str, int]) -> Iterable[Condition]:
    for name, count in restarts.items():
        yield Condition(
            f"restarts:{name}",
            f"{name} was restarted {count} times within 15 minutes",
            "It fails again and again; its log says why. What it had committed is kept.",
            "system",
        )
    for each in answers:
        if "error" in each:
            yield Condition(
                f"silent:{each['actor']}",
                f"{each['actor']} does not answer",
                "The supervisor restarts it after three checks; if this stays, see its log and `manta status`.",
                "system",
                _SILENT_S,
            )


def _about_holes(holes: Sequence[Hole]) -> Iterable[Condition]:
    for market in dict.fromkeys(hole.market for hole in holes):
        spans = [(hole.from_ms, hole.to_ms) for hole in holes if hole.market == market]
        minutes = sum(to_ms - from_ms for from_ms, to_ms in spans) // MINUTE_MS
        yield Condition(
            f"hole:{market}",
            f"{minutes} minutes of {market} are missing",
            f"The first is {utc(spans[0][0])}. Strategies on them hold; the feed keeps asking the venue.",
            market,
            _HOLE_S,
        )


def _about_lenders(answers: Iterable[dict[str, Any]]) -> Iterable[Condition]:
    for each in answers:
        lender = each.get("lender") or {}
        if lender.get("error"):
            yield Condition(
                f"lender:{lender['market']}",
                f"{lender['other']} lends {lender['market']} nothing",
                f"{lender['error']} What is missing stays so meanwhile; it is asked again every five minutes. If this"
                " stays, look at the network and at history.second.",
                lender["market"],
                _LENDER_S,
            )
        if lender.get("unseeded"):
            yield Condition(
                f"unseeded:{lender['market']}",
                f"{lender['other']} did not lend the past of {lender['market']}",
                f"{lender['unseeded']} Strategies warm up from later minutes. `manta data download --market"
                f" {lender['market']} --days N` has the past lent now.",
                lender["market"],
            )


def _about_books(positions: Mapping[str, int], time_rate: float) -> Iterable[Condition]:
    """A book that stands still while candles are recorded, whatever keeps it. In lockstep nothing is late."""
    for name, at_ms in positions.items():
        role, _, rest = name.partition(":")
        book, _, market = rest.partition(":")
        behind_ms = positions.get(f"recorder:{market}", at_ms) - at_ms
        if role == "execution" and time_rate and behind_ms > _BEHIND_MS * max(1.0, time_rate):
            yield Condition(
                f"behind:{book}:{market}",
                f"Book {book} stands still on {market}",
                f"It has decided up to {utc(at_ms)}, candles are recorded {behind_ms // MINUTE_MS} minutes further.",
                book,
                _BEHIND_S,
            )


def _about_late_decisions(late: Mapping[str, int]) -> Iterable[Condition]:
    for book, count in late.items():
        yield Condition(
            f"late:{book}",
            f"{count} decisions of book {book} were not acted on",
            f"They came later than books.{book}.late_after_s after their candle: Manta was down, or is too slow.",
            book,
        )


def _about_channels(answers: Iterable[dict[str, Any]]) -> Iterable[Condition]:
    for each in answers:
        for name, channel in each.get("channels", {}).items():
            # A channel that was switched off has said so itself.
            if not channel["disabled"] and (channel["oldest_age_s"] or 0) > _UNSENT_AGE_S:
                yield Condition(
                    f"channel:{name}",
                    f"Messages wait for channel {name}",
                    f"{channel['waiting']} are not sent, the oldest for {channel['oldest_age_s'] // 60} minutes.",
                    "notify",
                )


def _about_strategies(answers: Iterable[dict[str, Any]]) -> Iterable[Condition]:
    for each in answers:
        for instance, market, interval, error in each.get("failing", ()):
            yield Condition(
                f"strategy:{instance}:{market}:{interval}",
                f"{instance} fails on the {interval} candles of {market}",
                f"{error} It holds what it has, and decides again on the first candle that it answers; no other"
                " strategy is touched.",
                market,
            )


async def _standing(connection: Connection, markets: Sequence[str]) -> Standing:
    holes = [hole for market in markets for hole in await quality.open_holes(connection, market)]
    epochs = await connection.fetch("select name, epoch from leases")
    late = await connection.fetch(_LATE)
    return Standing(
        holes,
        await cursors.read_cursors(connection),
        {row["name"]: row["epoch"] for row in epochs},
        {row["book"]: row["count"] for row in late},
    )
