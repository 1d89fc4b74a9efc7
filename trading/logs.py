"""Logging: structlog and the standard library through one door, masked, in UTC, to stderr or to files that stay small.

A condition that lasts is logged when it begins and when it ends (``Availability``). Libraries are heard from warnings
on, and no more than a few times a minute with the same words.
"""

from __future__ import annotations

import datetime as dt
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from trading.config.secrets import Redactor, Secret, read_secrets

__all__ = ["Availability", "DailyFile", "configure_logging", "shutdown_logging"]

OURS = ("actors", "backtest", "manta", "serve", "trading")
KEEP_DAYS = 7
MAX_FILE_BYTES = 20_000_000
MAX_TOTAL_BYTES = 100_000_000
_REPEATS_A_MINUTE = 5
_MARK = "_manta_handler"


def configure_logging(
    file: Path | None = None,
    *,
    secrets: Path | str | Sequence[Secret] | None = None,
    level: str = "INFO",
    console: bool | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send all log records to ``file``, as JSON lines, or without one to stderr (``stream``); replaces an earlier call.

    ``secrets`` is the secrets file, or the secrets: their values never appear. ``console`` chooses readable lines
    instead of JSON; by default a terminal gets them.
    """
    known = list(secrets) if isinstance(secrets, list | tuple) else list(_read(secrets).values())
    handler: logging.Handler
    if file is not None:
        handler = DailyFile(file)
        readable = bool(console)
    else:
        target = stream if stream is not None else sys.stderr
        handler = logging.StreamHandler(target)
        readable = console if console is not None else target.isatty()
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler.setFormatter(_formatter(shared, Redactor(known), readable))
    handler.addFilter(_Quiet())
    setattr(handler, _MARK, True)
    shutdown_logging()
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())


def shutdown_logging() -> None:
    """Flush and close what ``configure_logging`` set up. Safe to call twice."""
    root = logging.getLogger()
    for handler in [item for item in root.handlers if getattr(item, _MARK, False)]:
        root.removeHandler(handler)
        if isinstance(handler, DailyFile):
            handler.close()
        else:
            handler.flush()
        logging.captureWarnings(False)


def _read(secrets: Any) -> dict[str, Secret]:
    return read_secrets(secrets) if secrets is not None else {}


def _formatter(shared: list[Processor], redactor: Redactor, readable: bool) -> logging.Formatter:
    """The traceback becomes text before the mask, the mask comes before the rendering."""
    finish: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("event") if readable else _event_first,
        redactor,
    ]
    if readable:
        finish.append(structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback))
    else:
        finish.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()], processors=finish
    )


def _event_first(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Time, level, logger and event lead every line, in this order."""
    lead = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    return {**lead, **event}


class _Quiet(logging.Filter):
    """Lets through what is ours; of libraries only warnings, and the same words only a few times a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict) or record.name.split(".")[0] in OURS:
            return True
        if record.levelno < logging.WARNING:
            return False
        minute, key = int(record.created // 60), (record.name, str(record.msg)[:200])
        if len(self._seen) > 1000:
            self._seen.clear()
        last, count = self._seen.get(key, (minute, 0))
        count = count + 1 if last == minute else 1
        self._seen[key] = (minute, count)
        return count <= _REPEATS_A_MINUTE


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class DailyFile(logging.FileHandler):
    """A log file for one process: closed and renamed each UTC day and when it is full, kept for ``keep_days``.

    ``feed.log`` becomes ``feed.2026-11-20.1.log``. Closed files of one name together stay below ``max_total_bytes``:
    the oldest go first.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: int = KEEP_DAYS,
        max_bytes: int = MAX_FILE_BYTES,
        max_total_bytes: int = MAX_TOTAL_BYTES,
        now: Callable[[], dt.datetime] = _utc_now,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path.absolute()
        self._keep_days = keep_days
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._now = now
        self._day = now().date()
        self._size = 0
        if self._path.exists():
            found = self._path.stat()
            self._size = found.st_size
            self._day = dt.datetime.fromtimestamp(found.st_mtime, dt.UTC).date()
        super().__init__(self._path, encoding="utf-8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            size, today = len(line.encode()), self._now().date()
            if self._size and (today != self._day or self._size + size > self._max_bytes):
                self._turn()
            self._day = today
            self._size += size
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(line)
            self.flush()
        except Exception:
            self.handleError(record)

    def _turn(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        # Never a number again whose file was pruned: the highest one is the newest.
        number = 1 + max((number for day, number, _ in self._finished() if day == self._day), default=0)
        target = self._path.with_name(f"{self._path.stem}.{self._day}.{number}{self._path.suffix}")
        if self._path.exists():
            self._path.rename(target)
        self._size = 0
        self._prune()

    def _prune(self) -> None:
        oldest = self._now().date() - dt.timedelta(days=self._keep_days)
        total = 0
        for day, _, path in sorted(self._finished(), reverse=True):
            size = path.stat().st_size
            total += size
            if day < oldest or total > self._max_total_bytes:
                path.unlink(missing_ok=True)

    def _finished(self) -> list[tuple[dt.date, int, Path]]:
        found = []
        for path in self._path.parent.glob(f"{self._path.stem}.*.*{self._path.suffix}"):
            day, _, number = path.name[len(self._path.stem) + 1 : -len(self._path.suffix) or None].rpartition(".")
            try:
                found.append((dt.date.fromisoformat(day), int(number), path))
            except ValueError:
                continue
        return found


class Availability:
    """Says once that something went away and once that it is back, with how long it was away."""

    def __init__(self, log: Any, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._since: float | None = None

    @property
    def up(self) -> bool:
        return self._since is None

    def down(self, reason: str, **facts: Any) -> None:
        if self._since is None:
            self._since = self._clock()
            self._log.warning(f"{self._what} is down", reason=reason, **facts)

    def back(self, **facts: Any) -> None:
        if self._since is not None:
            away_s, self._since = self._clock() - self._since, None
            self._log.info(f"{self._what} is back", away_s=round(away_s, 3), **facts)
