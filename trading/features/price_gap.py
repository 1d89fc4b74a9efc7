"""Price gaps as a feature: the one that a candle makes, and the nearest one that is still open.

The detector is that of ``trading.gaps``; a gap is known at the close of its third candle and never before. It is open
until a later candle reaches its far edge, or for ``memory`` candles, so that nothing depends on what lies further back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.candles import UNIT, Candle
from trading.features.contract import Feature, FeatureDef
from trading.gaps.detector import DEFAULT_MODE, GapMode, GapType, examine
from trading.parameters import Range, Words

__all__ = ["PRICE_GAP", "price_gap"]


class Params(NamedTuple):
    mode: str = DEFAULT_MODE.value
    min_percent: float = 0.0
    memory: int = 500


class Gap(NamedTuple):
    """One that is open: ``side`` is 1 where the price left it upwards and −1 downwards; edges at 10**-8."""

    side: int
    low: int
    high: int
    age: int


class State(NamedTuple):
    """The last two candles and the gaps that are open, oldest first."""

    b1: Candle | None
    b2: Candle | None
    gaps: tuple[Gap, ...]


def step(state: State, candle: Any, _beside: object, k: Params) -> tuple[State, tuple[float, ...]]:
    """Return the signed size of the gap that ``candle`` makes (0: none) and side, low, high and age of the nearest."""
    b1, b2, gaps = state
    gaps = tuple(
        gap._replace(age=gap.age + 1)
        for gap in gaps
        if gap.age + 1 < k.memory and (candle.low > gap.low if gap.side > 0 else candle.high < gap.high)
    )
    formed = 0.0
    if b1 is not None and b2 is not None:
        zone = examine(b1, b2, candle, GapMode(k.mode)).zone
        if zone is not None and zone.size * 100 >= k.min_percent * candle.close:
            side = 1 if zone.type is GapType.UP else -1
            gaps = (*gaps, Gap(side, zone.low, zone.high, 0))
            formed = side * (zone.size / UNIT)
    state = State(b2, candle, gaps)
    near: Gap | None = None
    best = -1
    for gap in gaps:
        away = max(gap.low - candle.close, candle.close - gap.high, 0)
        # Of two as near, the newer one.
        if best < 0 or away <= best:
            near, best = gap, away
    if near is None:
        return state, (formed, 0.0, 0.0, 0.0, 0.0)
    return state, (formed, float(near.side), near.low / UNIT, near.high / UNIT, float(near.age))


PRICE_GAP = FeatureDef(
    kind="price_gap",
    params=Params,
    ranges={
        "mode": Words.of(*(mode.value for mode in GapMode)),
        "min_percent": Range(0.0, 100.0),
        "memory": Range(1, 10_000),
    },
    start=State(None, None, ()),
    step=step,
    need=lambda _k: 3,
    history=lambda k: k.memory + 3,
    outputs=("formed", "side", "low", "high", "age"),
)


def price_gap(mode: str = DEFAULT_MODE.value, min_percent: float = 0.0, memory: int = 500) -> Feature:
    """Outputs formed (signed size of a gap made now), and side, low, high and age of the nearest open gap; 0: none."""
    return PRICE_GAP.bind({"mode": mode, "min_percent": min_percent, "memory": memory})
