"""``manta db backup``, ``backups`` and ``restore``."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manta.backup_keeper import backup_folder, client_programs
from manta.service import database_target, hold_alone, require_down
from trading.config.loading import data_dir, load_config
from trading.config.model import Config
from trading.errors import BadInput
from trading.intervals import iso
from trading.storage.backups import Backup, back_up, list_backups, require_backup, restore
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.storage.settings import DatabaseTarget

__all__ = ["backup_words", "make_backup", "restore_backup", "stored_backups"]

_HAS_TIMESCALE = "select exists (select from pg_extension where extname = 'timescaledb')"
_HAS_TABLES = "select exists (select from pg_tables where schemaname = 'public')"


def make_backup(path: Path | None, folder: Path | None) -> dict[str, Any]:
    """Back the database up now, beside a running Manta or without one; into ``folder``, nothing older is deleted."""
    config, home = _places(path)
    keep = config.storage.backup_keep if folder is None else None
    where = backup_folder(config, home) if folder is None else folder

    async def work() -> dict[str, Any]:
        began = time.monotonic()
        async with database_target(path) as target:
            made = await back_up(target, client_programs(config, home), where, now=datetime.now(UTC), keep=keep)
        return _facts(made) | {"seconds": round(time.monotonic() - began, 2)}

    return asyncio.run(work())


def stored_backups(path: Path | None) -> list[dict[str, Any]]:
    """The backups in the configured folder, newest first."""
    return [_facts(backup) for backup in list_backups(backup_folder(*_places(path)))]


def backup_words(facts: dict[str, Any]) -> str:
    return f"{facts['made_at']}  {facts['bytes'] / 1e6:9,.2f} MB  {facts['file']}"


def restore_backup(path: Path | None, file: Path) -> dict[str, Any]:
    """Put ``file`` in the place of what the database holds, which is backed up first; Halt while Manta runs on it."""
    config, home = _places(path)
    require_down(home)

    async def work() -> dict[str, Any]:
        programs, began = client_programs(config, home), time.monotonic()
        async with database_target(path) as target:
            await require_backup(target, programs, file)
            before = await _replace(target, programs, file, backup_folder(config, home))
            # A backup of an earlier version is brought to this one.
            applied = list(await migrate(target, "venue"))
        return {
            "restored": str(file),
            "database": str(target),
            "before": str(before.path) if before is not None else None,
            "applied": applied,
            "seconds": round(time.monotonic() - began, 2),
        }

    return asyncio.run(work())


async def _replace(target: DatabaseTarget, programs: Path, file: Path, folder: Path) -> Backup | None:
    """Back up into ``folder`` what is there, if anything is, and restore ``file``; nobody else may work there."""
    async with Database(target, application_name="manta restore") as database:
        if await database.run(lambda connection: connection.fetchval(_HAS_TIMESCALE)):
            raise BadInput(
                f"{target} uses TimescaleDB, whose tables are restored in steps of its own.",
                field="database",
                value=str(target),
                fix="Follow TimescaleDB's manual for pg_restore, or restore into a server without it (DB_HOST).",
            )
        before = None
        if await database.run(lambda connection: connection.fetchval(_HAS_TABLES)):
            await hold_alone(database, "restore")
            before = await back_up(target, programs, folder, now=datetime.now(UTC))
        await restore(target, programs, file)
    return before


def _facts(backup: Backup) -> dict[str, Any]:
    return {"file": str(backup.path), "made_at": iso(backup.made_ms), "bytes": backup.bytes}


def _places(path: Path | None) -> tuple[Config, Path]:
    return load_config(path, os.environ), data_dir(path, os.environ)
