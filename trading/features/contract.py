"""What a feature is: a scalar recurrence over closed candles, its parameters, and its live evaluator.

A feature's ``step(state, candle, leaving, k)`` returns the next state and the value. ``candle`` has the integer fields
``open``, ``high``, ``low``, ``close`` and ``volume`` at 10**-8, ``k`` is the parameter NamedTuple, ``state`` a scalar
or a tuple of scalars, and ``leaving`` the window's input that falls out now (0 while the window fills, or when the
feature has no window). Steps use only + − × ÷ sqrt min max abs and comparisons, so that the same function can be
compiled and still gives the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trading.candles import Candle
from trading.invariants import require
from trading.parameters import Range, read_params

__all__ = ["Feature", "FeatureDef", "FeatureTrack"]


@dataclass(frozen=True, slots=True)
class FeatureDef:
    """One kind of feature.

    ``need(k)`` candles give the first value; ``history(k)`` candles, replayed from nothing, give the very bits of a run
    that never stopped. ``window(k)`` is the number of candles after which an input leaves again (0: no window) and
    ``window_field`` the candle field that is kept for it.
    """

    kind: str
    params: type[Any]
    ranges: Mapping[str, Range]
    start: Any
    step: Callable[[Any, Any, int, Any], tuple[Any, float]]
    need: Callable[[Any], int]
    history: Callable[[Any], int]
    window: Callable[[Any], int]
    window_field: str = "close"

    def bind(self, params: Mapping[str, object]) -> Feature:
        """The feature with these parameters; BadInput names a bad one."""
        return Feature(self.kind, read_params(self.kind, self.params, self.ranges, params), self)


@dataclass(frozen=True, slots=True)
class Feature:
    """A kind with its parameters. Two are equal when kind and parameters are; equal ones are computed once a lane."""

    kind: str
    params: Any
    definition: FeatureDef = field(compare=False, repr=False)

    @property
    def need(self) -> int:
        """Candles until the first value."""
        return self.definition.need(self.params)

    @property
    def history(self) -> int:
        """Candles to replay so that a restart gives the same bits as no restart."""
        return self.definition.history(self.params)

    def params_dict(self) -> dict[str, int | float]:
        result: dict[str, int | float] = self.params._asdict()
        return result


class FeatureTrack:
    """The live evaluator of one feature on one lane. ``value`` is None until ``have`` candles are ``need``."""

    __slots__ = (
        "_field",
        "_params",
        "_start",
        "_state",
        "_step",
        "_window",
        "_window_size",
        "feature",
        "have",
        "need",
        "value",
    )

    def __init__(self, feature: Feature) -> None:
        definition = feature.definition
        self.feature = feature
        self.need = feature.need
        self._params = feature.params
        self._step = definition.step
        self._start = definition.start
        self._window_size = definition.window(feature.params)
        self._field = Candle._fields.index(definition.window_field)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next candle is the first."""
        self._state = self._start
        self._window: deque[int] = deque()
        self.have = 0
        self.value: float | None = None

    def update(self, candle: Candle) -> float | None:
        """Step over one closed, complete candle and return the value, or None while warming."""
        leaving = 0
        if self._window_size:
            window = self._window
            if len(window) == self._window_size:
                leaving = window.popleft()
            window.append(candle[self._field])  # type: ignore[arg-type]
        self._state, value = self._step(self._state, candle, leaving, self._params)
        if self.have < self.need:
            self.have += 1
            if self.have < self.need:
                return None
        self.value = value
        return value

    def validate(self) -> None:
        """Raise AssertionError if the evaluator contradicts itself."""
        require(0 <= self.have <= self.need, self.feature, self.have)
        require((self.value is None) == (self.have < self.need), self.feature, self.have, self.value)
        require(len(self._window) <= self._window_size, self.feature, len(self._window))
