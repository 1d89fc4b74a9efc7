"""Markets that no venue described to us: their names say what they are."""

from __future__ import annotations

import re
from decimal import Decimal

from trading.markets import Market, split_market
from trading.storage.database import Connection
from trading.storage.markets import upsert_market

__all__ = ["ensure_market", "named_market"]

# The longer ones first: BTCUSDT is BTC in USDT, and not BTCUS in DT.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BTC", "ETH", "BNB", "DAI")
_SEPARATED = re.compile(r"([A-Za-z0-9]+)[-_/.]([A-Za-z0-9]+)(?:[-_/.].*)?")
_SIZE_DECIMALS = 8


def named_market(key: str, price_decimals: int) -> Market:
    """The market ``venue:symbol`` as its name describes it. BadInput when it has no such form.

    Orders there are not foreseen, so its steps are the finest: of price what its candles show, of size 10**-8.
    """
    venue, symbol = split_market(key)
    base, quote = _base_and_quote(symbol)
    perp = "PERP" in symbol.upper() or venue.endswith("_usdm")
    tick = Decimal(1).scaleb(-price_decimals)
    lot = Decimal(1).scaleb(-_SIZE_DECIMALS)
    kind = "perp" if perp else "spot"
    return Market(venue, symbol, kind, base, quote, price_decimals, _SIZE_DECIMALS, tick, lot, Decimal(0))


async def ensure_market(connection: Connection, market: Market) -> bool:
    """Store ``market`` unless its venue and symbol are stored; returns whether it was new."""
    known: bool = await connection.fetchval(
        "select exists (select from markets where venue = $1 and symbol = $2)", market.venue, market.symbol
    )
    if not known:
        await upsert_market(connection, market)
    return not known


def _base_and_quote(symbol: str) -> tuple[str, str]:
    parts = _SEPARATED.fullmatch(symbol)
    if parts and parts[2].upper() != "PERP":
        return parts[1].upper(), parts[2].upper()
    name = (parts[1] if parts else symbol).upper()
    for quote in _QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return name.removesuffix(quote), quote
    return name, "USD"
