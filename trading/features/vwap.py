"""The volume-weighted average price of a session, with bands.

The sums run from the session's first candle, the first one that opens at or after its start, whatever came before; so
every run that saw the start has the same bits. A run that began within a session has no value until the next.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import SessionStart
from trading.features.sessions import SESSION, ZONE, longest_ms, session_bounds
from trading.parameters import Range

__all__ = ["VWAP", "vwap"]


class Params(NamedTuple):
    width: float = 2.0
    session: str = "day"
    zone: str = "UTC"


class State(NamedTuple):
    """The session's start, whether it was seen whole, and its sums over prices less ``base``, its first price."""

    session: int
    whole: int
    base: float
    volume: float
    first: float
    second: float


def step(state: State, candle: Any, start_ms: int, k: Params) -> tuple[State, tuple[float, ...]]:
    """Return the average and the bands ``width`` weighted deviations around it; not defined before any volume."""
    session, whole, base, volume, first, second = state
    price = (candle.high + candle.low + candle.close) / (3 * UNIT)
    if start_ms != session or session == 0:
        whole = 1 if session or candle.open_time_ms == start_ms else 0
        base, volume, first, second = price, 0.0, 0.0, 0.0
    traded, away = candle.volume / UNIT, price - base
    volume += traded
    first += traded * away
    second += traded * away * away
    state = State(start_ms, whole, base, volume, first, second)
    if not whole or volume <= 0.0:
        return state, (nan, nan, nan)
    mean = first / volume
    reach = k.width * sqrt(max(second / volume - mean * mean, 0.0))
    return state, (base + mean, base + mean + reach, base + mean - reach)


VWAP = FeatureDef(
    kind="vwap",
    params=Params,
    ranges={"width": Range(0.0, 100.0), "session": SESSION, "zone": ZONE},
    start=State(0, 0, 0.0, 0.0, 0.0, 0.0),
    step=step,
    need=lambda _k: 1,
    history=lambda _k: 2,
    outputs=("vwap", "upper", "lower"),
    source=lambda k: SessionStart(session_bounds(k.session, k.zone)),
    span_ms=lambda k: longest_ms(k.session),
)


def vwap(width: float = 2.0, session: str = "day", zone: str = "UTC") -> Feature:
    """Session VWAP of (high + low + close) / 3: outputs vwap, upper and lower."""
    return VWAP.bind({"width": width, "session": session, "zone": zone})
