"""Exponential averages of the close, the plain one (EMA) and Wilder's (RMA), seeded by the mean of the first closes.

An average that has come so near the close that only rounding keeps it from it takes its value. Otherwise it would stop
a few units in the last place short of a price that does not move, at a place that depends on where the series began.
"""

from __future__ import annotations

from typing import NamedTuple

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.parameters import Range

__all__ = ["EMA", "RMA", "ema", "rma"]

# Times period + 1 and the price: more than twice what rounding can hold an average back by.
SAME = 2.0**-51
# Periods after which the start of a series is forgotten to the last bit. Some 40 of moving prices do it; while a price
# stands still nothing is forgotten, until after at most 41 so little of earlier moves is left that it is nothing.
WILDER = 85
_PERIOD = {"period": Range(1, 10_000)}


class Params(NamedTuple):
    period: int


class State(NamedTuple):
    """``total`` is the sum of the first ``seen`` closes at 10**-8 while there are fewer than the period."""

    seen: int
    total: int
    average: float


def ema_step(state: State, candle: object, _beside: object, k: Params) -> tuple[State, float]:
    close = candle.close  # type: ignore[attr-defined]
    seen, total, average = state
    if seen < k.period:
        seen, total = seen + 1, total + close
        average = total / (seen * UNIT)
        return State(seen, total, average), average
    price = close / UNIT
    average = (price - average) * (2.0 / (k.period + 1)) + average
    if abs(price - average) <= SAME * (k.period + 1) * price:
        average = price
    return State(seen, total, average), average


def rma_step(state: State, candle: object, _beside: object, k: Params) -> tuple[State, float]:
    close = candle.close  # type: ignore[attr-defined]
    seen, total, average = state
    if seen < k.period:
        seen, total = seen + 1, total + close
        average = total / (seen * UNIT)
        return State(seen, total, average), average
    price = close / UNIT
    average = (average * (k.period - 1) + price) / k.period
    if abs(price - average) <= SAME * (k.period + 1) * price:
        average = price
    return State(seen, total, average), average


EMA = FeatureDef(
    kind="ema",
    params=Params,
    ranges=_PERIOD,
    start=State(0, 0, 0.0),
    step=ema_step,
    need=lambda k: k.period,
    history=lambda k: 20 * k.period,
)

RMA = FeatureDef(
    kind="rma",
    params=Params,
    ranges=_PERIOD,
    start=State(0, 0, 0.0),
    step=rma_step,
    need=lambda k: k.period,
    history=lambda k: WILDER * k.period,
)


def ema(period: int) -> Feature:
    """The exponential moving average, weight 2 / (period + 1)."""
    return EMA.bind({"period": period})


def rma(period: int) -> Feature:
    """Wilder's moving average, weight 1 / period."""
    return RMA.bind({"period": period})
