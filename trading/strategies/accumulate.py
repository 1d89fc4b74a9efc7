"""Buys the same small amount each time RSI falls below ``rsi_low``, and keeps it.

Every purchase is a lot of its own. It stops at ``max_lots``, because each signal names every lot that is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.momentum import rsi
from trading.parameters import Range
from trading.plan import Lot


class Params(NamedTuple):
    """``quote`` is spent at each purchase, in quote currency."""

    quote: float = 25.0
    rsi_period: int = 14
    rsi_low: float = 30.0
    max_lots: int = 40


RANGES = {
    "quote": Range(1.0, 1_000_000.0),
    "rsi_period": Range(2, 1_000),
    "rsi_low": Range(0.0, 100.0),
    "max_lots": Range(1, 200),
}


class Row(NamedTuple):
    close: float
    rsi: float


class State(NamedTuple):
    """``low`` is 1 while RSI is below the level: it buys where RSI enters, not at each candle there."""

    lots: tuple[Lot, ...] = ()
    low: int = 0


def features(p: Params) -> Mapping[str, Feature]:
    return {"rsi": rsi(p.rsi_period)}


def warmup(p: Params) -> int:
    return p.rsi_period + 1


def step(state: State, now: Row, p: Params) -> State:
    if now.rsi >= p.rsi_low:
        return State(state.lots, 0)
    if state.low or len(state.lots) >= p.max_lots:
        return State(state.lots, 1)
    return State((*state.lots, Lot(quote=p.quote, price=now.close)), 1)


def tag(now: Row, p: Params) -> str:
    return "accumulate"
