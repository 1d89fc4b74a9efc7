"""``manta data download`` of minutes that a venue shows no more: lent by the second venue of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from manta.progress import candle_bar
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import Config
from trading.events import end_ms, start_ms
from trading.intervals import MINUTE, MINUTE_MS
from trading.markets import Market, split_market
from trading.storage.accounting import account_between, account_minutes
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection, Database
from trading.storage.download import unknown_spans
from trading.storage.follow import follow_minutes
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.lender import Lender
from trading.venues.origin import Origin
from trading.venues.resolve import open_history

__all__ = ["lend_past", "lender_of"]

_WHY = "lent"
_LONG_S = 120.0


def lender_of(config: Config, market: Market, written: str) -> str | None:
    """Who lends ``market`` its past, as venue:symbol; ``written`` is how the user named the market."""
    if not config.history.seed:
        return None
    return config.history.lender_of(market.key) or config.history.lender_of(written)


async def lend_past(
    config: Config, database: Database, limits: ClusterLimits, origin: Origin, market: str, other: str,
    span: tuple[int, int], *, quiet: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Store what ``other`` has of the unknown minutes of ``market`` in ``span``, marked with where it comes from.

    Each part is stored and accounted for in one transaction; a repeat asks for what is left. Raises what ``History``
    raises.
    """
    venue = split_market(other)[0]
    spans = await database.run(lambda conn: unknown_spans(conn, market, MINUTE, *span), deadline_s=_LONG_S)
    lent = 0
    low, high = span[1], span[0]
    async with open_history(config, venue, origin=origin, limits=limits) as history:
        lender = Lender(market, other, history)
        with candle_bar(f"{market} 1m, lent by {other}", *span, quiet=quiet) as tell:
            for start, end in spans:
                async for items in lender.past(start, end):
                    await database.run(lambda conn, items=items: _store(conn, market, other, items), deadline_s=_LONG_S)
                    lent += sum(isinstance(item, Candle) for item in items)
                    low, high = min(low, start_ms(items[0])), max(high, end_ms(items[-1]))
                    tell(high)
    if lent:
        await database.run(lambda conn: _join(conn, market, low, high), deadline_s=_LONG_S)
    return {"lent": lent, "by": other}


async def _store(connection: Connection, market: str, other: str, items: Sequence[Candle | Hole]) -> None:
    candles = [item for item in items if isinstance(item, Candle)]
    odd: list[int] = []
    for item in items:
        if isinstance(item, Hole) and item.reason == HoleReason.MISSING:
            odd += range(item.from_ms, item.to_ms, MINUTE_MS)
    span = start_ms(items[0]), end_ms(items[-1])
    await upsert_candles(connection, candles)
    await account_minutes(
        connection,
        market,
        np.array([candle.open_time_ms for candle in candles], np.int64),
        *span,
        unusable=odd,
        detail=f"nothing at {other}, which lends these minutes",
    )
    await follow_minutes(connection, market, *span, _WHY)


async def _join(connection: Connection, market: str, low: int, high: int) -> None:
    for start, end in await account_between(connection, market, low, high, "between what was lent"):
        await follow_minutes(connection, market, start, end, _WHY)
