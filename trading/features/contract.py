"""What a feature is: a scalar recurrence over closed candles, its parameters, and its live evaluator.

A feature's ``step(state, candle, beside, k)`` returns the next state and the value, or a tuple of values when the
feature has several ``outputs``. ``candle`` has the integer fields ``open``, ``high``, ``low``, ``close`` and ``volume``
at 10**-8, ``k`` is the parameter NamedTuple, ``state`` a scalar or a tuple of scalars, and ``beside`` what else the
feature asked to be told (``trading.features.inputs``): the input that leaves its window, the whole window, or when the
session began. A value of NaN means that it is not defined now. Steps use only + − × ÷ sqrt min max abs and comparisons,
so that the same function can be compiled and still gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trading.candles import Candle
from trading.errors import BadInput
from trading.features.inputs import Leaving, Recent, Source
from trading.intervals import longer_interval, parse_interval
from trading.invariants import require
from trading.parameters import Kind, nearest, read_params

__all__ = ["Feature", "FeatureDef", "FeatureTrack", "Output"]

_MOST_TIMES = 1_000


def _no_window(_k: Any) -> int:
    return 0


def _any(_k: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class FeatureDef:
    """One kind of feature.

    ``need(k)`` candles give the first value; ``history(k)`` candles, and the ``span_ms(k)`` before now, replayed from
    nothing, give the very bits of a run that never stopped. ``start`` is the first state, or a function of ``k`` that
    makes it. ``window(k)`` is the number of candles after which an input leaves again (0: no window) and
    ``window_field`` the candle field that is kept for it; ``source(k)`` asks for something else beside the candle.
    ``outputs`` names the values of a feature that has several: they begin together, and the first is the one meant
    when none is named. ``check(k)`` raises BadInput for parameters that do not go together.
    """

    kind: str
    params: type[Any]
    ranges: Mapping[str, Kind]
    start: Any
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    need: Callable[[Any], int]
    history: Callable[[Any], int]
    window: Callable[[Any], int] = _no_window
    window_field: str = "close"
    outputs: tuple[str, ...] = ()
    source: Callable[[Any], Source] | None = None
    span_ms: Callable[[Any], int] = _no_window
    check: Callable[[Any], None] = _any

    def bind(self, params: Mapping[str, object], output: str = "") -> Feature:
        """The feature with these parameters; BadInput names a bad one."""
        k = read_params(self.kind, self.params, self.ranges, params)
        self.check(k)
        feature = Feature(self.kind, k, self)
        return feature[output] if output else feature

    def source_of(self, k: Any) -> Source | None:
        """Where the feature's ``beside`` comes from; None when it wants nothing."""
        if self.source is not None:
            return self.source(k)
        size = self.window(k)
        return Leaving(self.window_field, size) if size else None


@dataclass(frozen=True, slots=True)
class Feature:
    """A kind with its parameters, and the output that is meant. Equal ones are computed once a lane.

    ``interval`` names the candles that it is computed on; empty: those that the strategy decides on, or with a
    ``multiple`` above 1 the longer ones that ``for_interval`` finds.
    """

    kind: str
    params: Any
    definition: FeatureDef = field(compare=False, repr=False)
    output: str = ""
    interval: str = ""
    multiple: int = 1

    def on(self, interval: str) -> Feature:
        """The same feature of other candles: ``ema(50).on("4h")`` in a strategy that decides on ``1h``.

        At the close of a candle it has the value of the newest ``interval`` candle that has closed by then.
        """
        return replace(self, interval=parse_interval(interval).name, multiple=1)

    def on_multiple(self, times: int) -> Feature:
        """The same feature of candles ``times`` as long as those the strategy decides on, whichever these are.

        Of the intervals that have a name on charts: the shortest that is at least so long. 1 means its own.
        """
        if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= _MOST_TIMES:
            fix = f"Use a whole number from 1 to {_MOST_TIMES}."
            raise BadInput(f"on_multiple({times!r}) is no multiple.", field="times", value=times, fix=fix)
        return replace(self, interval="", multiple=times)

    def for_interval(self, interval: str) -> Feature:
        """What it is for a strategy that decides on ``interval``; BadInput when no interval is long enough."""
        return self if self.multiple == 1 else self.on(longer_interval(interval, self.multiple))

    @property
    def here(self) -> Feature:
        """The same feature as its own interval computes it."""
        return replace(self, interval="", multiple=1) if self.interval or self.multiple > 1 else self

    def __getitem__(self, output: str) -> Feature:
        """The same feature, read at ``output``: ``macd(12, 26, 9)["signal"]``."""
        outputs = self.definition.outputs
        if output not in outputs:
            fix = nearest(output, outputs) if outputs else f"{self.kind} has a single value: name no output."
            raise BadInput(f"{self.kind} has no output {output!r}.", field="output", value=output, fix=fix)
        return replace(self, output="" if output == outputs[0] else output)

    @property
    def whole(self) -> Feature:
        """What is computed for this feature and shared by all that differ in the output alone."""
        return replace(self, output="") if self.output else self

    @property
    def need(self) -> int:
        """Candles until the first value."""
        return self.definition.need(self.params)

    @property
    def history(self) -> int:
        """Candles to replay so that a restart gives the same bits as no restart, beside the time ``span_ms``."""
        return self.definition.history(self.params)

    @property
    def span_ms(self) -> int:
        """How far back the replay must reach at least, whatever the candles' width."""
        return self.definition.span_ms(self.params)

    def history_of(self, width_ms: int) -> int:
        """Candles of ``width_ms`` to replay: ``history`` of them, or as many as ``span_ms`` holds."""
        span = self.span_ms
        return max(self.history, -(-span // width_ms) + 2) if span else self.history

    def params_dict(self) -> dict[str, int | float | str]:
        result: dict[str, int | float | str] = self.params._asdict()
        return result


class FeatureTrack:
    """The live evaluator of one feature on one lane. ``value`` is None until ``have`` candles are ``need``.

    It is also None where the feature is not defined, such as a volume-weighted price of no volume. ``raw`` holds every
    output of the newest candle.
    """

    __slots__ = ("_index", "_next", "_params", "_source", "_start", "_state", "_step", "feature", "have", "need", "raw",
                 "value")  # fmt: skip

    def __init__(self, feature: Feature) -> None:
        definition = feature.definition
        self.feature = feature
        self.need = feature.need
        self._params = feature.params
        self._step = definition.step
        self._start = definition.start(feature.params) if callable(definition.start) else definition.start
        self._source = definition.source_of(feature.params)
        self._next = None if self._source is None else self._source.next
        self._index = definition.outputs.index(feature.output or definition.outputs[0]) if definition.outputs else None
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next candle is the first."""
        self._state = self._start
        if self._source is not None:
            self._source.reset()
        self.have = 0
        self.raw: Any = None
        self.value: float | None = None

    def update(self, candle: Candle) -> float | None:
        """Step over one closed, complete candle and return the value, or None while warming."""
        beside = 0 if self._next is None else self._next(candle)
        self._state, value = self._step(self._state, candle, beside, self._params)
        if self.have < self.need:
            self.have += 1
            if self.have < self.need:
                return None
        if self._index is not None:
            self.raw = value
            value = value[self._index]
        # Only NaN differs from itself.
        self.value = None if value != value else value  # noqa: PLR0124
        return self.value

    def validate(self) -> None:
        """Raise AssertionError if the evaluator contradicts itself."""
        require(0 <= self.have <= self.need, self.feature, self.have)
        require(self.value is None or self.have == self.need, self.feature, self.have, self.value)
        if isinstance(self._source, Leaving | Recent):
            self._source.validate()


class Output:
    """One output of a feature that others share: reads its ``FeatureTrack`` and keeps nothing."""

    __slots__ = ("_index", "feature", "track")

    def __init__(self, feature: Feature, track: FeatureTrack) -> None:
        self.feature = feature
        self.track = track
        self._index = feature.definition.outputs.index(feature.output)

    @property
    def have(self) -> int:
        return self.track.have

    @property
    def need(self) -> int:
        return self.track.need

    @property
    def value(self) -> float | None:
        if self.track.raw is None:
            return None
        value: float = self.track.raw[self._index]
        return None if value != value else value  # noqa: PLR0124 - only NaN differs from itself
