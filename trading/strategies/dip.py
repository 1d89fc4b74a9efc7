"""Buys dips in lots: each ``dip_pct`` below the highest price since the last buy, each sold at its own profit.

A lot takes its profit within the candle that reaches it. With ``max_lots: 1`` the next one waits until it is sold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.extremes import highest
from trading.parameters import Range
from trading.plan import Lot


class Params(NamedTuple):
    """All in percent: of the peak, of a lot's price, and of what the instance may put in."""

    dip_pct: float = 0.5
    take_profit_pct: float = 0.8
    max_lots: int = 15
    percent_per_lot: float = 1.5


RANGES = {
    "dip_pct": Range(0.01, 90.0),
    "take_profit_pct": Range(0.01, 1_000.0),
    "max_lots": Range(1, 100),
    "percent_per_lot": Range(0.01, 100.0),
}


class Row(NamedTuple):
    close: float
    high: float


class State(NamedTuple):
    """``peak`` is the highest price since the last buy, 0 before the first candle."""

    lots: tuple[Lot, ...] = ()
    peak: float = 0.0


def features(p: Params) -> Mapping[str, Feature]:
    return {"high": highest(1)}


def warmup(p: Params) -> int:
    return 1


def step(state: State, now: Row, p: Params) -> State:
    # The book measures a lot's profit from what it was really bought at; here it is the close that decided.
    lots = tuple(lot for lot in state.lots if now.high < lot.price + (lot.profit_distance or 0.0))
    peak = max(state.peak, now.high)
    if len(lots) >= p.max_lots or now.close > peak * (1.0 - p.dip_pct / 100.0):
        return State(lots, peak)
    fresh = Lot(share=p.percent_per_lot / 100.0, price=now.close, profit_distance=now.close * p.take_profit_pct / 100.0)
    return State((*lots, fresh), now.close)


def tag(now: Row, p: Params) -> str:
    return "dip"
