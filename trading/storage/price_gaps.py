"""Table price_gaps: every gap that was found, with its id and its life so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg

from trading.candles import from_units, to_units
from trading.gaps.detector import GapMode, GapType, Zone
from trading.gaps.life import Change, Filled, Found, GapKey, GapStatus, LiveGap, Noted, Touched
from trading.intervals import parse_interval
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = [
    "Series",
    "StoredChanges",
    "StoredGap",
    "delete_gaps",
    "filled_keys",
    "gaps_of",
    "keep_ids_above",
    "live_gaps",
    "read_gaps",
    "store_changes",
]

_MOST_HOLES = 20
_COLUMNS = """p.id, m.venue || ':' || m.symbol as market, p.interval, p.mode, p.source_interval, p.gap_type, p.gap_low,
    p.gap_high, p.status, ms(p.start_time) as start_ms, ms(p.found_time) as found_ms, ms(p.touched_time) as touched_ms,
    ms(p.closed_time) as closed_ms, p.close_price, p.detail"""


class Series(NamedTuple):
    """What gaps are looked for in: one market, interval and mode."""

    market: str
    interval: str
    mode: GapMode

    @property
    def cursor(self) -> str:
        """The cursor up to whose close time every candle was handled."""
        return f"gaps:{self.mode}:{self.interval}:{self.market}"


class StoredGap(NamedTuple):
    """One row. Times are epoch ms, prices at 10**-8; ``source_interval`` is what the candles were made of."""

    id: str
    market: str
    interval: str
    mode: str
    source_interval: str
    type: str
    low: int
    high: int
    status: str
    start_ms: int
    found_ms: int
    touched_ms: int | None = None
    closed_ms: int | None = None
    close_price: int | None = None
    detail: dict[str, Any] | None = None

    @property
    def key(self) -> GapKey:
        return GapKey(self.start_ms, self.type)


class StoredChanges(NamedTuple):
    """What was news to the table: gaps inserted, touched for the first time, and filled (inserted ones, too)."""

    found: tuple[StoredGap, ...]
    touched: tuple[StoredGap, ...]
    filled: tuple[StoredGap, ...]


@dataclass(slots=True)
class _Net:
    """What a run of changes comes to for one gap."""

    found: Found | None = None
    touched: Touched | None = None
    filled: Filled | None = None
    holes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def status(self) -> GapStatus:
        return GapStatus.FILLED if self.filled else GapStatus.TOUCHED if self.touched else GapStatus.OPEN


async def live_gaps(connection: Connection, series: Series) -> list[LiveGap]:
    """The gaps of ``series`` that are not filled, oldest first."""
    rows = await connection.fetch(
        """
        select ms(start_time), gap_type, gap_low, gap_high, status from price_gaps
        where market_id = $1 and interval = $2 and mode = $3 and status <> 'filled' order by start_time, gap_type
        """,
        await market_id(connection, series.market),
        series.interval,
        series.mode,
    )
    width = parse_interval(series.interval)
    return [
        LiveGap(
            GapKey(row[0], row[1]),
            Zone(GapType(row[1]), _units(row[2]), _units(row[3])),
            width.close_of(row[0]),
            touched=row[4] == GapStatus.TOUCHED,
        )
        for row in rows
    ]


async def filled_keys(connection: Connection, series: Series, from_ms: int) -> list[GapKey]:
    """Gaps of ``series`` that start at or after ``from_ms`` and are filled."""
    rows = await connection.fetch(
        """
        select ms(start_time), gap_type from price_gaps
        where market_id = $1 and interval = $2 and mode = $3 and status = 'filled' and start_time >= at_ms($4)
        """,
        await market_id(connection, series.market),
        series.interval,
        series.mode,
        from_ms,
    )
    return [GapKey(row[0], row[1]) for row in rows]


async def read_gaps(
    connection: Connection,
    *,
    market: str | None = None,
    interval: str | None = None,
    mode: str | None = None,
    status: str | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    limit: int | None = None,
) -> list[StoredGap]:
    """Gaps that start in [``from_ms``, ``to_ms``), oldest first; beyond ``limit`` the newest of them."""
    rows = await connection.fetch(
        f"""
        select * from (
            select {_COLUMNS} from price_gaps p join markets m on m.id = p.market_id
            where ($1::text is null or m.venue || ':' || m.symbol = $1) and ($2::text is null or p.interval = $2)
                and ($3::text is null or p.mode = $3) and ($4::text is null or p.status = $4)
                and ($5::bigint is null or p.start_time >= at_ms($5))
                and ($6::bigint is null or p.start_time < at_ms($6))
            order by p.start_time desc, p.id desc limit $7
        ) newest order by start_ms, id
        """,  # noqa: S608 - a constant of this module
        market,
        interval,
        mode,
        status,
        from_ms,
        to_ms,
        limit,
    )
    return [_gap(row) for row in rows]


async def store_changes(
    connection: Connection, series: Series, changes: Iterable[Change], *, source: str | None = None
) -> StoredChanges:
    """Store ``changes``, which follow each other in time. Call it in a transaction; a repeat changes nothing.

    A gap that is known keeps its id and the state it has reached. ``source`` is the interval that the candles were made
    of, by default what each candle says of itself.
    """
    net = _net(changes)
    if not net:
        return StoredChanges((), (), ())
    number = await market_id(connection, series.market)
    found = await _insert(connection, series, number, net, source)
    touched, filled = await _update(connection, series, number, {k: v for k, v in net.items() if k not in found})
    await _note_holes(connection, series, number, net)
    inserted = tuple(found.values())
    return StoredChanges(
        inserted,
        (*(gap for gap in inserted if gap.touched_ms is not None), *touched),
        (*(gap for gap in inserted if gap.closed_ms is not None), *filled),
    )


def gaps_of(series: Series, changes: Iterable[Change], *, source: str | None = None) -> list[StoredGap]:
    """The gaps that ``changes`` find, as they would be stored, in order and without ids."""
    return [_fresh("", series, key, entry, source) for key, entry in _net(changes).items() if entry.found]


async def delete_gaps(connection: Connection, ids: Sequence[str]) -> None:
    """Delete gaps; their ids are not given out again."""
    await connection.execute("delete from price_gaps where id = any($1)", [*ids])


async def keep_ids_above(connection: Connection, last: int) -> None:
    """Never give out a number up to ``last``: it is taken, in a file for example."""
    await connection.execute("update price_gap_ids set last = $1 where last < $1", last)


def _net(changes: Iterable[Change]) -> dict[GapKey, _Net]:
    net: dict[GapKey, _Net] = {}
    for change in changes:
        if isinstance(change, Noted):
            for key in change.keys:
                net.setdefault(key, _Net()).holes.append((change.from_ms, change.to_ms))
            continue
        entry = net.setdefault(change.key, _Net())
        if isinstance(change, Found):
            entry.found = change
        elif isinstance(change, Touched):
            entry.touched = entry.touched or change
        else:
            entry.filled = entry.filled or change
    return net


async def _insert(
    connection: Connection, series: Series, number: int, net: dict[GapKey, _Net], source: str | None
) -> dict[GapKey, StoredGap]:
    """Insert those that are new, in the order they were found."""
    candidates = [key for key, entry in net.items() if entry.found]
    if not candidates:
        return {}
    # Whoever else would insert waits here, so what is not there now will not come in between.
    last: int = await connection.fetchval("select last from price_gap_ids for update")
    rows = await connection.fetch(
        """
        select ms(start_time), gap_type from price_gaps
        where market_id = $1 and interval = $2 and mode = $3 and start_time >= at_ms($4)
        """,
        number,
        series.interval,
        series.mode,
        min(key.start_ms for key in candidates),
    )
    known = {GapKey(row[0], row[1]) for row in rows}
    fresh = {
        key: _fresh(f"G{last + n:05}", series, key, net[key], source)
        for n, key in enumerate((key for key in candidates if key not in known), 1)
    }
    if fresh:
        await connection.execute("update price_gap_ids set last = $1", last + len(fresh))
        await connection.executemany(
            """
            insert into price_gaps (id, market_id, interval, mode, source_interval, start_time, gap_type, gap_low,
                gap_high, status, found_time, touched_time, closed_time, close_price, detail)
            values ($1, $2, $3, $4, $5, at_ms($6), $7, $8, $9, $10, at_ms($11), at_ms($12), at_ms($13), $14, $15)
            """,
            [_row(number, gap) for gap in fresh.values()],
        )
    return fresh


def _fresh(identity: str, series: Series, key: GapKey, entry: _Net, source: str | None) -> StoredGap:
    found, touched, filled = entry.found, entry.touched, entry.filled
    if found is None:
        raise AssertionError(key)
    derived = found.candle.source == "derived"
    return StoredGap(
        identity,
        series.market,
        series.interval,
        series.mode.value,
        source or ("1m" if derived else series.interval),
        key.type,
        found.zone.low,
        found.zone.high,
        entry.status.value,
        key.start_ms,
        found.candle.close_time_ms,
        touched.candle.open_time_ms if touched else None,
        filled.candle.open_time_ms if filled else None,
        filled.price if filled else None,
        {},
    )


def _row(number: int, gap: StoredGap) -> tuple[Any, ...]:
    price = None if gap.close_price is None else from_units(gap.close_price)
    return (
        gap.id, number, gap.interval, gap.mode, gap.source_interval, gap.start_ms, gap.type, from_units(gap.low),
        from_units(gap.high), gap.status, gap.found_ms, gap.touched_ms, gap.closed_ms, price, gap.detail or {},
    )  # fmt: skip


async def _update(
    connection: Connection, series: Series, number: int, net: dict[GapKey, _Net]
) -> tuple[list[StoredGap], list[StoredGap]]:
    """Bring gaps that are known forward; those that were touched, and those that were filled by it."""
    moved = {key: entry for key, entry in net.items() if entry.touched or entry.filled}
    if not moved:
        return [], []
    rows = await connection.fetch(
        f"""
        with n as (
            select * from unnest($4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::numeric[])
                as n(start_ms, type, touched_ms, closed_ms, price)
        ), before as (
            select p.id, p.status from price_gaps p join n on p.start_time = at_ms(n.start_ms) and p.gap_type = n.type
            where p.market_id = $1 and p.interval = $2 and p.mode = $3 for update of p
        ), moved as (
            update price_gaps p set
                status = case when n.closed_ms is null then 'touched' else 'filled' end,
                touched_time = coalesce(p.touched_time, at_ms(coalesce(n.touched_ms, n.closed_ms))),
                closed_time = at_ms(n.closed_ms), close_price = n.price
            from n, before
            where p.id = before.id and p.start_time = at_ms(n.start_ms) and p.gap_type = n.type
                and (before.status = 'open' or before.status = 'touched' and n.closed_ms is not null)
            returning p.*, before.status as status_before
        )
        select {_COLUMNS}, p.status_before from moved p join markets m on m.id = p.market_id order by p.start_time, p.id
        """,  # noqa: S608
        number,
        series.interval,
        series.mode,
        [key.start_ms for key in moved],
        [key.type for key in moved],
        [entry.touched.candle.open_time_ms if entry.touched else None for entry in moved.values()],
        [entry.filled.candle.open_time_ms if entry.filled else None for entry in moved.values()],
        [from_units(entry.filled.price) if entry.filled else None for entry in moved.values()],
    )
    touched = [_gap(row) for row in rows if row["status_before"] == GapStatus.OPEN]
    return touched, [gap for gap in map(_gap, rows) if gap.status == GapStatus.FILLED]


async def _note_holes(connection: Connection, series: Series, number: int, net: dict[GapKey, _Net]) -> None:
    spans: dict[tuple[int, int], list[GapKey]] = {}
    for key, entry in net.items():
        for span in entry.holes:
            spans.setdefault(span, []).append(key)
    await connection.executemany(
        f"""
        update price_gaps p set detail = jsonb_set(p.detail, '{{holes}}',
            coalesce(p.detail -> 'holes', '[]') || jsonb_build_array($6::jsonb))
        from unnest($4::bigint[], $5::text[]) as n(start_ms, type)
        where p.market_id = $1 and p.interval = $2 and p.mode = $3 and p.start_time = at_ms(n.start_ms)
            and p.gap_type = n.type and (p.closed_time is null or p.closed_time >= at_ms($7))
            and jsonb_array_length(coalesce(p.detail -> 'holes', '[]')) < {_MOST_HOLES}
            and not coalesce(p.detail -> 'holes', '[]') @> jsonb_build_array($6::jsonb)
        """,  # noqa: S608
        [
            (
                number,
                series.interval,
                series.mode,
                [key.start_ms for key in keys],
                [key.type for key in keys],
                list(span),
                span[0],
            )
            for span, keys in sorted(spans.items())
        ],
    )


def _gap(row: asyncpg.Record) -> StoredGap:
    return StoredGap(
        id=row["id"],
        market=row["market"],
        interval=row["interval"],
        mode=row["mode"],
        source_interval=row["source_interval"],
        type=row["gap_type"],
        low=_units(row["gap_low"]),
        high=_units(row["gap_high"]),
        status=row["status"],
        start_ms=row["start_ms"],
        found_ms=row["found_ms"],
        touched_ms=row["touched_ms"],
        closed_ms=row["closed_ms"],
        close_price=None if row["close_price"] is None else _units(row["close_price"]),
        detail=row["detail"],
    )


def _units(value: Decimal) -> int:
    return to_units(value)
