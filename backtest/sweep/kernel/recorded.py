"""Which features programs do not compute, and what they read in place of one.

These are features of other intervals, that follow sessions, take words, or keep more than a row of numbers; and those
of volumes so large that sums of them are not exact in compiled code.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import Leaving, Recent
from trading.parameters import Range

__all__ = ["RECORDED", "Recorded", "as_read", "is_compiled"]


# A float holds every whole number below.
_MOST_EXACT = 2**53


class Recorded(NamedTuple):
    """The parameter of a column that is recorded: the feature whose values it has."""

    feature: Feature


def step(state: int, _candle: Any, beside: float, _k: Any) -> tuple[int, float]:
    """The value is the one that was recorded."""
    return state, beside


RECORDED = FeatureDef(
    kind="recorded column",
    params=Recorded,
    ranges={"feature": Range(0, 0)},
    start=0,
    step=step,
    need=lambda _k: 0,
    history=lambda _k: 0,
)
"""What a program takes for each feature that it does not compute."""


def as_read(feature: Feature, most_volume: int) -> Feature:
    """``feature`` as a program knows it, where no candle's volume is above ``most_volume`` at 10**-8: itself, or the
    column that is recorded of it.
    """
    if not feature.interval and is_compiled(feature, most_volume):
        return feature
    return Feature(RECORDED.kind, Recorded(feature), RECORDED)


def is_compiled(feature: Feature, most_volume: int) -> bool:
    """Whether compiled code computes ``feature`` of the candles of its interval, none of more than ``most_volume``."""
    definition = feature.definition
    return (
        (most_volume * (feature.need + 1) < _MOST_EXACT or not _reads_volume(definition.step))
        and all(isinstance(allowed, Range) for allowed in definition.ranges.values())
        and isinstance(definition.source_of(feature.params), Leaving | Recent | None)
        and _is_flat(definition.start(feature.params) if callable(definition.start) else definition.start)
    )


@cache
def _reads_volume(function: FunctionType) -> bool:
    """Whether a step, or a function that it calls, names the volume of a candle."""
    names = function.__code__.co_names
    called = (function.__globals__.get(name) for name in names)
    return "volume" in names or any(
        _reads_volume(item) for item in called if isinstance(item, FunctionType) and item is not function
    )


def _is_flat(start: object) -> bool:
    """Whether a state is a number, or a tuple of such."""
    return all(isinstance(part, int | float) for part in (start if isinstance(start, tuple) else (start,)))
