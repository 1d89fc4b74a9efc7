"""Minutes that were missing, or lent by another market, and are known now."""

from __future__ import annotations

from collections.abc import Sequence

from trading.candles import Candle
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.revisions import revise_all

__all__ = ["take_heal"]


async def take_heal(connection: Connection, candles: Sequence[Candle]) -> None:
    """Store the healed minutes ``candles``; the venue's own take the place of those that another market lent."""
    if not candles:
        return
    lent = await connection.fetch(
        "select ms(open_time) from candles where market_id = $1 and interval = '1m' and origin is not null"
        " and open_time >= at_ms($2) and open_time <= at_ms($3)",
        await market_id(connection, candles[0].market),
        min(candle.open_time_ms for candle in candles),
        max(candle.open_time_ms for candle in candles),
    )
    replaced = {row[0] for row in lent}
    own = [candle for candle in candles if candle.origin is None and candle.open_time_ms in replaced]
    await revise_all(connection, own, "the venue tells it itself")
    kept = {candle.open_time_ms for candle in own}
    await upsert_candles(connection, [candle for candle in candles if candle.open_time_ms not in kept])
