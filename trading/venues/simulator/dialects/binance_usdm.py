"""Binance USD-M perpetuals: ``/fapi/v1``, weighted by the rows asked for, and the same kline streams.

The venue moves its streams below ``/public`` and ``/market``: both the old paths and the new are served.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from trading.candle_columns import CandleColumns
from trading.venues.simulator.dialect import Asked, VenueLimits
from trading.venues.simulator.dialects.binance import Binance
from trading.venues.simulator.dialects.binance_exchange_info import split_symbol
from trading.venues.simulator.wire import grain, short_text

__all__ = ["DIALECT", "BinanceUsdm"]

# What a request for this many rows weighs, and more than the last of these.
_WEIGHTS = ((99, 1), (499, 2), (1000, 5))
_HEAVIEST = 10


class BinanceUsdm(Binance):
    venue = "binance_usdm"
    limits = VenueLimits(ping_interval_s=180.0, pong_timeout_s=600.0, weight=2400, window_s=60.0)
    messages_per_second: ClassVar[int | None] = 10
    base: ClassVar[str] = "/fapi/v1"
    info_weight: ClassVar[int] = 1
    most_rows: ClassVar[int] = 1500

    def klines_weight(self, asked: Asked) -> int:
        text = asked.query.get("limit", "500")
        limit = int(text) if text.isdecimal() else 500
        return next((weight for most, weight in _WEIGHTS if limit <= most), _HEAVIEST)

    def socket_paths(self) -> list[str]:
        paths = super().socket_paths()
        return [f"{prefix}{path}" for prefix in ("", "/market", "/public") for path in paths]

    def info(self, symbols: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": self.now(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                _limit("REQUEST_WEIGHT", "MINUTE", 1, self.weights.limit),
                _limit("ORDERS", "MINUTE", 1, 1200),
                _limit("ORDERS", "SECOND", 10, 300),
            ],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": symbols,
        }

    def describe(self, symbol: str, candles: CandleColumns) -> dict[str, Any]:
        base, quote = split_symbol(symbol)
        tick = grain(np.concatenate([candles.open, candles.high, candles.low, candles.close]))
        step = grain(candles.volume)
        return {
            "symbol": symbol,
            "pair": symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": 4_133_404_800_000,
            "onboardDate": 1_569_398_400_000,
            "status": "TRADING",
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": base,
            "quoteAsset": quote,
            "marginAsset": quote,
            "pricePrecision": len(short_text(tick).partition(".")[2]),
            "quantityPrecision": len(short_text(step).partition(".")[2]),
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "settlePlan": 0,
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012000",
            "marketTakeBound": "0.30",
            "filters": _filters(short_text(tick), short_text(step)),
            "orderTypes": [
                "LIMIT",
                "MARKET",
                "STOP",
                "STOP_MARKET",
                "TAKE_PROFIT",
                "TAKE_PROFIT_MARKET",
                "TRAILING_STOP_MARKET",
            ],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }


DIALECT = BinanceUsdm


def _filters(tick: str, step: str) -> list[dict[str, Any]]:
    return [
        {"minPrice": tick, "maxPrice": "1000000", "filterType": "PRICE_FILTER", "tickSize": tick},
        {"stepSize": step, "filterType": "LOT_SIZE", "maxQty": "1000", "minQty": step},
        {"stepSize": step, "filterType": "MARKET_LOT_SIZE", "maxQty": "1000", "minQty": step},
        {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
        {"limit": 10, "filterType": "MAX_NUM_ALGO_ORDERS"},
        {"notional": "5", "filterType": "MIN_NOTIONAL"},
        {"multiplierDown": "0.8500", "multiplierUp": "1.1500", "multiplierDecimal": "4", "filterType": "PERCENT_PRICE"},
    ]


def _limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}
