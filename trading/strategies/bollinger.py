"""Bollinger bands: long when the close is below the lower one, short above the upper one, flat back at the middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.ranges import bollinger
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT


class Params(NamedTuple):
    period: int = 20
    width: float = 2.0


RANGES = {"period": Range(2, 1_000), "width": Range(0.1, 10.0)}


class Row(NamedTuple):
    close: float
    lower: float
    middle: float
    upper: float


def features(p: Params) -> Mapping[str, Feature]:
    bands = bollinger(p.period, p.width)
    return {"lower": bands["lower"], "middle": bands["middle"], "upper": bands["upper"]}


def warmup(p: Params) -> int:
    # That the middle was crossed is seen from one candle to the next.
    return p.period + 1


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.close < now.lower:
        return LONG
    if now.close > now.upper:
        return SHORT
    # What is held came from the side that is left now, whichever it was.
    if prev.close < prev.middle and now.close >= now.middle:
        return FLAT
    if prev.close > prev.middle and now.close <= now.middle:
        return FLAT
    return HOLD
