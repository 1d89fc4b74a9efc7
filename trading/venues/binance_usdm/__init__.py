"""Binance's perpetual futures in stable coins (USD-M). They speak as the spot market does; what differs is here."""

from trading.venues.adapter import Adapter
from trading.venues.binance import INTERVALS
from trading.venues.binance.history import budget
from trading.venues.binance.messages import KlineReader
from trading.venues.binance.stream import BinanceWire
from trading.venues.binance_usdm.history import BinanceUsdmHistory

__all__ = ["ADAPTER"]

_DOUBT_MS = 15_000

ADAPTER = Adapter("binance_usdm", INTERVALS, budget, BinanceUsdmHistory, BinanceWire, KlineReader, _DOUBT_MS)
