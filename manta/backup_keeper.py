"""The host's backups of its database: one whenever the newest is old enough, and again until one is made."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from trading.config.model import Config
from trading.errors import MantaError
from trading.intervals import HOUR_MS
from trading.storage.backups import back_up, list_backups
from trading.storage.binaries import find_binaries
from trading.storage.settings import DatabaseTarget

__all__ = ["BackupKeeper", "backup_folder", "client_programs"]

_LOOK_S = 600.0

log = structlog.get_logger("host")


def backup_folder(config: Config, data_dir: Path) -> Path:
    """Where backups go; a relative folder is one of the data directory."""
    return data_dir.absolute() / (config.storage.backup_folder or Path("backups")).expanduser()


def client_programs(config: Config, data_dir: Path) -> Path:
    """The folder with pg_dump, pg_restore and psql."""
    return find_binaries(data_dir / "postgres", config.storage.binaries).folder


class BackupKeeper:
    """Makes a backup when the newest is ``storage.backup_hours`` old or there is none, and keeps the newest few.

    ``pause_s`` is how long it waits before it looks, at first and again: the start has enough to do. What fails is
    logged and tried again; the supervisor tells of it when it lasts. Durable: the files themselves.
    """

    def __init__(self, config: Config, data_dir: Path, target: DatabaseTarget, *, pause_s: float = _LOOK_S) -> None:
        self._settings = config.storage
        self._folder = backup_folder(config, data_dir)
        self._config = config
        self._data_dir = data_dir
        self._target = target
        self._pause_s = pause_s

    async def run(self) -> None:
        """Go on until cancelled, which also ends a backup that is under way."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                if self._is_due():
                    await self._back_up()
            except (MantaError, OSError) as error:
                fix = error.fix if isinstance(error, MantaError) else None
                log.error("the database could not be backed up", error=str(error), fix=fix)

    def _is_due(self) -> bool:
        newest = next(iter(list_backups(self._folder)), None)
        age_ms = None if newest is None else time.time() * 1000 - newest.made_ms
        # A clock that was set back made the newest one in the future.
        return age_ms is None or not 0 <= age_ms < self._settings.backup_hours * HOUR_MS

    async def _back_up(self) -> None:
        programs = client_programs(self._config, self._data_dir)
        began = time.monotonic()
        made = await back_up(
            self._target, programs, self._folder, now=datetime.now(UTC), keep=self._settings.backup_keep
        )
        log.info("backed up", file=str(made.path), bytes=made.bytes, seconds=round(time.monotonic() - began, 1))
