"""Derived candles made anew from stored minutes: after an import, a repair, or when history begins earlier than it did.

For whoever changes minutes in the database. A running timeframe does the same for heals that it is told of; the hole
keeper tells it, and the brain, of what was done here.
"""

from __future__ import annotations

from collections.abc import Sequence

from trading.candles import Candle
from trading.intervals import parse_interval
from trading.storage.candles import first_open, last_close
from trading.storage.cursors import get_cursor
from trading.storage.database import Connection
from trading.storage.fold import fold_minutes
from trading.storage.folded import folded_from, note_folded
from trading.storage.natives import give_way
from trading.storage.rebuilds import note_rebuild
from trading.storage.revisions import revise_all

__all__ = ["fold_earlier", "rederive", "store_derived"]


async def rederive(
    connection: Connection, market: str, intervals: Sequence[str], from_ms: int, to_ms: int, why: str
) -> int:
    """Fold the minutes of [``from_ms``, ``to_ms``) again into ``intervals``; returns how many candles changed or came.

    Call it in the transaction that changed the minutes. Whatever touches the span is folded whole, so the first candle
    of an older history is made now that its first minutes are known. Candles that a running timeframe has not closed
    yet are left to it. Changes raise the revision and are logged with ``why``; stored features over them are noted to
    be made anew.
    """
    reached = await get_cursor(connection, f"timeframe:{market}") or await last_close(connection, market)
    first = await first_open(connection, market)
    if first is None or reached is None or from_ms >= to_ms:
        return 0
    changed = 0
    for name in intervals:
        width = parse_interval(name)
        begin = max(first, width.open_of(from_ms))
        end = min(reached, width.close_of(width.open_of(to_ms - 1)))
        if name != "1m" and begin < end:
            folded = await fold_minutes(connection, market, name, begin, end)
            changed += len(await store_derived(connection, folded, why))
    if await get_cursor(connection, f"brain:{market}") is not None:
        await note_rebuild(connection, market, from_ms, min(to_ms, reached), why)
    return changed


async def fold_earlier(connection: Connection, market: str, intervals: Sequence[str]) -> tuple[int, int] | None:
    """Fold what was recorded before the first minute that ``intervals`` are known to be folded from.

    Returns the span of those minutes; None when there are none. Repeatable.
    """
    known = await folded_from(connection, market)
    first = await first_open(connection, market)
    if first is None or known is None or first >= known:
        return None
    await rederive(connection, market, intervals, first, known, "earlier minutes were imported")
    await note_folded(connection, market, intervals, first)
    return first, known


async def store_derived(connection: Connection, candles: Sequence[Candle], why: str) -> list[Candle]:
    """Store derived ``candles`` over older ones; returns those that changed something.

    Where the venue's own candle is stored, a complete derived one takes its place and a partial one does not.
    """
    if not candles:
        return []
    took, left = await give_way(connection, candles)
    return sorted([*took, *await revise_all(connection, left, why)], key=lambda candle: candle.open_time_ms)
