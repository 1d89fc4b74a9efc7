"""Candle files kept up to date from a venue: ``data/btc_usdt_60m_pionex.csv`` and its like.

Each download joins what the file has: however long the last one is ago, no candle between is left out as long as the
venue still shows it. Files are written by ``trading.seed_files``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from trading.candles import Candle
from trading.download_schedule import DownloadSchedule
from trading.errors import BadInput, MantaError
from trading.intervals import Interval, parse_interval
from trading.jumps import Doubts, jump_anomaly
from trading.logs import DailyFile
from trading.markets import split_market
from trading.seed_files import SeedFile, append_seed_file, read_seed_rows, seed_file_name
from trading.venues.adapter import History, adapter

__all__ = [
    "HISTORICAL_DAYS",
    "JOB_BARS",
    "ONCE_BARS",
    "START_BARS",
    "CandleFiles",
    "Downloaded",
    "ScheduledDownloads",
    "check_intervals",
    "log_failure",
    "log_success",
    "logging_to",
]

START_BARS, JOB_BARS, ONCE_BARS = 10, 5, 100
"""Candles that are fetched at least: when a schedule starts, each time it is due, and by a single download."""
HISTORICAL_DAYS = 365

Tell = Callable[[int, int, int], None]
"""Told how far a download has come: its first, reached and last time, in ms."""

_log = logging.getLogger(__name__)


class Downloaded(NamedTuple):
    """What a download did: candles in [``from_ms``, ``to_ms``) were asked for, ``received`` came. ``unusable`` are
    candles that the venue shows no more, or only as garbage. ``is_cut``: the venue shows less than was wanted.
    """

    market: str
    interval: str
    path: Path
    from_ms: int
    to_ms: int
    received: int
    unusable: int
    rows_before: int
    rows_after: int
    is_cut: bool


def check_intervals(venue: str, intervals: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical names of ``intervals``; BadInput for one whose candles ``venue`` does not give."""
    native = adapter(venue).intervals
    names = tuple(dict.fromkeys(parse_interval(text).name for text in intervals))
    for name in names:
        if name not in native:
            raise BadInput(
                f"{venue} has no candles of {name}.",
                field="timeframes",
                value=name,
                fix=f"Use some of {', '.join(native)}.",
            )
    return names


class CandleFiles:
    """The files of one market in ``folder``. ``history`` is the venue's REST side and its opener's to close.

    Raises BadInput for a ``market`` that is not written venue:symbol.
    """

    def __init__(self, history: History, market: str, folder: Path) -> None:
        self.market = market
        self._venue, self._symbol = split_market(market)
        self._history = history
        self._folder = folder
        self._known: str | None = None

    async def resolve(self) -> str:
        """The symbol as the venue spells it; ConfigError, with the nearest names, when there is none such."""
        if self._known is None:
            self._known = (await self._history.market(self._symbol)).symbol
        return self._known

    async def bring_up(
        self, interval: str, *, bars: int, tell: Tell = lambda _from_ms, _reached_ms, _to_ms: None
    ) -> Downloaded:
        """Fetch the last ``bars`` closed candles, and all since the file's last one, into the file.

        Candles that arrived before a failure are kept. Raises what ``History`` does, and what writing the file does.
        """
        symbol = await self.resolve()
        width = parse_interval(interval)
        now_ms = (await self._history.time()).venue_ms
        to_ms = width.open_of(now_ms)
        from_ms = to_ms - bars * width.typical_ms
        path = self._folder / seed_file_name(symbol, width, self._venue)
        if (last_ms := await asyncio.to_thread(_last_close_ms, path, width)) is not None:
            from_ms = min(from_ms, last_ms)
        wanted_ms = from_ms
        if (horizon_ms := self._history.horizon_ms(width.name)) is not None:
            from_ms = max(from_ms, to_ms - horizon_ms + width.typical_ms)
        candles: list[Candle] = []
        try:
            unusable = await self._collect(candles, symbol, width, from_ms, to_ms, now_ms, tell)
        except MantaError:
            if candles:
                await self._append(symbol, width, candles)
            raise
        file = await self._append(symbol, width, candles) if candles or path.exists() else SeedFile(path, 0, 0)
        return Downloaded(
            self.market, width.name, path, from_ms, to_ms, len(candles), unusable, file.rows_before, file.rows_after,
            is_cut=from_ms > wanted_ms,
        )  # fmt: skip

    async def _collect(
        self, candles: list[Candle], symbol: str, width: Interval, from_ms: int, to_ms: int, now_ms: int, tell: Tell
    ) -> int:
        """Page from ``from_ms`` to ``to_ms`` into ``candles``; returns how many were unusable."""
        unusable, at_ms = 0, from_ms
        while at_ms < to_ms:
            page = await self._history.page(symbol, width.name, at_ms, to_ms, now_ms)
            candles += [candle for candle in page.candles if at_ms <= candle.open_time_ms < to_ms]
            unusable += len(page.unusable)
            for anomaly in page.anomalies:
                _log.warning("%s %s: %s: %s", self.market, width, anomaly.reason, anomaly.detail)
            tell(from_ms, min(page.through_ms, to_ms), to_ms)
            if not page.more or page.through_ms <= at_ms:
                break
            at_ms = page.through_ms
        return unusable

    async def _append(self, symbol: str, width: Interval, candles: list[Candle]) -> SeedFile:
        believed = self._believed(candles)
        # The lock may have to be waited for: not where everything else would wait as well.
        return await asyncio.to_thread(append_seed_file, self._folder, symbol, width.name, believed, venue=self._venue)

    def _believed(self, candles: list[Candle]) -> list[Candle]:
        """``candles`` up to the first whose price jumps without being borne out: a row that is written stays."""
        while (doubtful := Doubts().first(None, candles)[0]) is not None:
            _log.warning("%s %s: left out: %s", self.market, doubtful.interval, jump_anomaly(doubtful).detail)
            at = candles.index(doubtful)
            candles = candles[:at] or candles[1:]
        return candles


class ScheduledDownloads:
    """Brings the files of one market up to date whenever they are due. A failure is logged in full and stops nothing.

    Nothing here is durable: after a restart all is due at once, and each file says itself what it lacks.
    """

    def __init__(self, market: str, folder: Path, intervals: tuple[str, ...]) -> None:
        self.market = market
        self.schedule = DownloadSchedule(intervals)
        self._folder = folder
        self._begun: set[Interval] = set()

    async def work(self, history: History, now_ms: int) -> list[Downloaded]:
        """Download from ``history`` what is due at ``now_ms``, UTC; returns what ended well."""
        files = CandleFiles(history, self.market, self._folder)
        done: list[Downloaded] = []
        for interval in self.schedule.due(now_ms):
            bars = JOB_BARS if interval in self._begun else START_BARS
            try:
                done.append(await files.bring_up(interval.name, bars=bars))
            except Exception as error:
                # Whatever it was: the other timeframes, and the next time, must not suffer from it.
                self.schedule.failed(interval, now_ms, getattr(error, "retry_after_s", None))
                log_failure(self.market, interval.name, error)
            else:
                self._begun.add(interval)
                self.schedule.done(interval, now_ms)
                log_success(done[-1])
        return done


def log_success(done: Downloaded) -> None:
    _log.info(
        "%s %s: %d candles, %d new rows, %d in %s", done.market, done.interval, done.received,
        done.rows_after - done.rows_before, done.rows_after, done.path,
    )  # fmt: skip


def log_failure(market: str, interval: str, error: Exception) -> None:
    """All that is known of why a download failed."""
    facts = {name: getattr(error, name, None) for name in ("field", "value", "fix", "retry_after_s")}
    details = "".join(f"; {name}: {fact}" for name, fact in facts.items() if fact is not None)
    is_ours = isinstance(error, MantaError | OSError)
    _log.error(
        "%s %s failed: %s: %s%s", market, interval, type(error).__name__, error, details,
        exc_info=None if is_ours else error,
    )  # fmt: skip


@contextmanager
def logging_to(folder: Path, venue: str) -> Iterator[Path]:
    """Have downloads write to ``VENUE_downloader.log`` in ``folder``: a new file each day, and when it is full."""
    path = folder / f"{venue}_downloader.log"
    try:
        handler = DailyFile(path)
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written: {error.strerror}.",
            field="data_dir",
            value=str(folder),
            fix="Give a folder that exists or can be made.",
        ) from error
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield path
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        handler.close()


def _last_close_ms(path: Path, width: Interval) -> int | None:
    """Where the rows of a file end; None without a file, or in one without rows."""
    rows = read_seed_rows(path) if path.exists() else []
    return width.close_of(max(row.open_time_ms for row in rows)) if rows else None
