"""Events: the order of numbers is the order of commits, so a follower misses nothing."""

import asyncio
from contextlib import aclosing

import asyncpg

from trading.events import Event
from trading.storage.database import Database, connect, listen
from trading.storage.events import CHANNEL, append_events, last_kind, last_seq, prune_events, read_events
from trading.storage.settings import DatabaseTarget


def event(number: int, kind: str = "fill") -> Event:
    return Event(kind, 1_750_000_000_000 + number, "paper", {"n": number, "none": None}, "cause", 2**60, 1)


async def test_events_come_back_in_order_with_their_numbers(connection: asyncpg.Connection) -> None:
    assert await append_events(connection, []) is None
    assert await last_seq(connection) == 0
    assert await append_events(connection, [event(n) for n in range(500)]) == 500
    await append_events(connection, [event(500, "candle")])
    told = await read_events(connection, 498)
    assert [(e.seq, e.payload["n"], e.kind) for e in told] == [
        (499, 498, "fill"),
        (500, 499, "fill"),
        (501, 500, "candle"),
    ]
    assert told[0] == Event("fill", 1_750_000_000_498, "paper", {"n": 498, "none": None}, "cause", 2**60, 1, 499)
    assert [e.seq for e in await read_events(connection, 0, kinds=["candle"])] == [501]
    assert len(await read_events(connection, 0, limit=7)) == 7


async def test_a_follower_of_many_writers_misses_nothing(database: DatabaseTarget) -> None:
    async def write(worker: int) -> None:
        async with Database(database) as db:
            for n in range(15):
                async with db.transaction() as connection:
                    await append_events(connection, [event(worker * 100 + n), event(worker * 100 + n + 50)])
                    # Without the lock, this is where a later number would be committed first.
                    await connection.execute("select pg_sleep($1)", 0.001 * (worker % 3))

    seen: list[Event] = []
    async with Database(database) as db, aclosing(listen(database, CHANNEL)) as told:
        writers = asyncio.gather(*(write(worker) for worker in range(4)))
        async with asyncio.timeout(120):
            async for _ in told:
                after = seen[-1].seq if seen else 0
                seen += await db.run(lambda connection, after=after: read_events(connection, after))
                if len(seen) == 120:
                    break
        await writers
    assert [e.seq for e in seen] == sorted(e.seq for e in seen)
    assert len({e.payload["n"] for e in seen}) == 120


async def test_the_notification_comes_with_the_commit_and_carries_the_last_number(database: DatabaseTarget) -> None:
    async with Database(database) as db, aclosing(listen(database, CHANNEL)) as told:
        await anext(told)
        async with db.transaction() as connection:
            last = await append_events(connection, [event(1), event(2)])
        assert await anext(told) == str(last)


async def test_pruning_keeps_the_newest_number(database: DatabaseTarget) -> None:
    connection = await connect(database)
    await append_events(connection, [event(n) for n in range(5)])
    assert await prune_events(connection, 3_600_000) == 0
    assert await prune_events(connection, 0) == 4
    assert await last_seq(connection) == 5
    await connection.close()


async def test_the_newest_of_some_kinds_is_found_by_its_subject(connection: asyncpg.Connection) -> None:
    told = [("feed_down", "a"), ("feed_up", "a"), ("candle", "a"), ("feed_down", "b")]
    await append_events(connection, [Event(kind, 0, stream) for kind, stream in told])
    found = [await last_kind(connection, stream, ("feed_down", "feed_up")) for stream in "abc"]
    assert found == ["feed_up", "feed_down", None]
