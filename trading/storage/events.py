"""Table events: what happened, in one order that is also the order of commits.

A reader that has seen sequence number n has seen all before it, so following the table never skips a late commit.
"""

from __future__ import annotations

from collections.abc import Iterable

from trading.events import Event
from trading.storage.database import Connection

__all__ = ["CHANNEL", "append_events", "last_kind", "last_seq", "prune_events", "read_events"]

CHANNEL = "manta_events"
_LOCK = 0x6576656E7473


async def append_events(connection: Connection, events: Iterable[Event]) -> int | None:
    """Append ``events`` in order and return the last sequence number, None without events. Call it last.

    From here to the commit no other transaction appends: that makes the order of numbers the order of commits.
    Listeners of ``manta_events`` are told the last number at commit.
    """
    rows = list(events)
    if not rows:
        return None
    # One statement, for each costs a journey: no row is made, and so none numbered, before the lock is ours.
    last: int = await connection.fetchval(
        """
        with turn as materialized (select pg_advisory_xact_lock($8)),
        fresh as (
            insert into events (kind, v, event_time, received_ns, cause_id, stream, payload)
            select n.kind, n.v, at_ms(n.event_ms), n.received_ns, n.cause_id, n.stream, n.payload
            from turn,
                unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
                with ordinality as n(kind, v, event_ms, received_ns, cause_id, stream, payload, place)
            order by n.place
            returning seq
        )
        select max(seq), pg_notify($9, max(seq)::text) from fresh
        """,
        [event.kind for event in rows],
        [event.v for event in rows],
        [event.event_time_ms for event in rows],
        [event.received_ns for event in rows],
        [event.cause_id for event in rows],
        [event.stream for event in rows],
        [event.payload for event in rows],
        _LOCK,
        CHANNEL,
    )
    return last


async def read_events(
    connection: Connection, after_seq: int, *, limit: int = 1000, kinds: Iterable[str] | None = None
) -> list[Event]:
    """Up to ``limit`` events after ``after_seq``, in order; only of ``kinds`` if given."""
    rows = await connection.fetch(
        """
        select kind, ms(event_time) as event_time_ms, stream, payload, cause_id, received_ns, v, seq
        from events where seq > $1 and ($2::text[] is null or kind = any($2)) order by seq limit $3
        """,
        after_seq,
        None if kinds is None else [*kinds],
        limit,
    )
    return [Event(**dict(row)) for row in rows]


async def last_kind(connection: Connection, stream: str, kinds: Iterable[str]) -> str | None:
    """The kind of the newest event of ``stream`` that is one of ``kinds``."""
    found: str | None = await connection.fetchval(
        "select kind from events where stream = $1 and kind = any($2) order by seq desc limit 1", stream, [*kinds]
    )
    return found


async def last_seq(connection: Connection) -> int:
    """The newest sequence number, 0 when there is none."""
    found: int = await connection.fetchval("select coalesce(max(seq), 0) from events")
    return found


async def prune_events(connection: Connection, keep_ms: int) -> int:
    """Delete what was recorded more than ``keep_ms`` ago, except the newest event; returns how many went.

    Age is told by the database's clock, which stamped them. The newest stays, so that ``last_seq`` never goes back.
    """
    status = await connection.execute(
        "delete from events where recorded_at < clock_timestamp() - $1 * interval '1 millisecond'"
        " and seq < (select max(seq) from events)",
        float(keep_ms),
    )
    return int(status.rsplit(" ", 1)[1])
