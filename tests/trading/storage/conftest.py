"""What storage tests share: an open connection to a fresh database, and one market in it."""

from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest

from trading.candles import Candle
from trading.markets import Market
from trading.storage.database import connect
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget

BTC = Market("binance", "BTCUSDT", "spot", "BTC", "USDT", 2, 5, Decimal("0.01"), Decimal("0.00001"), Decimal(5))
MARKET = BTC.key
MINUTE = 60_000
START = 1_750_000_020_000 // MINUTE * MINUTE


@pytest.fixture
async def connection(database: DatabaseTarget) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database)
    await upsert_market(connection, BTC)
    yield connection
    await connection.close()


@pytest.fixture
def minute():
    """Build the 1m candle ``number`` minutes after START."""

    def build(number: int, price: int = 100_00000000, **changes: object) -> Candle:
        open_ms = START + number * MINUTE
        candle = Candle(
            MARKET, "1m", open_ms, open_ms + MINUTE, price, price + 5, price - 5, price + 1, 12345678 + number,
            quote_volume=777 + number, trade_count=number, taker_buy_volume=None,
        )  # fmt: skip
        return candle._replace(**changes)

    return build
