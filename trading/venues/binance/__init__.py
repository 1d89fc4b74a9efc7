"""Binance spot."""

from trading.venues.adapter import Adapter
from trading.venues.binance.history import BinanceHistory, budget
from trading.venues.binance.messages import KlineReader
from trading.venues.binance.stream import BinanceWire

__all__ = ["ADAPTER", "INTERVALS"]

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
# The clock that the venue tells was seen ahead of the one that its candles close by.
_DOUBT_MS = 15_000

ADAPTER = Adapter("binance", INTERVALS, budget, BinanceHistory, BinanceWire, KlineReader, _DOUBT_MS)
