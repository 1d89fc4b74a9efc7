"""``/api/v3/exchangeInfo``: symbols with the venue's filters.

BTCUSDT and ETHUSDT have the filters that the venue published in August 2025; for another symbol tick and step are the
coarsest that all its candles obey.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trading.candle_columns import CandleColumns
from trading.venues.simulator.wire import decimal_text, grain

__all__ = ["exchange_info", "split_symbol", "symbol_info"]

_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "TRY", "BTC", "ETH", "BNB")
# tick, step, greatest market quantity
_PUBLISHED = {
    "BTCUSDT": ("0.01000000", "0.00001000", "97.09521512"),
    "ETHUSDT": ("0.01000000", "0.00010000", "2357.34408702"),
}


def exchange_info(now_ms: int, weight_limit: int, symbols: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer's object, in the venue's order of keys."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _limit("ORDERS", "SECOND", 10, 100),
            _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    }


def _limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def split_symbol(symbol: str) -> tuple[str, str]:
    """Return (base, quote) of a symbol such as BTCUSDT."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol, "USDT"


def symbol_info(symbol: str, candles: CandleColumns) -> dict[str, Any]:
    """Return the symbol's entry in ``exchangeInfo``."""
    base, quote = split_symbol(symbol)
    return {
        "symbol": symbol,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT",
            "LIMIT_MAKER",
            "MARKET",
            "STOP_LOSS",
            "STOP_LOSS_LIMIT",
            "TAKE_PROFIT",
            "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": _filters(symbol, candles),
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _filters(symbol: str, candles: CandleColumns) -> list[dict[str, Any]]:
    if symbol in _PUBLISHED:
        tick, step, greatest = _PUBLISHED[symbol]
    else:
        prices = np.concatenate([candles.open, candles.high, candles.low, candles.close])
        tick, step, greatest = decimal_text(grain(prices)), decimal_text(grain(candles.volume)), "9000.00000000"
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000.00000000", "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": "0.00000000",
            "maxQty": greatest,
            "stepSize": "0.00000000",
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]
