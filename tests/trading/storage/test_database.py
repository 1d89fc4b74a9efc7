"""Connections that break: nothing written, something unknown, or a repeat that hides it all."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from trading.errors import ConfigError, OutcomeUnknown, StorageRetryable
from trading.storage import cursors
from trading.storage.database import Connection, Database, connect, listen, notify, open_pool
from trading.storage.settings import DatabaseTarget

SLOW_COMMIT = """
create function think() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$;
create constraint trigger slow_commit after insert or update on cursors
    deferrable initially deferred for each row execute function think();
"""


@pytest.fixture
async def db(database: DatabaseTarget) -> AsyncIterator[Database]:
    async with Database(database, application_name="manta test") as db:
        yield db


async def backend(connection: Connection) -> int:
    return await connection.fetchval("select pg_backend_pid()")


async def end_backend(target: DatabaseTarget, pid: int) -> None:
    connection = await connect(target)
    await connection.execute("select pg_terminate_backend($1, 5000)", pid)
    await connection.close()


@asynccontextmanager
async def cut_at_commit(target: DatabaseTarget, *, deliver: bool) -> AsyncIterator[DatabaseTarget]:
    """A relay to ``target`` that breaks the first connection which sends COMMIT, before or after the server has it."""
    cut = False

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        nonlocal cut
        server, to_server = await asyncio.open_unix_connection(f"{target.host}/.s.PGSQL.{target.port}")
        silent = asyncio.Event()

        async def back() -> None:
            while data := await server.read(65536):
                if silent.is_set():
                    break
                to_client.write(data)
            to_client.close()

        returning = asyncio.create_task(back())
        while data := await client.read(65536):
            if b"COMMIT" in data and not cut:
                cut = True
                silent.set()
                if not deliver:
                    break
            to_server.write(data)
            if silent.is_set():
                await returning
                break
        for writer in (to_server, to_client):
            writer.close()
        await returning

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield replace(target, host="127.0.0.1", port=listener.sockets[0].getsockname()[1])
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_cancelled_transaction_does_not_wait_for_a_server_that_is_silent(db: Database, begun: bool) -> None:
    async with db.transaction() as connection:
        pid = await backend(connection)

    async def work() -> None:
        async with db.transaction() as connection:
            if begun:
                os.kill(pid, signal.SIGSTOP)
            await connection.execute("select 1")

    if not begun:
        os.kill(pid, signal.SIGSTOP)
    try:
        working = asyncio.ensure_future(work())
        await asyncio.wait([working], timeout=0.3)
        working.cancel()
        await asyncio.wait_for(asyncio.wait([working]), 60)
        assert working.cancelled()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await db.run(lambda conn: conn.fetchval("select 1")) == 1


@pytest.mark.parametrize("deliver", [False, True])
async def test_a_connection_lost_during_commit_is_unknown(database: DatabaseTarget, deliver: bool) -> None:
    async with cut_at_commit(database, deliver=deliver) as fragile, Database(fragile) as db:
        with pytest.raises(OutcomeUnknown, match="lost during COMMIT"):
            async with db.transaction() as connection:
                await cursors.set_cursor(connection, "c", 5)
        async with db.transaction() as connection:
            assert await cursors.get_cursor(connection, "c") == (5 if deliver else None)


@pytest.mark.parametrize("deliver", [False, True])
async def test_run_with_a_cursor_writes_exactly_once_whatever_became_of_commit(
    database: DatabaseTarget, deliver: bool
) -> None:
    async def effect(connection: Connection) -> None:
        if await cursors.advance(connection, {"c": 5}):
            await connection.execute(
                "insert into events (kind, event_time, stream, payload) values ('x', now(), '', '{}')"
            )

    async with cut_at_commit(database, deliver=deliver) as fragile, Database(fragile) as db:
        await db.run(effect)
        async with db.transaction() as connection:
            assert await connection.fetchval("select count(*) from events") == 1
            assert await cursors.get_cursor(connection, "c") == 5


async def test_a_connection_lost_before_commit_wrote_nothing(database: DatabaseTarget, db: Database) -> None:
    async def interrupted() -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "c", 5)
            await end_backend(database, await backend(connection))
            await connection.execute("select 1")

    with pytest.raises(StorageRetryable, match="was lost"):
        await interrupted()
    async with db.transaction() as connection:
        assert await cursors.get_cursor(connection, "c") is None


async def test_a_cut_before_commit_wrote_nothing(db: Database) -> None:
    async def cut() -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "c", 5)
            db.cut()
            await connection.execute("select 1")

    with pytest.raises(StorageRetryable, match="was lost"):
        await cut()
    assert await db.run(lambda connection: cursors.get_cursor(connection, "c")) is None


async def test_a_cut_right_after_commit_was_sent_leaves_a_commit_that_nobody_saw(db: Database) -> None:
    async def cut() -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "c", 5)
            asyncio.get_running_loop().call_soon(db.cut)

    # However busy the machine is, the answer must not come before the cut.
    await db.run(lambda connection: connection.execute(SLOW_COMMIT))
    with pytest.raises(OutcomeUnknown, match="during COMMIT"):
        await cut()
    async with asyncio.timeout(120):
        while await db.run(lambda connection: cursors.get_cursor(connection, "c")) != 5:
            await asyncio.sleep(0.05)


async def test_a_connection_lost_while_idle_costs_one_repeat_at_most(database: DatabaseTarget, db: Database) -> None:
    await end_backend(database, await db.run(backend))
    assert await db.run(backend) > 0


async def test_a_wrong_statement_is_no_lost_connection(db: Database) -> None:
    pid = await db.run(backend)
    with pytest.raises(asyncpg.UndefinedTableError):
        await db.run(lambda connection: connection.execute("select * from nowhere"))
    with pytest.raises(FileNotFoundError):
        async with db.transaction():
            Path("/nowhere").read_text()
    assert await db.run(backend) == pid


@pytest.mark.parametrize("code", ["53100", "53200"], ids=["disk full", "out of memory"])
async def test_a_server_without_room_is_waited_for_and_nothing_is_written(db: Database, code: str) -> None:
    async def write() -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "c", 5)
            await connection.execute(f"do $$ begin raise exception 'no space left' using errcode = '{code}'; end $$")

    pid = await db.run(backend)
    with pytest.raises(StorageRetryable, match=r"no room: no space left.*Make room"):
        await write()
    assert await db.run(lambda connection: cursors.get_cursor(connection, "c")) is None
    assert await db.run(backend) == pid


async def test_an_exception_rolls_back(db: Database) -> None:
    async def failing(connection: Connection) -> None:
        await cursors.set_cursor(connection, "c", 5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.run(failing)
    assert await db.run(lambda connection: cursors.get_cursor(connection, "c")) is None


async def test_a_cancelled_transaction_leaves_a_usable_database(db: Database) -> None:
    inside = asyncio.Event()

    async def slow() -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "c", 5)
            inside.set()
            await connection.execute("select pg_sleep(60)")

    task = asyncio.create_task(slow())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert await db.run(lambda connection: cursors.get_cursor(connection, "c")) is None


async def test_tasks_take_turns_and_nesting_is_refused(db: Database) -> None:
    async def bump() -> None:
        async with db.transaction() as connection:
            now = await cursors.get_cursor(connection, "c") or 0
            await cursors.set_cursor(connection, "c", now + 1)

    await asyncio.gather(*(bump() for _ in range(20)))
    assert await db.run(lambda connection: cursors.get_cursor(connection, "c")) == 20
    with pytest.raises(RuntimeError, match="already open"):
        async with db.transaction(), db.transaction():
            pass


async def test_an_absent_server_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    async with Database(DatabaseTarget(str(tmp_path))) as db:
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageRetryable, match="does not answer"):
            await db.run(backend, deadline_s=0.5)
        assert asyncio.get_running_loop().time() - began < 2


async def test_a_server_that_refuses_us_is_a_matter_of_configuration(database: DatabaseTarget) -> None:
    for wrong in (database.with_database("nowhere"), replace(database, user="nobody")):
        with pytest.raises(ConfigError, match=r"refuses us.*DB_NAME"):
            await connect(wrong)


async def test_listeners_hear_commits_and_are_told_of_interruptions(database: DatabaseTarget, db: Database) -> None:
    async with aclosing(listen(database, "bell", application_name="ear")) as told:
        assert await anext(told) == "", "look into the tables first"
        await db.run(lambda connection: notify(connection, "bell", "7"))
        assert await anext(told) == "7"
        ear = await db.run(lambda c: c.fetchval("select pid from pg_stat_activity where application_name = 'ear'"))
        await end_backend(database, ear)
        assert await anext(told) == "", "something may have been missed"
        await db.run(lambda connection: notify(connection, "bell", "8"))
        assert await anext(told) == "8"


@pytest.mark.covers("S1-37")
async def test_a_pool_is_small_and_speaks_json(database: DatabaseTarget) -> None:
    pool = await open_pool(database, max_size=2)
    assert await pool.fetchval("select $1::jsonb", {"a": [1, None]}) == {"a": [1, None]}
    assert pool.get_max_size() == 2
    await pool.close()
    with pytest.raises(ValueError, match="1 to 4"):
        await open_pool(database, max_size=5)


async def test_not_a_number_never_reaches_json(db: Database) -> None:
    with pytest.raises(asyncpg.DataError, match="JSON"):
        await db.run(lambda connection: connection.fetchval("select $1::jsonb", {"a": float("nan")}))


async def test_a_statement_without_an_answer_is_a_lost_connection(database: DatabaseTarget) -> None:
    async def hang(db: Database) -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "lost", 1)
            await connection.execute("select pg_sleep(20)")

    async with Database(database, command_timeout_s=0.3) as db:
        with pytest.raises(StorageRetryable):
            await hang(db)
        assert await db.run(cursors.read_cursors) == {}


async def test_a_commit_without_an_answer_has_an_unknown_outcome(database: DatabaseTarget) -> None:
    async with Database(database) as db:
        await db.run(
            lambda conn: conn.execute(
                """
                create function dawdle() returns trigger language plpgsql as
                    'begin perform pg_sleep(20); return null; end';
                create constraint trigger dawdle after insert on cursors initially deferred
                    for each row when (new.name = 'slow') execute function dawdle();
                """
            )
        )

    async def hang(db: Database) -> None:
        async with db.transaction() as connection:
            await cursors.set_cursor(connection, "slow", 1)

    async with Database(database, command_timeout_s=2.0) as db:
        with pytest.raises(OutcomeUnknown):
            await hang(db)
        # Whatever became of it, the next transaction has a connection that works.
        assert set(await db.run(cursors.read_cursors)) <= {"slow"}
