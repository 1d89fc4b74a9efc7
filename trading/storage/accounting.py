"""Every minute accounted for (I1) when whole stretches of minutes are stored at once, as files and downloads do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg
import numpy as np

from trading.candle_columns import Integers
from trading.candles import HoleReason
from trading.intervals import MINUTE_MS
from trading.spans import Span, add_span, without
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["Accounted", "account_between", "account_minutes"]

_ABSENT = HoleReason.ABSENT.value
_MISSING = HoleReason.MISSING.value
_IN_FORCE = "kind = 'hole' and (not resolved or reason = 'absent' and resolution = 'absent')"


class Accounted(NamedTuple):
    """Minutes of a stretch without candles, by reason."""

    absent: int
    missing: int


async def account_minutes(
    connection: Connection,
    market: str,
    opens: Integers,
    from_ms: int,
    to_ms: int,
    *,
    unusable: Iterable[int] = (),
    reason: str = _ABSENT,
    detail: str = "",
) -> Accounted:
    """Bring the holes within [``from_ms``, ``to_ms``) in line with its minutes. Call it after storing them, with them.

    ``opens`` are the minutes just stored there, ascending; others may be stored, too. A minute without a candle is a
    hole of ``reason``: a source that shows later minutes and not this one shows that there was nothing. The
    ``unusable`` ones are missing: there was something that could not be used. A repeat changes nothing.
    """
    number = await market_id(connection, market)
    present = await _present(connection, number, opens, from_ms, to_ms)
    runs = _runs(present, from_ms, to_ms)
    unusable = set(unusable)
    odd = _minutes_as_spans(unusable - set(present.tolist()) if unusable else (), from_ms, to_ms)
    wanted = {_ABSENT: [], _MISSING: odd} if reason == _ABSENT else {_ABSENT: [], _MISSING: runs}
    if reason == _ABSENT:
        wanted[_ABSENT] = without(runs, odd)
    held = await _holes_in_force(connection, number, from_ms, to_ms)
    if held:
        await _reconcile(connection, number, held, present, (from_ms, to_ms), wanted)
    for kind, spans in wanted.items():
        await _insert(connection, number, spans, kind, detail)
    return Accounted(*(sum(end - start for start, end in spans) // MINUTE_MS for spans in wanted.values()))


async def account_between(connection: Connection, market: str, from_ms: int, to_ms: int, detail: str) -> list[Span]:
    """Where [``from_ms``, ``to_ms``) is surrounded by stored minutes, what lies between is missing unless it is told.

    Nobody has shown anything about these minutes. Returns the spans that are missing since now.
    """
    number = await market_id(connection, market)
    before = await connection.fetchval(
        "select ms(close_time) from candles where market_id = $1 and interval = '1m' and open_time < at_ms($2)"
        " order by open_time desc limit 1",
        number,
        from_ms,
    )
    after = await connection.fetchval(
        "select ms(open_time) from candles where market_id = $1 and interval = '1m' and open_time >= at_ms($2)"
        " order by open_time limit 1",
        number,
        to_ms,
    )
    spans: list[Span] = []
    for start, end in ((before, from_ms), (to_ms, after)):
        if start is not None and end is not None and start < end:
            held = await _holes_in_force(connection, number, start, end)
            taken: list[Span] = []
            for row in held:
                taken = add_span(taken, row["from_ms"], row["to_ms"])
            spans += without([(start, end)], taken)
    await _insert(connection, number, spans, _MISSING, detail)
    return spans


async def _present(connection: Connection, number: int, opens: Integers, from_ms: int, to_ms: int) -> Integers:
    """All stored minutes of the stretch: ``opens``, unless there are others."""
    bounds = (
        "from candles where market_id = $1 and interval = '1m' and open_time >= at_ms($2) and open_time < at_ms($3)"
    )
    stored = await connection.fetchval(f"select count(*) {bounds}", number, from_ms, to_ms)
    if stored == len(opens):
        return opens
    rows = await connection.fetch(f"select ms(open_time) {bounds} order by open_time", number, from_ms, to_ms)
    return np.array([row[0] for row in rows], np.int64)


def _runs(present: Integers, from_ms: int, to_ms: int) -> list[Span]:
    starts = np.concatenate([[from_ms], present + MINUTE_MS])
    ends = np.concatenate([present, [to_ms]])
    holes = starts < ends
    return list(zip(starts[holes].tolist(), ends[holes].tolist(), strict=True))


def _minutes_as_spans(minutes: Iterable[int], from_ms: int, to_ms: int) -> list[Span]:
    spans: list[Span] = []
    for minute in sorted(minutes):
        if from_ms <= minute < to_ms:
            if spans and spans[-1][1] == minute:
                spans[-1] = (spans[-1][0], minute + MINUTE_MS)
            else:
                spans.append((minute, minute + MINUTE_MS))
    return spans


async def _holes_in_force(connection: Connection, number: int, from_ms: int, to_ms: int) -> list[asyncpg.Record]:
    return await connection.fetch(
        f"""
        select id, reason, ms(from_time) as from_ms, ms(to_time) as to_ms, detail->>'text' as text from data_quality
        where market_id = $1 and {_IN_FORCE} and from_time < at_ms($3) and to_time > at_ms($2)
        order by from_time, to_time for update
        """,  # noqa: S608 - a constant of this module
        number,
        from_ms,
        to_ms,
    )


async def _reconcile(
    connection: Connection,
    number: int,
    held: Sequence[asyncpg.Record],
    present: Integers,
    stretch: Span,
    wanted: dict[str, list[Span]],
) -> None:
    """End the holes that are no longer so; what is left of them, and what is known already, is kept.

    A minute known to be absent stays absent. One that was missing is what the new source says.
    """
    ended: list[tuple[int, str]] = []
    left: dict[str, list[tuple[Span, str]]] = {_ABSENT: [], _MISSING: []}
    known: list[Span] = []
    for row in held:
        hole = (row["from_ms"], row["to_ms"])
        if row["reason"] == _ABSENT:
            first, last = np.searchsorted(present, hole)
            inside = present[first:last].tolist()
            pieces = without([hole], [(minute, minute + MINUTE_MS) for minute in inside])
            for start, end in pieces:
                known = add_span(known, start, end) if known and start < known[-1][1] else [*known, (start, end)]
        else:
            pieces = without([hole], [stretch])
        if pieces != [hole]:
            ended.append((row["id"], "split" if pieces else "healed"))
            left[row["reason"]] += [(piece, row["text"] or "") for piece in pieces]
    for kind, spans in wanted.items():
        wanted[kind] = without(spans, known)
    if ended:
        await connection.execute(
            "update data_quality q set resolved = true, resolution = n.resolution, resolved_at = clock_timestamp()"
            " from unnest($1::bigint[], $2::text[]) n(id, resolution) where q.id = n.id",
            [number for number, _ in ended],
            [resolution for _, resolution in ended],
        )
    for kind, pieces_of in left.items():
        for piece, text in pieces_of:
            await _insert(connection, number, [piece], kind, text)


async def _insert(connection: Connection, number: int, spans: Sequence[Span], reason: str, detail: str) -> None:
    if not spans:
        return
    absent = reason == _ABSENT
    await connection.execute(
        """
        insert into data_quality
            (market_id, interval, kind, reason, from_time, to_time, detail, resolved, resolution, resolved_at)
        select $1, '1m', 'hole', $4, at_ms(n.from_ms), at_ms(n.to_ms), $5, $6::boolean, $7,
            case when $6::boolean then clock_timestamp() end
        from unnest($2::bigint[], $3::bigint[]) n(from_ms, to_ms)
        on conflict (market_id, from_time, to_time, reason) where kind = 'hole' do update set
            resolved = excluded.resolved, resolution = excluded.resolution, resolved_at = excluded.resolved_at
        """,
        number,
        [start for start, _ in spans],
        [end for _, end in spans],
        reason,
        {"text": detail} if detail else {},
        absent,
        _ABSENT if absent else None,
    )
