"""Minutes that were missing, lent by another market, or told otherwise by the stream, and are known now."""

from __future__ import annotations

from collections.abc import Sequence

from trading.events import Heal
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.rederive import rederive
from trading.storage.revisions import revise_all

__all__ = ["take_heal"]


async def take_heal(connection: Connection, heal: Heal, intervals: Sequence[str]) -> None:
    """Store the minutes of ``heal``. Call it in a transaction.

    The venue's own take the place of those that another market lent, and, where the heal says why, of what is stored
    with other values: as repairs, with what is derived from them in ``intervals``. All else that is stored stays.
    """
    if not heal.candles:
        return
    lent = await connection.fetch(
        "select ms(open_time) from candles where market_id = $1 and interval = '1m' and origin is not null"
        " and open_time >= at_ms($2) and open_time <= at_ms($3)",
        await market_id(connection, heal.market),
        min(candle.open_time_ms for candle in heal.candles),
        max(candle.open_time_ms for candle in heal.candles),
    )
    replaced = {row[0] for row in lent}
    own = [candle for candle in heal.candles if candle.origin is None]
    back = [candle for candle in own if candle.open_time_ms in replaced]
    told = [candle for candle in own if candle.open_time_ms not in replaced] if heal.why else []
    changed = await revise_all(connection, back, "the venue tells it itself")
    changed += await revise_all(connection, told, heal.why)
    kept = {candle.open_time_ms for candle in (*back, *told)}
    await upsert_candles(connection, [candle for candle in heal.candles if candle.open_time_ms not in kept])
    repaired = [candle for candle in changed if candle.revision]
    if repaired:
        from_ms = min(candle.open_time_ms for candle in repaired)
        to_ms = max(candle.close_time_ms for candle in repaired)
        await rederive(connection, heal.market, intervals, from_ms, to_ms, heal.why or "the venue tells it itself")
