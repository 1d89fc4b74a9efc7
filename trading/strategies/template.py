"""NAME: long while the close is above its average, flat below it.

What the strategy does, in a sentence or two: the first line is shown by `manta strategies list`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.sma import sma
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG


class Params(NamedTuple):
    """Numbers that the configuration may set, with their defaults."""

    period: int = 50
    stop_pct: float = 2.0


# The range of each: two whole numbers mean a whole number, anything else a decimal one.
RANGES = {"period": Range(2, 1_000), "stop_pct": Range(0.1, 50.0)}


def features(p: Params) -> Mapping[str, Feature]:
    """The numbers it wants to see, by names of your choice."""
    return {"average": sma(p.period)}


class Row(NamedTuple):
    """What the rule sees of one candle: its close, then the features in their order."""

    close: float
    average: float


def warmup(p: Params) -> int:
    """Closed candles before the rule is asked; the features' own needs are seen to anyway."""
    return p.period


def rule(now: Row, prev: Row, p: Params) -> int:
    """What to hold from here on: LONG, FLAT, SHORT, or HOLD for whatever is held.

    `now` is the candle just closed, `prev` the one before. Remember nothing and read nothing else: a file, a clock, a
    random number or a global would make a backtest differ from what runs live. `manta strategies check` looks for it.
    """
    if now.close > now.average:
        return LONG
    if now.close < now.average:
        return FLAT
    return HOLD


# The rest may be left out.


def confidence(now: Row, p: Params) -> float:
    """0 to 1: full when the close is two percent from the average."""
    return min(1.0, abs(now.close - now.average) / (0.02 * now.average))


def bracket(now: Row, p: Params) -> tuple[float | None, float | None]:
    """Distances of stop and profit from the entry, as prices above 0; None for no such exit."""
    return now.close * p.stop_pct / 100, None


def reasons(now: Row, p: Params) -> tuple[str, ...]:
    """Short texts for the decision's record."""
    return (f"the close {now.close:g} against its average {now.average:g}",)
