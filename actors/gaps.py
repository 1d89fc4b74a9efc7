"""The supervisor's watch for price gaps: after every closed candle, and over all that closed while Manta was down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from actors.session import Session
from trading.config.model import Gaps
from trading.errors import MantaError
from trading.events import Event, EventKind
from trading.gaps.alerts import Listener, listens_from
from trading.gaps.gaps_file import merge_gaps_file, read_gaps_file, row_of
from trading.gaps.passes import Rules, Step, newest_closes, next_step, repaired_since, rules_of, series_of
from trading.gaps.texts import monitor_event
from trading.notify.routing import tell
from trading.storage import cursors, events
from trading.storage.database import Connection
from trading.storage.gap_adoption import adopt_rows
from trading.storage.price_gaps import Series, live_gaps, read_gaps, store_changes

__all__ = ["GAPS_S", "GapMonitor"]

# A replay's hours are seconds apart.
GAPS_S = {"venue": 2.0, "simulator": 1.0}
_REPAIRS_S = 60.0
# How much of the past is looked at again for repairs: what was not committed yet at the last look.
_OVERLAP_MS = 120_000
_SHOWN = 20

Read = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]
Commit = Callable[[Mapping[str, int], Callable[[Connection], Awaitable[None]]], Awaitable[None]]

log = structlog.get_logger("gaps")


class GapMonitor:
    """Follows the stored candles of every watched market and interval with a cursor of its own.

    Durable: gaps, messages and the cursor, in one transaction, so each gap is stored and told once whatever crashes.
    The CSV file is written after that, and again at the next start. Only closed candles are ever read.
    """

    def __init__(self, session: Callable[[], Session], read: Read, commit: Commit) -> None:
        """``session`` is asked each time: a reload changes it."""
        self._session = session
        self._read = read
        self._commit = commit
        self._listeners: dict[Series, Listener] = {}
        self._positions: dict[Series, int] = {}
        self._decided = False
        self._began = False
        self._stopped = False
        self._repairs_at = 0.0
        self._repaired_ms: int | None = None
        self._file_is_old = True
        self._file_trouble = ""

    def beside(self, event: Event) -> list[Event]:
        """What is told together with Manta's own start or stop: the watch began, or ends."""
        session = self._session()
        state = {EventKind.START: "started", EventKind.STOP: "stopped"}.get(EventKind(event.kind))
        if state is None or not session.config.gaps.enabled:
            return []
        self._stopped = state == "stopped"
        return [monitor_event(state, session.session_id, event.event_time_ms)]

    async def work(self) -> None:
        """Handle every candle that closed since the last call."""
        settings = self._session().config.gaps
        if self._stopped:
            return
        watched = series_of(settings, self._session().config.markets)
        if not self._decided:
            await self._decide(settings, watched)
        if not settings.enabled:
            return
        if not self._began:
            await self._begin(settings, watched)
        newest = await self._read(lambda conn: newest_closes(conn, watched))
        repairs = await self._repairs([series for series in watched if series in newest])
        for series in watched:
            if series in newest:
                await self._follow(settings, series, newest[series], repairs.get(series))
        if self._file_is_old and settings.file is not None and newest:
            await self._write_file(settings.file)

    async def _decide(self, settings: Gaps, watched: Sequence[Series]) -> None:
        """Once a start, and before anything else: since when those that are watched from the start on are heard.

        However late this first look is, what closed after the start is still told.
        """
        session = self._session()
        decided = f"gaps-from:{session.session_id}"
        if await self._read(lambda conn: cursors.get_cursor(conn, decided)) is None:
            since = {decided: session.start_ms}
            for series in watched if settings.enabled else ():
                position = await self._position(series)
                since[self._since(series)] = listens_from(
                    series.interval, session.start_ms, settings.recent_bars, position
                )

            async def forget_earlier(conn: Connection) -> None:
                await conn.execute(
                    "delete from cursors where starts_with(name, 'gaps-from:') and not starts_with(name, $1)", decided
                )

            await self._commit(since, forget_earlier)
        self._decided = True

    def _since(self, series: Series) -> str:
        return f"gaps-from:{self._session().session_id}:{series.cursor}"

    async def _begin(self, settings: Gaps, watched: Sequence[Series]) -> None:
        """Take in what only the file knows, and find out how far each series has come."""
        if settings.file is not None:
            try:
                rows = await asyncio.to_thread(read_gaps_file, self._path(settings.file))
            except MantaError as error:
                log.error("the gaps file is left alone", error=str(error))
                rows = []
            adopted = 0

            async def adopt(conn: Connection) -> None:
                nonlocal adopted
                adopted = await adopt_rows(conn, rows)

            if rows:
                await self._commit({}, adopt)
            if adopted:
                log.info("gaps taken over from the file", count=adopted)
                for series in watched:
                    await self._check_from_oldest(settings, series)
        self._began = True

    async def _check_from_oldest(self, settings: Gaps, series: Series) -> None:
        """Hand all candles since the oldest gap to those that are not filled: some came without their past."""
        live = await self._read(lambda conn: live_gaps(conn, series)) if await self._known(series) else []
        position = await self._position(series)
        if live and position is not None:
            await self._run(settings, series, min(gap.since_ms for gap in live), position)

    async def _known(self, series: Series) -> bool:
        return series in await self._read(lambda conn: newest_closes(conn, [series]))

    async def _position(self, series: Series) -> int | None:
        if series not in self._positions:
            found = await self._read(lambda conn: cursors.get_cursor(conn, series.cursor))
            if found is not None:
                self._positions[series] = found
        return self._positions.get(series)

    async def _repairs(self, watched: Sequence[Series]) -> dict[Series, int]:
        """By series, from where on candles were healed or revised since the last look, which is rare."""
        if time.monotonic() < self._repairs_at:
            return {}
        self._repairs_at = time.monotonic() + _REPAIRS_S

        async def look(conn: Connection) -> tuple[int, dict[Series, int]]:
            now_ms: int = await conn.fetchval("select ms(clock_timestamp())")
            since = self._repaired_ms
            if since is None:
                since = await conn.fetchval(
                    "select ms(max(updated_at)) from cursors where name = any($1)", [s.cursor for s in watched]
                )
            if since is None:
                return now_ms, {}
            found = {series: await repaired_since(conn, series, since - _OVERLAP_MS) for series in watched}
            return now_ms, {series: from_ms for series, from_ms in found.items() if from_ms is not None}

        repairs: dict[Series, int]
        self._repaired_ms, repairs = await self._read(look)
        return repairs

    async def _follow(self, settings: Gaps, series: Series, newest_ms: int, repaired_ms: int | None) -> None:
        position = await self._position(series)
        if series not in self._listeners:
            self._listeners[series] = await self._listener(settings, series, position, newest_ms)
        if repaired_ms is not None and position is not None and repaired_ms < position:
            await self._run(settings, series, repaired_ms, position)
        if position is None or newest_ms > position:
            await self._run(settings, series, position or 0, None)

    async def _listener(self, settings: Gaps, series: Series, position: int | None, newest_ms: int) -> Listener:
        """Who hears of ``series``; since when is decided once a start, and holds for a monitor that died meanwhile."""
        session = self._session()
        name = self._since(series)
        from_ms: int | None = await self._read(lambda conn: cursors.get_cursor(conn, name))
        if from_ms is None:
            # A reload began to watch it.
            from_ms = listens_from(series.interval, session.start_ms, settings.recent_bars, position, newest_ms)

            async def nothing(_conn: Connection) -> None:
                pass

            await self._commit({name: from_ms}, nothing)
        return Listener(series.interval, session.start_ms, settings.recent_bars, from_ms)

    async def _run(self, settings: Gaps, series: Series, from_ms: int, until_ms: int | None) -> None:
        """Handle candles from ``from_ms`` on; those up to ``until_ms`` once more, for a repair."""
        rules = rules_of(settings)
        while until_ms is None or from_ms < until_ms:
            step = await self._next(series, rules, from_ms, until_ms)
            if step is None:
                return
            await self._store(settings, step)
            from_ms = step.upto_ms

    async def _next(self, series: Series, rules: Rules, from_ms: int, until_ms: int | None) -> Step | None:
        async def query(conn: Connection) -> Step | None:
            return await next_step(conn, series, rules, from_ms, to_ms=until_ms)

        step: Step | None = await self._read(query)
        return step

    async def _store(self, settings: Gaps, step: Step) -> None:
        series, notify = step.series, self._session().config.notify
        listener = self._listeners.get(series)
        before = self._positions.get(series)
        unsent: list[str] = []

        async def write(conn: Connection) -> None:
            unsent.clear()
            stored = await store_changes(conn, series, step.changes)
            self._file_is_old = self._file_is_old or any(stored)
            if listener is None:
                return
            news = listener.news(stored, settings.timezone)
            unsent.extend(news.unsent)
            told = list(news.messages)
            if (span := listener.list_span(before, step.upto_ms)) is not None:
                listed = await read_gaps(
                    conn, market=series.market, interval=series.interval, mode=series.mode, from_ms=span[0],
                    to_ms=span[1],
                )  # fmt: skip
                told += listener.list_event(series.market, series.mode.value, listed, span[1], settings.timezone)
            await events.append_events(conn, news.silent)
            await tell(conn, told, notify)

        await self._commit({series.cursor: step.upto_ms} if step.upto_ms > (before or 0) else {}, write)
        self._positions[series] = max(before or 0, step.upto_ms)
        if unsent:
            where = {"market": series.market, "interval": series.interval}
            log.info("gaps of before the start are stored, not sent", **where, count=len(unsent), ids=unsent[:_SHOWN])

    async def _write_file(self, file: Path) -> None:
        path = self._path(file)
        self._file_is_old = False
        rows = [row_of(gap) for gap in await self._read(read_gaps)]
        try:
            await asyncio.to_thread(merge_gaps_file, path, rows)
        except MantaError as error:
            self._file_is_old = True
            if str(error) != self._file_trouble:
                log.warning("the gaps file cannot be written", error=str(error))
            self._file_trouble = str(error)
        else:
            self._file_trouble = ""

    def _path(self, file: Path) -> Path:
        """Within the data directory, beside the logs."""
        return Path(self._session().log_dir).parent / file
