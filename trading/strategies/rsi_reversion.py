"""RSI against extremes: long while it is below ``low``, short above ``high``, flat once it crosses the middle.

An RSI that did not move, of prices that did not, is 0 by convention: a market without trades reads as oversold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.momentum import rsi
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT


class Params(NamedTuple):
    period: int = 14
    low: float = 30.0
    middle: float = 50.0
    high: float = 70.0


RANGES = {
    "period": Range(2, 1_000),
    "low": Range(0.0, 100.0),
    "middle": Range(0.0, 100.0),
    "high": Range(0.0, 100.0),
}


class Row(NamedTuple):
    close: float
    rsi: float


def features(p: Params) -> Mapping[str, Feature]:
    return {"rsi": rsi(p.period)}


def warmup(p: Params) -> int:
    return p.period + 2


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.rsi < p.low:
        return LONG
    if now.rsi > p.high:
        return SHORT
    # What is held came from the side that is left now, whichever it was.
    if prev.rsi < p.middle <= now.rsi or now.rsi <= p.middle < prev.rsi:
        return FLAT
    return HOLD


def confidence(now: Row, p: Params) -> float:
    """Grows with the distance from the middle: full at 0 and 100."""
    return min(1.0, abs(now.rsi - p.middle) / 50.0)
