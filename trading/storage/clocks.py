"""What time it is at each venue, as the host that records it knew last: readers tell from it how old data is."""

from __future__ import annotations

from trading.clock import HostTime, TimeSample
from trading.storage.database import Connection

__all__ = ["note_clock", "read_clock"]


async def note_clock(connection: Connection, venue: str, sample: TimeSample) -> None:
    """Store the newest pair of ``venue``'s time and the host's."""
    await connection.execute(
        """
        insert into venue_clocks (venue, venue_time, host_time, steady_ns, boot)
        values ($1, at_ms($2), at_ms($3), $4, $5)
        on conflict (venue) do update set
            venue_time = excluded.venue_time, host_time = excluded.host_time,
            steady_ns = excluded.steady_ns, boot = excluded.boot
        """,
        venue,
        sample.venue_ms,
        sample.host.wall_ns // 1_000_000,
        sample.host.steady_ns,
        sample.host.boot,
    )


async def read_clock(connection: Connection, venue: str) -> TimeSample | None:
    """The newest pair; None before the venue has told its time, and in lockstep."""
    row = await connection.fetchrow(
        "select ms(venue_time), ms(host_time), steady_ns, boot from venue_clocks where venue = $1", venue
    )
    return None if row is None else TimeSample(row[0], HostTime(row[2], row[1] * 1_000_000, row[3]))
