"""Price against its moving average: long above, short below, and hold what is held when they are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.sma import sma
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT

FULL_CONFIDENCE_DISTANCE = 0.02


class Params(NamedTuple):
    period: int


RANGES = {"period": Range(2, 10_000)}


class Row(NamedTuple):
    close: float
    ma: float


def features(p: Params) -> Mapping[str, Feature]:
    return {"ma": sma(p.period)}


def warmup(p: Params) -> int:
    return p.period


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.close > now.ma:
        return LONG
    if now.close < now.ma:
        return SHORT
    return HOLD


def confidence(now: Row, p: Params) -> float:
    """Grows with the distance from the average and is full at two percent of it."""
    return min(1.0, abs(now.close - now.ma) / (FULL_CONFIDENCE_DISTANCE * now.ma))
