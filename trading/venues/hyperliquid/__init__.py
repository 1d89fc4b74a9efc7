"""Hyperliquid: 1m candles of perps and spot pairs, live and past, and the venue's own longer candles."""

from __future__ import annotations

from trading.venues.adapter import Adapter
from trading.venues.hyperliquid.history import HyperliquidHistory, budget
from trading.venues.hyperliquid.messages import CandleReader
from trading.venues.hyperliquid.stream import HyperliquidWire

__all__ = ["ADAPTER"]


ADAPTER = Adapter(
    venue="hyperliquid",
    intervals=("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M"),
    budget=budget,
    history=HyperliquidHistory,
    wire=HyperliquidWire,
    reader=CandleReader,
    doubt_ms=2_000,
    proves_close=False,
)
