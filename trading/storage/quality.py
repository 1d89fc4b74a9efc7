"""Table data_quality: minutes without candles and why (I1), and what venues sent that could not be used.

A hole is *in force* while it tells the truth: an absent one for ever, since nothing can heal it, and a missing one
until it is resolved. Absent ones are stored as resolved from the start; ``resolved = false`` means that work is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import asyncpg

from trading.candles import Hole, HoleReason
from trading.events import Heal
from trading.feed_events import Anomaly
from trading.hole_keeper import Why
from trading.spans import Span, add_span, cut_span
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = [
    "DataHealth",
    "explain_hole",
    "holes_between",
    "open_holes",
    "read_health",
    "record_anomaly",
    "record_hole",
    "resolve_hole",
    "unaccounted",
]

_MINUTE = "1m"
_ABSENT = HoleReason.ABSENT.value
_MISSING = HoleReason.MISSING.value
_IN_FORCE = "kind = 'hole' and (not resolved or reason = 'absent' and resolution = 'absent')"


class DataHealth(NamedTuple):
    """A market's data at a glance. Times are None before the first candle."""

    market: str
    first_open_ms: int | None
    last_close_ms: int | None
    candles: int
    absent_minutes: int
    missing_minutes: int
    anomalies: int


async def record_hole(connection: Connection, hole: Hole) -> None:
    """Store ``hole``. A repeat changes nothing, not even when the hole was healed in between."""
    await _insert_hole(connection, await market_id(connection, hole.market), hole)


async def resolve_hole(connection: Connection, heal: Heal) -> None:
    """Take what ``heal`` knows out of the holes in force; what it does not know of them stays, as holes of its own.

    Its candles must be stored by the caller in the same transaction. Its absent minutes become absent holes. A repeat
    changes nothing.
    """
    number = await market_id(connection, heal.market)
    filled: list[Span] = []
    for candle in heal.candles:
        filled = add_span(filled, candle.open_time_ms, candle.close_time_ms)
    known = filled
    for hole in heal.absent:
        known = add_span(known, hole.from_ms, hole.to_ms)
    rows = await connection.fetch(
        f"""
        select id, reason, ms(from_time) as from_ms, ms(to_time) as to_ms, detail from data_quality
        where market_id = $1 and {_IN_FORCE} and from_time < at_ms($3) and to_time > at_ms($2)
        order by from_time for update
        """,  # noqa: S608 - a constant of this module
        number,
        heal.from_ms,
        heal.to_ms,
    )
    for row in rows:
        await _take_out(connection, number, heal.market, row, known if row["reason"] == _MISSING else filled)
    for hole in heal.absent:
        await _insert_hole(connection, number, hole)


async def explain_hole(connection: Connection, why: Why) -> None:
    """Note with the open holes within ``why`` for what reason nobody has healed them, or that it is not known."""
    await connection.execute(
        """
        update data_quality set detail = case
            when $4 <> '' then detail || jsonb_build_object(
                'why', $4::text, 'text', $5::text, 'was', coalesce(detail->>'was', detail->>'text', ''))
            when detail->>'was' <> '' then detail - 'why' - 'was' || jsonb_build_object('text', detail->>'was')
            else detail - 'why' - 'was' - 'text' end
        where market_id = $1 and kind = 'hole' and not resolved and from_time >= at_ms($2) and to_time <= at_ms($3)
            and ($4 <> '' or detail ? 'why')
        """,
        await market_id(connection, why.market),
        why.from_ms,
        why.to_ms,
        why.why,
        why.text,
    )


async def record_anomaly(connection: Connection, anomaly: Anomaly) -> None:
    """Store something a venue sent that is no usable candle."""
    await connection.execute(
        """
        insert into data_quality (market_id, interval, kind, reason, from_time, to_time, detail)
        values ($1, $2, 'anomaly', $3, at_ms($4), at_ms($5), $6)
        """,
        await market_id(connection, anomaly.market),
        _MINUTE,
        anomaly.reason,
        anomaly.from_ms,
        anomaly.to_ms,
        {"text": anomaly.detail},
    )


async def holes_between(
    connection: Connection, market: str, from_ms: int, to_ms: int, *, reason: str | None = None
) -> list[Hole]:
    """Holes in force within [``from_ms``, ``to_ms``), cut to it, ascending; only of ``reason`` if given."""
    rows = await connection.fetch(
        f"""
        select greatest(ms(from_time), $2), least(ms(to_time), $3), reason, detail->>'text' from data_quality
        where market_id = $1 and {_IN_FORCE} and from_time < at_ms($3) and to_time > at_ms($2)
            and ($4::text is null or reason = $4)
        order by from_time, to_time
        """,  # noqa: S608
        await market_id(connection, market),
        from_ms,
        to_ms,
        reason,
    )
    return [Hole(market, row[0], row[1], row[2], row[3] or "") for row in rows]


async def open_holes(connection: Connection, market: str) -> list[Hole]:
    """All missing minutes that are still to be healed, ascending."""
    rows = await connection.fetch(
        """
        select ms(from_time), ms(to_time), reason, detail->>'text' from data_quality
        where market_id = $1 and kind = 'hole' and not resolved order by from_time
        """,
        await market_id(connection, market),
    )
    return [Hole(market, row[0], row[1], row[2], row[3] or "") for row in rows]


async def unaccounted(connection: Connection, market: str) -> list[Span]:
    """Spans between the first and the last candle that have neither candle nor hole: empty, or I1 is broken."""
    rows = await connection.fetch(
        f"""
        with told as (
            select open_time as from_time, close_time as to_time from candles where market_id = $1 and interval = '1m'
            union all
            select from_time, to_time from data_quality where market_id = $1 and {_IN_FORCE}
        ), reach as (
            select from_time, max(to_time) over (
                order by from_time, to_time rows between unbounded preceding and 1 preceding) as reached
            from told
        )
        select ms(reached), ms(from_time) from reach where from_time > reached order by from_time
        """,  # noqa: S608
        await market_id(connection, market),
    )
    return [(row[0], row[1]) for row in rows]


async def read_health(connection: Connection) -> list[DataHealth]:
    """Every market's candles, holes and anomalies."""
    rows = await connection.fetch(
        f"""
        select m.venue || ':' || m.symbol, c.first_ms, c.last_ms, coalesce(c.candles, 0),
            coalesce(q.absent, 0), coalesce(q.missing, 0), coalesce(q.anomalies, 0)
        from markets m
        left join (
            select market_id, ms(min(open_time)) as first_ms, ms(max(close_time)) as last_ms, count(*) as candles
            from candles where interval = '1m' group by market_id
        ) c on c.market_id = m.id
        left join (
            select market_id,
                (sum(extract(epoch from to_time - from_time)) filter (where {_IN_FORCE} and reason = 'absent'))::bigint
                    / 60 as absent,
                (sum(extract(epoch from to_time - from_time)) filter (where {_IN_FORCE} and reason = 'missing'))::bigint
                    / 60 as missing,
                count(*) filter (where kind = 'anomaly') as anomalies
            from data_quality group by market_id
        ) q on q.market_id = m.id
        order by m.id
        """  # noqa: S608
    )
    return [DataHealth(*row) for row in rows]


async def _insert_hole(connection: Connection, number: int, hole: Hole, *, again: bool = False) -> None:
    absent = hole.reason == _ABSENT
    await connection.execute(
        f"""
        insert into data_quality
            (market_id, interval, kind, reason, from_time, to_time, detail, resolved, resolution, resolved_at)
        values ($1, $2, 'hole', $3, at_ms($4), at_ms($5), $6, $7::boolean, $8, case when $7 then clock_timestamp() end)
        on conflict (market_id, from_time, to_time, reason) where kind = 'hole' do
        {"update set resolved = $7, resolution = $8" if again else "nothing"}
        """,  # noqa: S608
        number,
        _MINUTE,
        hole.reason,
        hole.from_ms,
        hole.to_ms,
        {"text": hole.detail} if hole.detail else {},
        absent,
        _ABSENT if absent else None,
    )


async def _take_out(
    connection: Connection, number: int, market: str, row: asyncpg.Record, known: Iterable[Span]
) -> None:
    left: list[Span] = [(row["from_ms"], row["to_ms"])]
    for start, end in known:
        left = cut_span(left, start, end)
    if left == [(row["from_ms"], row["to_ms"])]:
        return
    await connection.execute(
        "update data_quality set resolved = true, resolution = $2, resolved_at = clock_timestamp() where id = $1",
        row["id"],
        "split" if left else "healed",
    )
    for start, end in left:
        piece = Hole(market, start, end, row["reason"], row["detail"].get("text", ""))
        await _insert_hole(connection, number, piece, again=True)
