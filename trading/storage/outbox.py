"""Table outbox: messages that must go out, written in the transaction of what they tell.

pending → sending → sent, or back to pending for a later try, or dead. A notifier that crashed before marking leaves
``sending`` behind: nobody knows whether that message arrived, so it goes out again, marked as a possible repeat.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from trading.storage.database import Connection, notify

__all__ = [
    "CHANNEL",
    "OutboxMessage",
    "OutboxRow",
    "claim_due",
    "enqueue",
    "mark_dead",
    "mark_retry",
    "mark_sent",
    "next_due_s",
    "release_claims",
    "requeue_interrupted",
]

CHANNEL = "manta_outbox"


class OutboxRow(NamedTuple):
    """A message to be sent on ``channel``; two with one ``dedupe_key`` are one message."""

    channel: str
    dedupe_key: str
    kind: str
    body: dict[str, Any]


class OutboxMessage(NamedTuple):
    """A claimed message. ``attempts`` counts this try; ``maybe_duplicate``: an earlier try may have arrived."""

    id: int
    channel: str
    dedupe_key: str
    kind: str
    body: dict[str, Any]
    attempts: int
    maybe_duplicate: bool
    created_ms: int


async def enqueue(connection: Connection, rows: Iterable[OutboxRow]) -> int:
    """Add messages; returns how many were new. Those whose (channel, dedupe key) is known already are left out."""
    fresh = list(rows)
    if not fresh:
        return 0
    status = await connection.execute(
        """
        insert into outbox (channel, dedupe_key, kind, body)
        select n.channel, n.dedupe_key, n.kind, n.body
        from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])
            with ordinality as n(channel, dedupe_key, kind, body, place)
        order by n.place
        on conflict do nothing
        """,
        [row[0] for row in fresh],
        [row[1] for row in fresh],
        [row[2] for row in fresh],
        [row[3] for row in fresh],
    )
    added = int(status.rsplit(" ", 1)[1])
    if added:
        await notify(connection, CHANNEL, "")
    return added


async def claim_due(connection: Connection, channel: str, *, limit: int = 10) -> list[OutboxMessage]:
    """Take up to ``limit`` due messages of ``channel``, oldest first. Commit before sending them."""
    rows = await connection.fetch(
        """
        with due as (
            select id from outbox
            where channel = $1 and state = 'pending' and next_at <= clock_timestamp()
            order by id limit $2 for update skip locked
        )
        update outbox o set state = 'sending', attempts = attempts + 1 from due where o.id = due.id
        returning o.id, channel, dedupe_key, kind, body, attempts, maybe_duplicate, ms(created_at)
        """,
        channel,
        limit,
    )
    return sorted(OutboxMessage(*row) for row in rows)


async def mark_sent(connection: Connection, message_id: int) -> None:
    """The channel accepted it."""
    await connection.execute(
        "update outbox set state = 'sent', finished_at = clock_timestamp(), last_error = '' where id = $1", message_id
    )


async def mark_retry(
    connection: Connection, message_id: int, error: str, delay_s: float, *, maybe_duplicate: bool = False
) -> None:
    """Try again in ``delay_s`` seconds; ``maybe_duplicate`` when this try may have arrived."""
    await connection.execute(
        """
        update outbox set state = 'pending', last_error = $2, maybe_duplicate = maybe_duplicate or $4,
            next_at = clock_timestamp() + make_interval(secs => $3)
        where id = $1
        """,
        message_id,
        error,
        delay_s,
        maybe_duplicate,
    )


async def mark_dead(connection: Connection, message_id: int, error: str) -> None:
    """Give up: it stays as a dead letter."""
    await connection.execute(
        "update outbox set state = 'dead', last_error = $2, finished_at = clock_timestamp() where id = $1",
        message_id,
        error,
    )


async def requeue_interrupted(connection: Connection) -> int:
    """Make what a crashed notifier left in ``sending`` due again, as possible repeats. For the lease's owner only."""
    status = await connection.execute(
        "update outbox set state = 'pending', maybe_duplicate = true, next_at = clock_timestamp()"
        " where state = 'sending'"
    )
    return int(status.rsplit(" ", 1)[1])


async def release_claims(connection: Connection, channel: str) -> int:
    """Undo claims of ``channel`` that a broken connection kept from the caller: nothing of them was sent."""
    status = await connection.execute(
        "update outbox set state = 'pending', attempts = attempts - 1 where channel = $1 and state = 'sending'", channel
    )
    return int(status.rsplit(" ", 1)[1])


async def next_due_s(connection: Connection, channel: str) -> float | None:
    """Seconds until the next message of ``channel`` is due, 0 when one is; None when none waits."""
    found: float | None = await connection.fetchval(
        """
        select greatest(0, extract(epoch from min(next_at) - clock_timestamp()))::float8
        from outbox where channel = $1 and state = 'pending' having count(*) > 0
        """,
        channel,
    )
    return found
