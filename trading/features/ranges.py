"""How far prices go: true range, its Wilder average (ATR), Bollinger bands, and the volatility of returns."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.features.averages import WILDER
from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import Recent
from trading.parameters import Range

__all__ = ["ATR", "BOLLINGER", "RETURNS", "TRANGE", "VOLATILITY", "atr", "bollinger", "returns", "trange", "volatility"]

# Times the price: below this an average of ranges counts as none.
NO_RANGE = 1e-15


class NoParams(NamedTuple):
    pass


class Period(NamedTuple):
    period: int


def trange_step(before: float, candle: Any, _beside: object, _k: NoParams) -> tuple[float, float]:
    """Return the close and the true range; ``before`` is the close before, 0 at the first candle."""
    high, low = candle.high / UNIT, candle.low / UNIT
    reach = max(high - low, abs(high - before), abs(low - before)) if before > 0.0 else 0.0
    return candle.close / UNIT, reach


TRANGE = FeatureDef(
    kind="trange", params=NoParams, ranges={}, start=0.0, step=trange_step, need=lambda _k: 2, history=lambda _k: 2
)


def trange() -> Feature:
    """The greatest of high − low and the distances of both from the close before."""
    return TRANGE.bind({})


class AtrState(NamedTuple):
    """``seen`` candles; ``average`` is the sum of the first true ranges while they seed it."""

    seen: int
    before: float
    average: float


def atr_step(state: AtrState, candle: Any, _beside: object, k: Period) -> tuple[AtrState, float]:
    seen, before, average = state
    price, high, low = candle.close / UNIT, candle.high / UNIT, candle.low / UNIT
    if seen == 0:
        return AtrState(1, price, 0.0), 0.0
    reach = max(high - low, abs(high - before), abs(low - before))
    if seen <= k.period:
        average += reach
        if seen == k.period:
            average /= k.period
        seen += 1
    else:
        average = (average * (k.period - 1) + reach) / k.period
        # What a long flat stretch leaves of earlier ranges must not depend on how early they were.
        if average < NO_RANGE * price:
            average = 0.0
    return AtrState(seen, price, average), average


ATR = FeatureDef(
    kind="atr",
    params=Period,
    ranges={"period": Range(1, 10_000)},
    start=AtrState(0, 0.0, 0.0),
    step=atr_step,
    need=lambda k: k.period + 1,
    history=lambda k: WILDER * k.period + 1,
)


def atr(period: int) -> Feature:
    """Wilder's average of the true range, as a price."""
    return ATR.bind({"period": period})


class Bands(NamedTuple):
    period: int = 20
    width: float = 2.0


def bollinger_step(
    state: tuple[int, int], candle: Any, leaving: int, k: Bands
) -> tuple[tuple[int, int], tuple[float, ...]]:
    """Return middle, upper, lower, width (upper − lower over middle) and percent (where the close is between them).

    Both sums are exact integers, so the deviation does not depend on where the series began, nor on rounding: a
    compiled step may measure closes from any price, which changes no bit of the deviation.
    """
    total, squares = state
    close = candle.close
    total += close - leaving
    squares += close * close - leaving * leaving
    middle = total / (k.period * UNIT)
    spread = max(k.period * squares - total * total, 0)
    reach = k.width * (sqrt(spread / (k.period * k.period)) / UNIT)
    upper, lower = middle + reach, middle - reach
    percent = (close / UNIT - lower) / (upper - lower) if upper > lower else 0.5
    return (total, squares), (middle, upper, lower, (upper - lower) / middle if middle else 0.0, percent)


BOLLINGER = FeatureDef(
    kind="bollinger",
    params=Bands,
    ranges={"period": Range(2, 10_000), "width": Range(0.0, 100.0)},
    start=(0, 0),
    step=bollinger_step,
    need=lambda k: k.period,
    history=lambda k: k.period,
    window=lambda k: k.period,
    outputs=("middle", "upper", "lower", "width", "percent"),
)


def bollinger(period: int = 20, width: float = 2.0) -> Feature:
    """Bands ``width`` population deviations around the mean: outputs middle, upper, lower, width and percent."""
    return BOLLINGER.bind({"period": period, "width": width})


def returns_step(state: int, candle: Any, leaving: int, _k: Period) -> tuple[int, float]:
    return state, (candle.close - leaving) / leaving if leaving else 0.0


RETURNS = FeatureDef(
    kind="returns",
    params=Period,
    ranges={"period": Range(1, 10_000)},
    start=0,
    step=returns_step,
    need=lambda k: k.period + 1,
    history=lambda k: k.period + 1,
    window=lambda k: k.period,
)


def returns(period: int = 1) -> Feature:
    """The change of the close over ``period`` candles, as a fraction of the earlier close."""
    return RETURNS.bind({"period": period})


def volatility_step(state: int, _candle: Any, closes: Any, k: Period) -> tuple[int, float]:
    """Return the sample deviation of the last ``period`` returns. All of them are summed each time, in order."""
    if len(closes) <= k.period:
        return state, 0.0
    total, before = 0.0, 0
    for close in closes:
        if before:
            total += (close - before) / before
        before = close
    mean = total / k.period
    squares, before = 0.0, 0
    for close in closes:
        if before:
            away = (close - before) / before - mean
            squares += away * away
        before = close
    return state, sqrt(squares / (k.period - 1))


VOLATILITY = FeatureDef(
    kind="volatility",
    params=Period,
    ranges={"period": Range(2, 1_000)},
    start=0,
    step=volatility_step,
    need=lambda k: k.period + 1,
    history=lambda k: k.period + 1,
    source=lambda k: Recent(k.period + 1, "close"),
)


def volatility(period: int) -> Feature:
    """The sample standard deviation of the last ``period`` one-candle returns, per candle (not scaled to a year)."""
    return VOLATILITY.bind({"period": period})
