"""Connections of one replica: a small pool for requests, and one connection that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from trading.storage.settings import DatabaseTarget

__all__ = ["Database"]

_POOL = 3
_ACQUIRE_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 30.0


class Database:
    """Reads of one replica, at most four connections with the listener's. Connects when first asked, and again after
    an outage.

    A call fails with OSError, TimeoutError or an asyncpg connection error while the database is away; nothing is
    retried.
    """

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
            return rows

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection of the pool."""
        pool = self._pool or await self._open()
        connection = await pool.acquire(timeout=_ACQUIRE_TIMEOUT_S)
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def listener(self) -> asyncpg.Connection:
        """A connection of its own for LISTEN; the caller closes it."""
        return await asyncpg.connect(**self._address())

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    **self._address(), min_size=0, max_size=_POOL, command_timeout=_COMMAND_TIMEOUT_S
                )
            return self._pool

    def _address(self) -> dict[str, Any]:
        return {
            "host": self._target.host,
            "port": self._target.port,
            "user": self._target.user,
            "database": self._target.database,
            "password": self._target.password(),
            "timeout": _ACQUIRE_TIMEOUT_S,
            # Short queries by the thousand: compiling them to machine code costs more than it saves.
            "server_settings": {"jit": "off", "application_name": "manta serve"},
        }
