"""One budget of request weight for each venue and address, shared by every process of the cluster."""

from __future__ import annotations

from typing import NamedTuple

from trading.storage.database import Connection

__all__ = ["RateKey", "Taken", "take_rate", "tell_rate"]


class RateKey(NamedTuple):
    """Which budget: ``egress`` names the address that the venue sees. Weight counts for ``hold_ms`` after its grant."""

    venue: str
    egress: str
    hold_ms: int


class Taken(NamedTuple):
    """``granted`` weight, or 0 and how long to wait for it; ``blocked_ms`` is the rest of a pause that the venue
    ordered. ``spent`` is what all have taken, this included.
    """

    granted: int
    wait_ms: int
    blocked_ms: int
    spent: int


async def take_rate(connection: Connection, key: RateKey, limit: int, least: int, want: int) -> Taken:
    """Take ``least`` to ``want`` weight of ``limit``."""
    (row,) = await connection.fetch(
        "select granted, wait_ms, blocked_ms, spent from take_rate($1, $2, $3, $4, $5, $6)",
        key.venue,
        key.egress,
        limit,
        key.hold_ms,
        least,
        want,
    )
    return Taken(*row)


async def tell_rate(connection: Connection, key: RateKey, *, spent: int = 0, used: int = 0, block_ms: int = 0) -> None:
    """Note weight ``spent`` without a grant, the venue's own count ``used``, and a pause that the venue ordered."""
    await connection.execute(
        "select tell_rate($1, $2, $3, $4, $5, $6)", key.venue, key.egress, key.hold_ms, spent, used, block_ms
    )
