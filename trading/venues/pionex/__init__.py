"""Pionex: spot and perps. Candles come by REST alone; trades on the socket tell that a market lives."""

from trading.venues.adapter import Adapter
from trading.venues.pionex.history import PionexHistory, budget
from trading.venues.pionex.messages import INTERVALS, TradeReader
from trading.venues.pionex.stream import PionexWire

__all__ = ["ADAPTER"]

ADAPTER = Adapter(
    venue="pionex",
    intervals=tuple(INTERVALS),
    budget=budget,
    history=PionexHistory,
    wire=PionexWire,
    reader=TradeReader,
    doubt_ms=500,
)
