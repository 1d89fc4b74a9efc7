"""The stochastic oscillator: where the close lies between the lowest low and the highest high, smoothed twice."""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.features.contract import Feature, FeatureDef
from trading.features.extremes import scan_high, scan_low
from trading.features.inputs import Recent
from trading.parameters import Range

__all__ = ["STOCHASTIC", "stochastic"]


class Params(NamedTuple):
    period: int = 14
    smooth: int = 3
    signal: int = 3


class State(NamedTuple):
    """Both extremes and their ages, and the last raw and smoothed positions, oldest first."""

    high: int
    high_age: int
    low: int
    low_age: int
    raw: tuple[float, ...]
    smoothed: tuple[float, ...]


def _start(k: Params) -> State:
    return State(0, 0, 0, 0, (0.0,) * k.smooth, (0.0,) * k.signal)


def _mean(values: tuple[float, ...]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def step(state: State, candle: Any, recent: Any, k: Params) -> tuple[State, tuple[float, float]]:
    """Return %K and %D, 0 … 100; both are 0 where nothing lies between high and low, as in TA-Lib."""
    highs, lows = recent
    high, high_age = scan_high(highs, state.high, state.high_age, k.period)
    low, low_age = scan_low(lows, state.low, state.low_age, k.period)
    # The integers are exact; one division rounds once.
    raw = (*state.raw[1:], 100.0 * ((candle.close - low) / (high - low)) if high > low else 0.0)
    smoothed = (*state.smoothed[1:], _mean(raw))
    return State(high, high_age, low, low_age, raw, smoothed), (smoothed[-1], _mean(smoothed))


def _need(k: Params) -> int:
    return k.period + k.smooth + k.signal - 2


STOCHASTIC = FeatureDef(
    kind="stochastic",
    params=Params,
    ranges={"period": Range(1, 10_000), "smooth": Range(1, 100), "signal": Range(1, 100)},
    start=_start,
    step=step,
    need=_need,
    history=_need,
    outputs=("k", "d"),
    source=lambda k: Recent(k.period, "high", "low"),
)


def stochastic(period: int = 14, smooth: int = 3, signal: int = 3) -> Feature:
    """Slow stochastic: outputs k (smoothed over ``smooth``) and d (the mean of ``signal`` of them)."""
    return STOCHASTIC.bind({"period": period, "smooth": smooth, "signal": signal})
