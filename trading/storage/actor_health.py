"""Table actor_health: what the supervisor found when it last asked each actor, for those who cannot ask themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trading.storage.database import Connection

__all__ = ["ActorFound", "forget_actors", "note_actors"]


class ActorFound(NamedTuple):
    """``state`` is ok, starting, or not answering; ``pid`` None when it did not say."""

    actor: str
    state: str
    pid: int | None
    detail: str


async def note_actors(connection: Connection, session: str, found: Sequence[ActorFound]) -> None:
    """Store ``found`` as the actors of ``session`` and no others.

    Another process under a known name counts as a restart. ``since`` stays as long as state and process do.
    """
    await connection.execute(
        "delete from actor_health where session <> $1 or actor <> all($2)", session, [item.actor for item in found]
    )
    await connection.execute(
        """
        insert into actor_health as h (actor, place, session, state, pid, restarts, detail)
        select n.actor, n.place, $1, n.state, n.pid, 0, n.detail
        from unnest($2::text[], $3::text[], $4::int[], $5::text[])
            with ordinality as n(actor, state, pid, detail, place)
        on conflict (actor) do update set
            place = excluded.place, state = excluded.state, detail = excluded.detail, checked_at = clock_timestamp(),
            pid = coalesce(excluded.pid, h.pid),
            restarts = h.restarts + (h.pid <> excluded.pid and h.pid is not null and excluded.pid is not null)::int,
            since = case when h.state = excluded.state and coalesce(h.pid = excluded.pid, true) then h.since
                else clock_timestamp() end
        """,
        session,
        [item.actor for item in found],
        [item.state for item in found],
        [item.pid for item in found],
        [item.detail for item in found],
    )


async def forget_actors(connection: Connection) -> None:
    """Begin anew: what starts now was told to, and is no restart."""
    await connection.execute("delete from actor_health")
