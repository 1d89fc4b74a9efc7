"""Volume: its mean, how far the newest candle exceeds it, and on-balance volume over a window."""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import Recent
from trading.parameters import Range

__all__ = ["OBV", "VOLUME_MEAN", "VOLUME_SPIKE", "obv", "volume_mean", "volume_spike"]


class Params(NamedTuple):
    period: int


_PERIOD = {"period": Range(1, 10_000)}


def mean_step(total: int, candle: Any, leaving: int, k: Params) -> tuple[int, float]:
    total = total + candle.volume - leaving
    return total, total / (k.period * UNIT)


VOLUME_MEAN = FeatureDef(
    kind="volume_mean",
    params=Params,
    ranges=_PERIOD,
    start=0,
    step=mean_step,
    need=lambda k: k.period,
    history=lambda k: k.period,
    window=lambda k: k.period,
    window_field="volume",
)


def volume_mean(period: int = 20) -> Feature:
    """The mean volume of the last ``period`` candles, the newest included, in base units."""
    return VOLUME_MEAN.bind({"period": period})


def spike_step(total: int, candle: Any, leaving: int, k: Params) -> tuple[int, float]:
    """Return volume over mean volume; not defined while nothing was traded."""
    total = total + candle.volume - leaving
    return total, candle.volume * k.period / total if total else nan


VOLUME_SPIKE = FeatureDef(
    kind="volume_spike",
    params=Params,
    ranges=_PERIOD,
    start=0,
    step=spike_step,
    need=lambda k: k.period,
    history=lambda k: k.period,
    window=lambda k: k.period,
    window_field="volume",
)


def volume_spike(period: int = 20) -> Feature:
    """The newest volume over the mean of the last ``period``, itself included: 1.5 is half as much again."""
    return VOLUME_SPIKE.bind({"period": period})


class ObvState(NamedTuple):
    """``total`` is the signed volume at 10**-8 of the candles within the window."""

    seen: int
    before: int
    total: int


def obv_step(state: ObvState, candle: Any, recent: Any, k: Params) -> tuple[ObvState, float]:
    """Return the signed volume; ``recent`` holds the closes and volumes of ``period`` + 2 candles, oldest first."""
    closes, volumes = recent
    close, volume = candle.close, candle.volume
    total = state.total
    if state.seen:
        total += volume if close > state.before else -volume if close < state.before else 0
    if len(closes) == k.period + 2:
        gone = volumes[1]
        total -= gone if closes[1] > closes[0] else -gone if closes[1] < closes[0] else 0
    return ObvState(1, close, total), total / UNIT


OBV = FeatureDef(
    kind="obv",
    params=Params,
    ranges=_PERIOD,
    start=ObvState(0, 0, 0),
    step=obv_step,
    need=lambda k: k.period + 1,
    history=lambda k: k.period + 1,
    source=lambda k: Recent(k.period + 2, "close", "volume"),
)


def obv(period: int) -> Feature:
    """On-balance volume of the last ``period`` candles: volume of rising closes less that of falling ones.

    It is the change of the running total over the window. The total itself counts from wherever a series happens to
    begin, so no two runs that began elsewhere could agree on it.
    """
    return OBV.bind({"period": period})
