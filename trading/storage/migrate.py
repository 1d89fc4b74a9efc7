"""Numbered SQL files, applied once each, in order, by one process at a time."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from trading.errors import ConfigError
from trading.storage.database import Connection, connect
from trading.storage.settings import DatabaseTarget

__all__ = ["Migration", "applied_migrations", "check_origin", "known_migrations", "migrate", "read_origin"]

_log = logging.getLogger(__name__)

# Any constant will do, as long as nothing else in the database uses it: "manta" in ASCII.
_LOCK = 0x6D616E7461
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TABLE = """
create table if not exists schema_migrations (
    number int primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``schema/``. ``checksum`` is the SHA-256 of its text with plain line ends."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def known_migrations() -> tuple[Migration, ...]:
    """The migrations this code brings, in order."""
    found = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in files("trading.storage").joinpath("schema").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


async def migrate(
    target: DatabaseTarget, origin: str, *, migrations: tuple[Migration, ...] | None = None
) -> tuple[str, ...]:
    """Bring the database to this code's version and mark it as fed by ``origin`` (``venue`` or ``simulator``).

    Returns the names applied now. Safe to call from many processes at once. Raises ConfigError, having changed nothing,
    when the database is newer than the code, has another origin, or an applied migration's text was changed.
    """
    migrations = known_migrations() if migrations is None else migrations
    connection = await connect(target, application_name="manta migrate", timeout_s=30)
    try:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        await check_origin(connection, origin)
        done = await applied_migrations(connection)
        _refuse_other_history(done, migrations)
        fresh = [migration for migration in migrations if migration.number not in done]
        for migration in fresh:
            await _apply(connection, migration)
        await connection.execute(
            "insert into database_info (key, value) values ('origin', $1) on conflict do nothing", origin
        )
        await check_origin(connection, origin)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"{target.user} may not create tables in {target.database}: {error}.",
            field="DB_USER",
            value=target.user,
            fix=f'As an administrator: alter database "{target.database}" owner to "{target.user}".',
        ) from error
    except asyncpg.PostgresError as error:
        # The server ends the session over this, so no migration can pass over it.
        if "must be preloaded" not in str(error):
            raise
        raise ConfigError(
            f"TimescaleDB is installed on the server of {target}, but not loaded: {error}.",
            field="shared_preload_libraries",
            fix="Set shared_preload_libraries = 'timescaledb' in its postgresql.conf and restart it, "
            "or remove the extension.",
        ) from error
    finally:
        await connection.close(timeout=5)
    return tuple(f"{migration.number:04}_{migration.name}" for migration in fresh)


async def check_origin(connection: Connection, origin: str) -> None:
    """Raise ConfigError when the database holds data of another origin than ``origin``. An empty database has none."""
    found = await read_origin(connection)
    if found is not None and found != origin:
        raise ConfigError(
            f"This database holds {found} data; it cannot take {origin} data.",
            field="origin",
            value=found,
            fix="Choose another MANTA_DATA_DIR (or DB_NAME): simulated and real candles never share a database.",
        )


async def read_origin(connection: Connection) -> str | None:
    """Whose data the database holds, ``venue`` or ``simulator``; None when it is empty."""
    if await connection.fetchval("select to_regclass('database_info')") is None:
        return None
    found: str | None = await connection.fetchval("select value from database_info where key = 'origin'")
    return found


async def applied_migrations(connection: Connection) -> dict[int, tuple[str, str]]:
    """Number to (name, checksum) of what the database has; empty for a new one."""
    if await connection.fetchval("select to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("select number, name, checksum from schema_migrations order by number")
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


def _refuse_other_history(done: dict[int, tuple[str, str]], migrations: tuple[Migration, ...]) -> None:
    known = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in done.items():
        if number not in known:
            raise ConfigError(
                f"The database has migration {number:04}_{name}, newer than this version of Manta knows.",
                field="schema_migrations",
                value=number,
                fix="Use the version of Manta that made it, or a newer one.",
            )
        if known[number].checksum != checksum:
            raise ConfigError(
                f"Migration {number:04}_{name} is not the one that was applied to this database.",
                field="schema_migrations",
                value=number,
                fix="Use an unchanged release of Manta, or start with a new MANTA_DATA_DIR (or DB_NAME).",
            )


async def _apply(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(_TABLE)
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
    _log.info("applied migration %04d_%s", migration.number, migration.name)
