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
    "Backlog",
    "OutboxMessage",
    "OutboxRow",
    "claim_due",
    "enqueue",
    "mark_dead",
    "mark_retry",
    "mark_sent",
    "next_due_s",
    "prune_outbox",
    "read_backlogs",
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

    @property
    def event_time_ms(self) -> int:
        """When it happened that the message tells of; 0 when the body does not say."""
        found = self.body.get("event_time_ms", 0)
        return found if isinstance(found, int) else 0


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
    """Take up to ``limit`` due messages of ``channel``, oldest first. Commit before sending them.

    What was never tried is due whatever the clock says: one that is set back must not hold an alert for an hour.
    """
    rows = await connection.fetch(
        """
        with due as (
            select id from outbox
            where channel = $1 and state = 'pending' and (attempts = 0 or next_at <= clock_timestamp())
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


class Backlog(NamedTuple):
    """What waits for a channel: how many messages, since when (epoch ms) the oldest of them, and how many are dead."""

    waiting: int
    oldest_ms: int | None
    dead: int


async def read_backlogs(connection: Connection) -> dict[str, Backlog]:
    """By channel, also those that are configured no more; channels for which nothing waits or is dead are left out."""
    rows = await connection.fetch(
        """
        select channel, count(*) filter (where state <> 'dead') as waiting,
            ms(min(created_at) filter (where state <> 'dead')) as oldest_ms,
            count(*) filter (where state = 'dead') as dead
        from outbox where state <> 'sent' group by channel order by channel
        """
    )
    return {row["channel"]: Backlog(row["waiting"], row["oldest_ms"], row["dead"]) for row in rows}


async def prune_outbox(connection: Connection, sent_before_ms: int, dead_before_ms: int) -> int:
    """Delete what was sent, or given up, before these host times; returns how many went. What waits stays."""
    status = await connection.execute(
        """
        delete from outbox
        where state = 'sent' and finished_at < at_ms($1) or state = 'dead' and finished_at < at_ms($2)
        """,
        sent_before_ms,
        dead_before_ms,
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
