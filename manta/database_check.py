"""``manta db check``: what the database is, and whether its TimescaleDB does all that it is asked for."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from manta.service import database_target
from trading.config.secrets import environment_secret
from trading.storage.database import connect
from trading.storage.migrate import applied_migrations, known_migrations, read_origin
from trading.storage.settings import DatabaseTarget, dsn_target
from trading.storage.timescale_check import check_timescale

__all__ = ["check_database", "database_words", "timescale_words", "try_timescale"]


def check_database(path: Path | None, dsn: str | None) -> dict[str, Any]:
    """Facts of the database, which is only read."""

    async def work() -> dict[str, Any]:
        async with _target(path, dsn) as target:
            connection = await connect(target, application_name="manta check")
            try:
                done = await applied_migrations(connection)
                return {
                    "database": str(target),
                    "postgres": await connection.fetchval("show server_version"),
                    "timescaledb": await connection.fetchval(
                        "select extversion from pg_extension where extname = 'timescaledb'"
                    ),
                    "origin": await read_origin(connection),
                    "migrations": len(done),
                    "pending": [f"{m.number:04}_{m.name}" for m in known_migrations() if m.number not in done],
                    "bytes": await connection.fetchval("select pg_database_size(current_database())"),
                }
            finally:
                await connection.close(timeout=5)

    return asyncio.run(work())


def database_words(result: dict[str, Any]) -> str:
    extension = f"TimescaleDB {result['timescaledb']}" if result["timescaledb"] else "without TimescaleDB"
    pending = f", to come: {', '.join(result['pending'])} (manta db migrate)" if result["pending"] else ", up to date"
    return "\n".join(
        [
            f"{result['database']}: PostgreSQL {result['postgres']}, {extension}",
            f"{result['migrations']} migrations{pending}",
            f"{result['bytes'] / 1e6:,.1f} MB, data of origin {result['origin'] or 'none yet'}",
        ]
    )


def try_timescale(path: Path | None, dsn: str | None) -> dict[str, Any]:
    """Run every migration and a round trip of data against the server, in a database that is dropped again."""

    async def work() -> dict[str, Any]:
        async with _target(path, dsn) as target:
            found = await check_timescale(target)
            checks = [check._asdict() for check in found.checks]
            return {"server": str(target), **found._asdict(), "checks": checks, "ok": found.ok}

    return asyncio.run(work())


def timescale_words(result: dict[str, Any]) -> str:
    lines = [
        f"{result['server']}: PostgreSQL {result['postgres']}, TimescaleDB {result['timescaledb']}, "
        f"{result['migrations']} migrations"
    ]
    lines += [
        f"  {'ok    ' if each['ok'] else 'FAILED'}  {each['name']}: {each['detail']}" for each in result["checks"]
    ]
    if result["compressed_bytes_a_row"]:
        lines.append(
            f"bytes a row of made-up minutes: {result['plain_bytes_a_row']:.0f}, "
            f"compressed {result['compressed_bytes_a_row']:.0f}"
        )
    lines.append("TimescaleDB does all that Manta asks of it" if result["ok"] else "TimescaleDB fails Manta here")
    return "\n".join(lines)


@asynccontextmanager
async def _target(path: Path | None, dsn: str | None) -> AsyncIterator[DatabaseTarget]:
    if dsn is None:
        async with database_target(path) as target:
            yield target
        return
    with tempfile.TemporaryDirectory(prefix="manta-check-") as folder:
        yield dsn_target(dsn, Path(folder), environment_secret(os.environ, "DB_PASSWORD").reveal())
