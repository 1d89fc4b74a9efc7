"""What the feeds tell of minutes, made durable: candles, holes, and heals of holes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trading.candles import Candle, Hole
from trading.events import Heal, StreamItem
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection
from trading.storage.heals import take_heal
from trading.storage.quality import record_hole, resolve_hole

__all__ = ["store_told"]


async def store_told(connection: Connection, items: Iterable[StreamItem], intervals: Sequence[str]) -> None:
    """Store ``items``, minutes of any number of markets as they were told; a repair changes what is derived from it in
    ``intervals``. Repeats change nothing. Call it in a transaction.
    """
    told = list(items)
    await upsert_candles(connection, [item for item in told if isinstance(item, Candle)])
    for item in told:
        if isinstance(item, Hole):
            await record_hole(connection, item)
        elif isinstance(item, Heal):
            await take_heal(connection, item, intervals)
            await resolve_hole(connection, item)
