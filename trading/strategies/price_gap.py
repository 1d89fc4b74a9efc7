"""Trades price gaps as they form: with ``follow`` 1 in the gap's direction, with 0 towards its being filled.

Stop and profit are distances in heights of the gap. Between two gaps whatever is held stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.price_gap import price_gap
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT


class Params(NamedTuple):
    """``min_percent`` is the least height of a gap that counts, in percent of the close."""

    follow: int = 1
    min_percent: float = 0.1
    stop_heights: float = 1.0
    profit_heights: float = 2.0


RANGES = {
    "follow": Range(0, 1),
    "min_percent": Range(0.0, 100.0),
    "stop_heights": Range(0.01, 1_000.0),
    "profit_heights": Range(0.01, 1_000.0),
}


class Row(NamedTuple):
    """``formed`` is the height of the gap that this candle made, negative for a down gap, 0 for none."""

    close: float
    formed: float


def features(p: Params) -> Mapping[str, Feature]:
    return {"formed": price_gap(min_percent=p.min_percent)["formed"]}


def warmup(p: Params) -> int:
    return 3


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.formed > 0.0:
        return LONG if p.follow else SHORT
    if now.formed < 0.0:
        return SHORT if p.follow else LONG
    return HOLD


def bracket(now: Row, p: Params) -> tuple[float | None, float | None]:
    height = abs(now.formed)
    if height <= 0.0:
        return None, None
    return height * p.stop_heights, height * p.profit_heights


def tag(now: Row, p: Params) -> str:
    return "gap up" if now.formed > 0.0 else "gap down"
