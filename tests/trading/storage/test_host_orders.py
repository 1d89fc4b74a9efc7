"""The host's orders reach the supervisor of its session, once answered never again."""

from contextlib import aclosing

import asyncpg

from trading.storage.database import Database, listen
from trading.storage.host_orders import CHANNEL, answer_order, ask, read_answer, unanswered
from trading.storage.settings import DatabaseTarget


async def test_an_order_waits_until_it_is_answered(connection: asyncpg.Connection) -> None:
    first = await ask(connection, "one", "take_down", {"within_s": 4.5})
    second = await ask(connection, "one", "reload", {})
    await ask(connection, "two", "reload", {})
    assert [(order.id, order.verb, order.detail) for order in await unanswered(connection, "one")] == [
        (first, "take_down", {"within_s": 4.5}), (second, "reload", {}),
    ]  # fmt: skip
    assert await read_answer(connection, first) is None
    await answer_order(connection, first, {"actors": []})
    await answer_order(connection, first, {"actors": ["a repeat changes nothing"]})
    assert await read_answer(connection, first) == {"actors": []}
    assert [order.id for order in await unanswered(connection, "one")] == [second]


async def test_the_supervisor_is_told_at_commit(database: DatabaseTarget) -> None:
    async with Database(database) as db, aclosing(listen(database, CHANNEL)) as told:
        await anext(told)
        async with db.transaction() as connection:
            number = await ask(connection, "one", "reload", {})
        assert await anext(told) == str(number)
