"""Leases: of all processes that would do one job, exactly one may write.

A lease is a session advisory lock, which ends with its connection, and a row whose epoch grows with each owner, which
every write transaction checks. The lock keeps a second owner out; the epoch stops one that lost its connection, was
replaced, and does not know it yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence

from trading.errors import Halt
from trading.storage.database import Connection, Database

__all__ = ["Lease", "revoke"]

_FIRST_TRY_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class Lease:
    """The right to do the job ``name``, held through the connection of ``database``.

    After the connection was lost it is taken again with the next one, if nobody else took it meanwhile; else the
    transaction that wanted the connection raises Halt. ``owner`` is what others are told about us.
    """

    def __init__(self, database: Database, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        self.epoch: int | None = None
        self._database = database
        self._key = int.from_bytes(hashlib.sha256(f"lease {name}".encode()).digest()[:8], "big", signed=True)
        self._patience_s = 30.0

    async def acquire(self, *, timeout_s: float = 30.0) -> None:
        """Become the owner, waiting up to ``timeout_s`` for another one's connection to end; Halt if it does not."""
        if self.epoch is not None:
            return
        self._patience_s = timeout_s
        async with self._database.transaction(timeout_s=timeout_s) as connection:
            await self._lock(connection, timeout_s)
            epoch: int = await connection.fetchval(
                """
                insert into leases (name, owner, epoch) values ($1, $2, 1)
                on conflict (name) do update
                    set owner = excluded.owner, epoch = leases.epoch + 1, acquired_at = clock_timestamp()
                returning epoch
                """,
                self.name,
                self.owner,
            )
        # Not before it is committed: who cannot know must ask again.
        self.epoch = epoch
        self._database.on_connect.append(self._resume)

    async def check(self, connection: Connection) -> None:
        """Raise Halt unless the lease is ours until this transaction ends; call it first in every write transaction."""
        if self.epoch is None:
            raise Halt(f"{self.owner} writes as {self.name} without holding its lease.")
        row = await connection.fetchrow("select owner, epoch from leases where name = $1 for share", self.name)
        if row is None or row["epoch"] != self.epoch:
            raise self._lost(row["owner"] if row is not None else None)

    async def release(self) -> None:
        """Let the next owner in at once. Does nothing when the lease is not held or the connection is gone."""
        if self.epoch is None:
            return
        self.epoch = None
        self._database.on_connect.remove(self._resume)
        if self._database.connected:
            async with self._database.transaction() as connection:
                await connection.execute("select pg_advisory_unlock($1)", self._key)

    async def _resume(self, connection: Connection) -> None:
        await self._lock(connection, self._patience_s)
        row = await connection.fetchrow("select owner, epoch from leases where name = $1", self.name)
        if row is None or row["epoch"] != self.epoch:
            raise self._lost(row["owner"] if row is not None else None)

    async def _lock(self, connection: Connection, timeout_s: float) -> None:
        """Tries in turn instead of one long wait, so that the pause is bounded and can be cancelled."""
        deadline = time.monotonic() + timeout_s
        pause_s = _FIRST_TRY_PAUSE_S
        while not await connection.fetchval("select pg_try_advisory_lock($1)", self._key):
            if time.monotonic() + pause_s > deadline:
                owner = await connection.fetchval("select owner from leases where name = $1", self.name)
                raise Halt(
                    f"{self.name} is already run by {owner or 'another process'} on this database.",
                    field="lease",
                    value=self.name,
                    fix="Stop that one first (`manta down`), or use another database.",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    def _lost(self, owner: str | None) -> Halt:
        return Halt(
            f"{self.name} was taken over by {owner or 'nobody known'}; {self.owner} must not write any more.",
            field="lease",
            value=self.name,
            fix="Nothing is to be done: the new owner goes on from the last commit.",
        )


async def revoke(connection: Connection, roles: Sequence[str], owner: str) -> None:
    """Take the leases of all actors of ``roles`` for ``owner``; waits for the transactions that they write in.

    Whoever held one raises Halt when it next writes. The next to acquire it gets it as ever.
    """
    await connection.execute(
        "update leases set owner = $2, epoch = epoch + 1, acquired_at = clock_timestamp()"
        " where split_part(name, ':', 1) = any($1::text[])",
        roles,
        owner,
    )
