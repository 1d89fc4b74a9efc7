"""Bring recorded gaps in line with what the stored candles say today."""

from __future__ import annotations

from typing import NamedTuple

from trading.candles import Candle, from_units
from trading.gaps.detector import Seams
from trading.gaps.life import Change, GapBook, GapKey
from trading.gaps.passes import Rules
from trading.intervals import parse_interval
from trading.storage.candles import first_open, last_close, read_candles
from trading.storage.database import Connection
from trading.storage.fold import fold_minutes
from trading.storage.price_gaps import Series, StoredGap, delete_gaps, gaps_of, read_gaps, store_changes
from trading.storage.quality import holes_between

__all__ = ["Difference", "apply_difference", "find_difference"]

_FIELDS = ("low", "high", "status", "touched_ms", "closed_ms", "close_price")


class Difference(NamedTuple):
    """``added`` have no id yet; ``changed`` are (recorded, as it should be); ``kept`` is how many agree."""

    series: Series
    added: tuple[StoredGap, ...]
    removed: tuple[StoredGap, ...]
    changed: tuple[tuple[StoredGap, StoredGap], ...]
    kept: int
    changes: tuple[Change, ...]


async def find_difference(connection: Connection, series: Series, rules: Rules, from_ms: int | None) -> Difference:
    """Compare the record with a pass over all stored candles, for gaps that start at or after ``from_ms``.

    An interval that is not kept is made of the stored minutes. A recorded gap whose own candles are not stored is no
    difference: nothing contradicts it.
    """
    candles = await read_candles(connection, series.market, series.interval)
    if not candles:
        candles = await _folded(connection, series)
    recorded = await read_gaps(
        connection, market=series.market, interval=series.interval, mode=series.mode.value, from_ms=from_ms
    )
    if len(candles) < 3:
        return Difference(series, (), (), (), len(recorded), ())
    holes = await holes_between(connection, series.market, candles[0].open_time_ms, candles[-1].close_time_ms)
    book = GapBook(
        series.mode, min_size=rules.min_size, only=rules.only, seams=Seams(holes), detect_from_ms=from_ms
    )  # fmt: skip
    changes = tuple(change for candle in candles for change in book.handle(candle))
    fresh = {gap.key: gap for gap in gaps_of(series, changes)}
    seen = {candle.open_time_ms for candle in candles[2:]}
    known = {gap.key: gap for gap in recorded}
    removed = tuple(gap for gap in recorded if gap.key not in fresh and gap.start_ms in seen)
    both: list[tuple[StoredGap, StoredGap]] = [
        (gap, fresh[gap.key]._replace(id=gap.id)) for gap in recorded if gap.key in fresh
    ]
    changed = tuple(pair for pair in both if _told(pair[0]) != _told(pair[1]))
    added = tuple(gap for key, gap in fresh.items() if key not in known)
    return Difference(series, added, removed, changed, len(both) - len(changed), changes)


async def apply_difference(connection: Connection, difference: Difference) -> None:
    """Make the record what the candles say. Ids of gaps that stay are kept; call it in a transaction."""
    await delete_gaps(connection, [gap.id for gap in difference.removed])
    await connection.executemany(
        """
        update price_gaps set gap_low = $2, gap_high = $3, status = $4, touched_time = at_ms($5),
            closed_time = at_ms($6), close_price = $7
        where id = $1
        """,
        [
            (
                gap.id, from_units(gap.low), from_units(gap.high), gap.status, gap.touched_ms, gap.closed_ms,
                None if gap.close_price is None else from_units(gap.close_price),
            )
            for _, gap in difference.changed
        ],
    )  # fmt: skip
    wanted: set[GapKey] = {gap.key for gap in difference.added}
    changes = [change for change in difference.changes if getattr(change, "key", None) in wanted]
    await store_changes(connection, difference.series, changes)


async def _folded(connection: Connection, series: Series) -> list[Candle]:
    first_ms, last_ms = await first_open(connection, series.market), await last_close(connection, series.market)
    if first_ms is None or last_ms is None:
        return []
    end_ms = parse_interval(series.interval).open_of(last_ms)
    return await fold_minutes(connection, series.market, series.interval, first_ms, end_ms)


def _told(gap: StoredGap) -> tuple[object, ...]:
    return tuple(getattr(gap, name) for name in _FIELDS)
