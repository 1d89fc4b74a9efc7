"""One job, one writer: a second owner waits or is told who is first; a replaced one can write no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from trading.errors import Halt, StorageRetryable
from trading.storage import cursors
from trading.storage.database import Database, connect
from trading.storage.leases import Lease
from trading.storage.settings import DatabaseTarget

NAME = "execution:paper"


@pytest.fixture
async def first(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="first") as db:
        yield db


@pytest.fixture
async def second(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="second") as db:
        yield db


async def cut(target: DatabaseTarget, application: str) -> None:
    connection = await connect(target)
    await connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1", application
    )
    await connection.close()


async def write(db: Database, lease: Lease, position: int) -> None:
    async with db.transaction() as connection:
        await lease.check(connection)
        await cursors.set_cursor(connection, NAME, position)


async def test_the_second_owner_is_told_who_is_first(first: Database, second: Database) -> None:
    await Lease(first, NAME, "nas/17").acquire()
    with pytest.raises(Halt, match=r"already run by nas/17.*manta down"):
        await Lease(second, NAME, "pc/4").acquire(timeout_s=0.2)
    await Lease(second, "execution:other", "pc/4").acquire(timeout_s=0.2)


async def test_a_released_lease_is_free_at_once(first: Database, second: Database) -> None:
    old, new = Lease(first, NAME, "a"), Lease(second, NAME, "b")
    await old.acquire()
    await old.release()
    await new.acquire(timeout_s=1)
    assert new.epoch == 2
    with pytest.raises(Halt, match="without holding"):
        await write(first, old, 1)


async def test_a_killed_owners_lingering_connection_is_waited_for(
    database: DatabaseTarget, first: Database, second: Database
) -> None:
    await Lease(first, NAME, "a").acquire()
    new = Lease(second, NAME, "b")
    waiting = asyncio.create_task(new.acquire(timeout_s=20))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    await cut(database, "first")
    await waiting
    await write(second, new, 1)


async def test_after_a_lost_connection_the_same_owner_goes_on(
    database: DatabaseTarget, first: Database, second: Database
) -> None:
    lease = Lease(first, NAME, "a")
    await lease.acquire()
    await write(first, lease, 1)
    await cut(database, "first")
    await first.run(lambda connection: cursors.get_cursor(connection, NAME))
    await write(first, lease, 2)
    with pytest.raises(Halt):
        await Lease(second, NAME, "b").acquire(timeout_s=0.1)


async def test_a_zombie_cannot_write(database: DatabaseTarget, first: Database, second: Database) -> None:
    """It lost its connection without noticing; somebody else took over meanwhile."""
    zombie, heir = Lease(first, NAME, "zombie"), Lease(second, NAME, "heir")
    await zombie.acquire(timeout_s=0.2)
    await cut(database, "first")
    await heir.acquire(timeout_s=10)
    with suppress(StorageRetryable, Halt):
        await write(first, zombie, 99)
    with pytest.raises(Halt, match="already run by heir"):
        await write(first, zombie, 99)
    await second.close()
    for _ in range(2):
        with pytest.raises(Halt, match="taken over by heir; zombie must not write"):
            await write(first, zombie, 99)
    connection = await connect(database)
    assert await cursors.get_cursor(connection, NAME) is None
    await connection.close()


async def test_the_check_holds_until_commit(first: Database, second: Database, database: DatabaseTarget) -> None:
    """Even without the lock, a takeover waits for a transaction that has passed the check."""
    lease = Lease(first, NAME, "a")
    await lease.acquire()
    async with first.transaction() as connection:
        await lease.check(connection)
        taking = asyncio.create_task(
            second.run(lambda other: other.execute("update leases set epoch = epoch + 1, owner = 'b'"))
        )
        await asyncio.wait([taking], timeout=0.2)
        assert not taking.done()
    await taking
    with pytest.raises(Halt, match="taken over by b"):
        await write(first, lease, 1)
