"""MACD: long when its line crosses above its signal line, short when it crosses below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.momentum import macd
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT


class Params(NamedTuple):
    fast: int = 12
    slow: int = 26
    signal: int = 9


RANGES = {"fast": Range(2, 1_000), "slow": Range(2, 1_000), "signal": Range(1, 1_000)}


class Row(NamedTuple):
    close: float
    line: float
    signal: float


def features(p: Params) -> Mapping[str, Feature]:
    whole = macd(p.fast, p.slow, p.signal)
    return {"line": whole["line"], "signal": whole["signal"]}


def warmup(p: Params) -> int:
    # The cross is seen from one candle to the next.
    return p.slow + p.signal


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.line > now.signal and prev.line <= prev.signal:
        return LONG
    if now.line < now.signal and prev.line >= prev.signal:
        return SHORT
    return HOLD
