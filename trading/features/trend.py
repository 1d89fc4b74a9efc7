"""Wilder's directional movement: ADX with +DI and −DI, as TA-Lib computes them."""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.parameters import Range

__all__ = ["ADX", "adx"]

# What is nearer to 0 counts as 0, as in TA-Lib.
_NOTHING = 1e-14


class Params(NamedTuple):
    period: int = 14


class State(NamedTuple):
    """``seen`` candles, the newest one's prices, smoothed movements and range, and the average or what seeds it."""

    seen: int
    high: float
    low: float
    close: float
    plus: float
    minus: float
    reach: float
    average: float


def step(state: State, candle: Any, _beside: object, k: Params) -> tuple[State, tuple[float, float, float]]:
    """Return ADX, +DI and −DI, each 0 … 100; all are 0 once a price has stood still until no movement is left.

    TA-Lib keeps the ADX of before then, however long ago that was, so that it depended on where a series begins.
    """
    seen, last_high, last_low, last_close, plus, minus, reach, average = state
    high, low, close = candle.high / UNIT, candle.low / UNIT, candle.close / UNIT
    if seen == 0:
        return State(1, high, low, close, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    if seen >= k.period:
        plus -= plus / k.period
        minus -= minus / k.period
        reach -= reach / k.period
    up, down = high - last_high, last_low - low
    if down > 0.0 and up < down:
        minus += down
    elif up > 0.0 and up > down:
        plus += up
    reach += max(high - low, abs(high - last_close), abs(low - last_close))
    plus_di = minus_di = 0.0
    if reach < _NOTHING:
        # What a long flat stretch leaves of earlier moves must not depend on how early they were.
        plus = minus = reach = 0.0
    else:
        plus_di, minus_di = 100.0 * (plus / reach), 100.0 * (minus / reach)
    both = plus_di + minus_di
    apart = 100.0 * (abs(minus_di - plus_di) / both) if both >= _NOTHING else 0.0
    if k.period <= seen < 2 * k.period:
        average += apart
        if seen == 2 * k.period - 1:
            average /= k.period
    elif seen >= 2 * k.period:
        average = (average * (k.period - 1) + apart) / k.period if both >= _NOTHING else 0.0
    seen = min(seen + 1, 2 * k.period)
    return State(seen, high, low, close, plus, minus, reach, average), (average, plus_di, minus_di)


ADX = FeatureDef(
    kind="adx",
    params=Params,
    ranges={"period": Range(2, 10_000)},
    start=State(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    step=step,
    need=lambda k: 2 * k.period,
    # The movements are forgotten first, and then what they made of the average.
    history=lambda k: 100 * k.period,
    outputs=("adx", "plus_di", "minus_di"),
)


def adx(period: int = 14) -> Feature:
    """Average directional index: outputs adx, plus_di and minus_di."""
    return ADX.bind({"period": period})
