"""The highest high and the lowest low of the last candles.

The window is looked through only when the extreme has left it: seldom, so that a step costs the same at any period.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import Recent
from trading.parameters import Range

__all__ = ["HIGHEST", "LOWEST", "highest", "lowest", "scan_high", "scan_low"]


class Params(NamedTuple):
    period: int


def scan_high(highs: Any, best: int, age: int, period: int) -> tuple[int, int]:
    """The highest of the window and how many candles ago it was last seen, from those of the candle before."""
    newest, age = highs[-1], age + 1
    if newest >= best:
        return newest, 0
    if age >= period:
        best = 0
        for price in highs:
            age += 1
            if price >= best:
                best, age = price, 0
    return best, age


def scan_low(lows: Any, best: int, age: int, period: int) -> tuple[int, int]:
    """The lowest of the window and how many candles ago it was last seen; ``best`` is 0 before the first."""
    newest, age = lows[-1], age + 1
    if newest <= best or best == 0:
        return newest, 0
    if age >= period:
        best = 0
        for price in lows:
            age += 1
            if price <= best or best == 0:
                best, age = price, 0
    return best, age


def highest_step(state: tuple[int, int], _candle: Any, highs: Any, k: Params) -> tuple[tuple[int, int], float]:
    state = scan_high(highs, state[0], state[1], k.period)
    return state, state[0] / UNIT


def lowest_step(state: tuple[int, int], _candle: Any, lows: Any, k: Params) -> tuple[tuple[int, int], float]:
    state = scan_low(lows, state[0], state[1], k.period)
    return state, state[0] / UNIT


HIGHEST = FeatureDef(
    kind="highest",
    params=Params,
    ranges={"period": Range(1, 10_000)},
    start=(0, 0),
    step=highest_step,
    need=lambda k: k.period,
    history=lambda k: k.period,
    source=lambda k: Recent(k.period, "high"),
)

LOWEST = FeatureDef(
    kind="lowest",
    params=Params,
    ranges={"period": Range(1, 10_000)},
    start=(0, 0),
    step=lowest_step,
    need=lambda k: k.period,
    history=lambda k: k.period,
    source=lambda k: Recent(k.period, "low"),
)


def highest(period: int) -> Feature:
    """The highest high of the last ``period`` candles, the newest included."""
    return HIGHEST.bind({"period": period})


def lowest(period: int) -> Feature:
    """The lowest low of the last ``period`` candles, the newest included."""
    return LOWEST.bind({"period": period})
