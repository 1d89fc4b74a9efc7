"""The outbox loses no message and sends none twice, but for the one case that it marks (I8)."""

from contextlib import aclosing

import asyncpg

from trading.storage import outbox
from trading.storage.database import Database, connect, listen
from trading.storage.outbox import OutboxRow
from trading.storage.settings import DatabaseTarget


def row(key: str, channel: str = "log") -> OutboxRow:
    return OutboxRow(channel, key, "fill", {"text": key})


async def test_messages_go_out_in_order_once_each(connection: asyncpg.Connection) -> None:
    assert await outbox.enqueue(connection, [row("a"), row("b"), row("a"), row("a", "discord")]) == 3
    assert await outbox.enqueue(connection, [row("b"), row("c")]) == 1
    first = await outbox.claim_due(connection, "log", limit=2)
    assert [(m.dedupe_key, m.attempts, m.maybe_duplicate, m.body) for m in first] == [
        ("a", 1, False, {"text": "a"}), ("b", 1, False, {"text": "b"}),
    ]  # fmt: skip
    assert [m.dedupe_key for m in await outbox.claim_due(connection, "log")] == ["c"]
    assert await outbox.claim_due(connection, "log") == []
    assert [m.channel for m in await outbox.claim_due(connection, "discord")] == ["discord"]


async def test_retries_wait_and_dead_letters_stay(connection: asyncpg.Connection) -> None:
    await outbox.enqueue(connection, [row("a"), row("b"), row("c")])
    a, b, c = await outbox.claim_due(connection, "log")
    await outbox.mark_sent(connection, a.id)
    await outbox.mark_dead(connection, b.id, "404")
    await outbox.mark_retry(connection, c.id, "503", 3600)
    assert await outbox.claim_due(connection, "log") == []
    assert 3500 < (await outbox.next_due_s(connection, "log") or 0) <= 3600
    await outbox.mark_retry(connection, c.id, "timeout", 0, maybe_duplicate=True)
    assert await outbox.next_due_s(connection, "log") == 0
    (again,) = await outbox.claim_due(connection, "log")
    assert (again.attempts, again.maybe_duplicate) == (2, True)
    states = await connection.fetch("select state, last_error from outbox order by id")
    assert [tuple(state) for state in states] == [("sent", ""), ("dead", "404"), ("sending", "timeout")]
    assert await outbox.next_due_s(connection, "discord") is None


async def test_a_clock_that_is_set_back_holds_no_new_message(connection: asyncpg.Connection) -> None:
    await outbox.enqueue(connection, [row("a")])
    await connection.execute("update outbox set next_at = next_at + interval '1 hour'")
    assert [m.dedupe_key for m in await outbox.claim_due(connection, "log")] == ["a"]


async def test_what_a_crashed_notifier_held_goes_out_again_marked(connection: asyncpg.Connection) -> None:
    await outbox.enqueue(connection, [row("a"), row("b")])
    await outbox.claim_due(connection, "log", limit=1)
    assert await outbox.requeue_interrupted(connection) == 1
    assert [(m.dedupe_key, m.maybe_duplicate) for m in await outbox.claim_due(connection, "log")] == [
        ("a", True), ("b", False),
    ]  # fmt: skip


async def test_two_notifiers_never_claim_the_same_message(database: DatabaseTarget) -> None:
    one, two = await connect(database), await connect(database)
    await outbox.enqueue(one, [row("a"), row("b")])
    async with one.transaction():
        mine = await outbox.claim_due(one, "log", limit=1)
        theirs = await outbox.claim_due(two, "log")
    assert [m.dedupe_key for m in (*mine, *theirs)] == ["a", "b"]
    await one.close()
    await two.close()


async def test_a_new_message_wakes_the_notifier(database: DatabaseTarget) -> None:
    async with Database(database) as db, aclosing(listen(database, outbox.CHANNEL)) as told:
        await anext(told)
        await db.run(lambda connection: outbox.enqueue(connection, [row("a")]))
        assert await anext(told) == ""


async def test_what_waits_and_what_is_dead_is_counted_by_channel(connection: asyncpg.Connection) -> None:
    await outbox.enqueue(connection, [row("a"), row("b"), row("c", "discord"), row("d", "discord")])
    (first,) = await outbox.claim_due(connection, "log", limit=1)
    await outbox.mark_sent(connection, first.id)
    (second,) = await outbox.claim_due(connection, "discord", limit=1)
    await outbox.mark_dead(connection, second.id, "404")
    found = await outbox.read_backlogs(connection)
    assert {name: (each.waiting, each.dead) for name, each in found.items()} == {"discord": (1, 1), "log": (1, 0)}
    assert all(each.oldest_ms is not None for each in found.values())


async def test_pruning_takes_what_is_over_and_leaves_what_waits(connection: asyncpg.Connection) -> None:
    await outbox.enqueue(connection, [row("sent"), row("dead"), row("waits"), row("sending")])
    sent, dead = await outbox.claim_due(connection, "log", limit=2)
    await outbox.mark_sent(connection, sent.id)
    await outbox.mark_dead(connection, dead.id, "404")
    await outbox.claim_due(connection, "log", limit=1)
    far_ms = 4_102_444_800_000
    assert await outbox.prune_outbox(connection, 0, 0) == 0
    assert await outbox.prune_outbox(connection, far_ms, 0) == 1
    assert await outbox.prune_outbox(connection, far_ms, far_ms) == 1
    left = await connection.fetch("select dedupe_key from outbox order by id")
    assert [each[0] for each in left] == ["waits", "sending"]
