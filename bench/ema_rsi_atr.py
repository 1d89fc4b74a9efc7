"""An EMA cross that RSI must confirm, with a stop and a target in multiples of the ATR: (c) of `bench sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.averages import ema
from trading.features.contract import Feature
from trading.features.momentum import rsi
from trading.features.ranges import atr
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT


class Params(NamedTuple):
    """Periods in candles; stop and target in ATR of the candle that decided."""

    fast: int = 12
    slow: int = 50
    rsi_period: int = 14
    rsi_least: float = 50.0
    atr_period: int = 14
    stop: float = 2.0
    target: float = 3.0


RANGES = {
    "fast": Range(2, 2_000),
    "slow": Range(2, 5_000),
    "rsi_period": Range(2, 1_000),
    "rsi_least": Range(0.0, 100.0),
    "atr_period": Range(2, 1_000),
    "stop": Range(0.1, 100.0),
    "target": Range(0.1, 100.0),
}


class Row(NamedTuple):
    close: float
    fast: float
    slow: float
    rsi: float
    atr: float


def features(p: Params) -> Mapping[str, Feature]:
    return {"fast": ema(p.fast), "slow": ema(p.slow), "rsi": rsi(p.rsi_period), "atr": atr(p.atr_period)}


def warmup(p: Params) -> int:
    return 2 + max(p.fast, p.slow, p.rsi_period, p.atr_period)


def rule(now: Row, prev: Row, p: Params) -> int:
    is_up, was_up = now.fast > now.slow, prev.fast > prev.slow
    if is_up and not was_up and now.rsi > p.rsi_least:
        return LONG
    if was_up and not is_up:
        return SHORT
    return HOLD


def bracket(now: Row, p: Params) -> tuple[float, float]:
    return p.stop * now.atr, p.target * now.atr
