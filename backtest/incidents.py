"""What happened to candles after they were first told: holes that were healed later, and candles that were revised.

From these follows what the live run knew when: the knowledge to replay with, to see whether a difference comes from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backtest.day import Knowledge
from trading.candles import Candle, Hole, HoleReason
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.candles import units_of
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["Incident", "beliefs", "known_then", "read_incidents", "read_noted"]

_NEVER_MS = 1 << 62


class Incident(NamedTuple):
    """Minutes of [``from_ms``, ``to_ms``) known otherwise until ``known_ms``, the close of the newest minute then.

    ``cause`` is ``healed`` (they were *missing*) or ``revised``; then ``old`` is the only minute as it was before.
    """

    cause: str
    market: str
    from_ms: int
    to_ms: int
    known_ms: int
    old: Candle | None = None

    def undo(self, minutes: Sequence[Candle], holes: Sequence[Hole]) -> tuple[list[Candle], list[Hole]]:
        """The minutes and holes as they were known before."""
        if self.old is not None:
            return [self.old if item.open_time_ms == self.from_ms else item for item in minutes], list(holes)
        kept = [item for item in minutes if not self.from_ms <= item.open_time_ms < self.to_ms]
        return kept, sorted(
            [*holes, Hole(self.market, self.from_ms, self.to_ms, HoleReason.MISSING.value)],
            key=lambda hole: hole.from_ms,
        )


async def read_incidents(
    connection: Connection, market: str, from_ms: int, day_ms: int, to_ms: int, heal_wait_ms: int
) -> list[Incident]:
    """Incidents of the minutes in [``from_ms``, ``to_ms``), in the order in which they became known.

    Holes that were healed long before ``day_ms``, from which on it matters, are left out; so are those healed within
    ``heal_wait_ms`` after their end, which were waited for: nobody saw them.
    """
    number = await market_id(connection, market)
    rows = await connection.fetch(
        """
        select w.old, ms(w.from_time) as from_ms, ms(w.to_time) as to_ms, (
            -- The recorder writes candles and repairs in one order: those written before were known before.
            select ms(max(c.close_time)) from candles c
            where c.market_id = $1 and c.interval = '1m' and c.open_time >= at_ms($4) and c.open_time < at_ms($3)
                and c.recorded_at < w.at and not (c.open_time >= w.from_time and c.open_time < w.to_time)
        ) as known_ms
        from (
            select from_time, to_time, null::jsonb as old, coalesce(resolved_at, found_at) as at, id from data_quality
            where market_id = $1 and interval = '1m' and kind = 'hole' and reason = 'missing'
                and resolution in ('healed', 'split') and from_time < at_ms($3) and to_time > at_ms($2)
            union all
            select open_time, open_time + interval '1 minute', old, at, id from candle_revisions
            where market_id = $1 and interval = '1m' and open_time < at_ms($3)
                and open_time > at_ms($2) - interval '1 minute'
        ) w
        order by w.at, w.id
        """,
        number,
        from_ms,
        to_ms,
        day_ms - DAY_MS,
    )
    found = []
    for row in rows:
        known_ms = row["known_ms"] or 0
        if row["old"] is not None:
            old = _old(market, row["from_ms"], row["old"])
            found.append(Incident("revised", market, row["from_ms"], row["to_ms"], known_ms, old))
        elif known_ms >= row["to_ms"] + heal_wait_ms:
            found.append(Incident("healed", market, row["from_ms"], row["to_ms"], known_ms))
    return found


async def read_noted(connection: Connection, market: str, from_ms: int, to_ms: int) -> set[tuple[str, str, int]]:
    """(market, interval, open time) of every candle whose revision was raised, as its notes say."""
    rows = await connection.fetch(
        """
        select r.interval, ms(r.open_time) from candle_revisions r
        left join candles c using (market_id, interval, open_time)
        where r.market_id = $1 and r.open_time < at_ms($3) and coalesce(c.close_time, r.open_time) > at_ms($2)
        """,
        await market_id(connection, market),
        from_ms,
        to_ms,
    )
    return {(market, row[0], row[1]) for row in rows}


def beliefs(incidents: Sequence[Incident], blind: Mapping[str, Sequence[int]]) -> list[list[Incident]]:
    """When the live run may have learnt of ``incidents``: what is worth to be tried, the likeliest first.

    Nobody tells a running system of a revised candle: it may have kept the old one to the end. An actor that was away
    when a heal came finds it in storage, somewhat earlier or later: ``blind`` are the times at which a market's
    features or instances were seen to hold, though today's candles give them no reason to.
    """
    if not incidents:
        return []
    found = [list(incidents)]
    if any(item.old is not None for item in incidents):
        found.append([item if item.old is None else item._replace(known_ms=_NEVER_MS) for item in incidents])
    return found + [late for each in found if (late := [_noticed(item, each, blind) for item in each]) != each]


def known_then(now: Knowledge, incidents: Sequence[Incident]) -> list[Knowledge]:
    """What was known of the candles over time, oldest first, when ``now`` is what is known today."""
    starts = {now.from_ms, *(item.known_ms for item in incidents if now.from_ms < item.known_ms < _NEVER_MS)}
    return [_at(start_ms, now, [item for item in incidents if item.known_ms > start_ms]) for start_ms in sorted(starts)]


def _noticed(incident: Incident, all_of_them: Sequence[Incident], blind: Mapping[str, Sequence[int]]) -> Incident:
    """The incident as if it was noticed right after the last time at which it was seen to blind."""
    if incident.old is not None:
        return incident
    # Behind the next hole it is that one which blinds.
    others = [item.from_ms for item in all_of_them if item.market == incident.market and item.old is None]
    end_ms = min((from_ms for from_ms in others if from_ms >= incident.to_ms), default=_NEVER_MS)
    times = [time_ms for time_ms in blind.get(incident.market, ()) if incident.to_ms <= time_ms <= end_ms]
    return incident._replace(known_ms=max(times)) if times else incident


def _at(start_ms: int, now: Knowledge, unknown: Sequence[Incident]) -> Knowledge:
    minutes, holes = list(now.minutes), list(now.holes)
    for incident in reversed(unknown):
        minutes, holes = incident.undo(minutes, holes)
    return Knowledge(start_ms, minutes, holes, now.revisions, now.natives)


def _old(market: str, open_ms: int, values: Mapping[str, Any]) -> Candle:
    first, high, low, last, volume = (
        units_of(float(values[name])) for name in ("open", "high", "low", "close", "volume")
    )
    candle = Candle(market, "1m", open_ms, open_ms + MINUTE_MS, first, high, low, last, volume)
    return candle._replace(
        source=str(values["source"]), revision=int(values["revision"]), complete=bool(values["complete"])
    )
