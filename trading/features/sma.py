"""Simple moving average of the close over the last ``period`` candles, with no value before there are that many.

The sum is an exact integer and is rounded once, by the division, so the result does not depend on where the series
began. In Python the quotient of two integers is the correctly rounded one at any size; a compiled step agrees while the
sum is below 2**53.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.parameters import Range

__all__ = ["DEFINITION", "Params", "sma", "step"]


class Params(NamedTuple):
    period: int


class _HasClose(Protocol):
    @property
    def close(self) -> int: ...


def step(total: int, candle: _HasClose, leaving: int, k: Params) -> tuple[int, float]:
    """Return the new sum (at 10**-8) and the mean as a price."""
    total = total + candle.close - leaving
    return total, total / (k.period * UNIT)


def _period(k: Params) -> int:
    return k.period


DEFINITION = FeatureDef(
    kind="sma",
    params=Params,
    ranges={"period": Range(1, 10_000)},
    start=0,
    step=step,
    need=_period,
    history=_period,
    window=_period,
)


def sma(period: int) -> Feature:
    """The simple moving average over ``period`` closes."""
    return DEFINITION.bind({"period": period})
