"""Columns of features that programs do not compute: those of other intervals, that follow sessions, take words, or keep
more than a row of numbers.

Each is computed once by the very code that trades live, candle by candle, and kept for the combinations that read it. A
program copies the values of the candles that it is at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest.minutes import Minutes
from backtest.sources import Source
from backtest.sweep.kernel.tape import missing_ends, starts_of, told_on
from trading.candle_columns import Integers
from trading.candles import Candle
from trading.features.contract import Feature, FeatureDef, FeatureTrack
from trading.features.inputs import Leaving, Recent
from trading.parameters import Range

__all__ = ["MOST_BYTES", "RECORDED", "Recorded", "Recordings", "as_read"]

MOST_BYTES = 2**27
"""How much memory the columns of a source take at most; more only where one combination reads as many."""


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


def as_read(feature: Feature) -> Feature:
    """``feature`` as a program knows it: itself, or the column that is recorded of it."""
    return Feature(RECORDED.kind, Recorded(feature), RECORDED) if _is_recorded(feature) else feature


def _is_recorded(feature: Feature) -> bool:
    definition = feature.definition
    return (
        bool(feature.interval)
        or not all(isinstance(allowed, Range) for allowed in definition.ranges.values())
        or not isinstance(definition.source_of(feature.params), Leaving | Recent | None)
        or not _is_flat(definition.start(feature.params) if callable(definition.start) else definition.start)
    )


def _is_flat(start: object) -> bool:
    """Whether a state is a number, or a tuple of such."""
    return all(isinstance(part, int | float) for part in (start if isinstance(start, tuple) else (start,)))


class _Lane:
    """The candles of one interval, and what of them is known at the close of each candle that is decided on."""

    def __init__(self, candles: Sequence[Candle], missing_ms: Integers, at_ms: Integers) -> None:
        """``missing_ms`` are the ends of missing minutes, ``at_ms`` the closes of the candles that are decided on."""
        self.candles = candles
        close_ms = np.array([candle.close_time_ms for candle in candles], np.int64)
        whole = np.array([candle.complete for candle in candles], np.bool_)
        self._starts = frozenset(starts_of(close_ms, whole, missing_ms))
        self._newest = np.searchsorted(close_ms, at_ms, side="right") - 1
        # A hole is told before what closes at its end: whatever was known until then is forgotten.
        last = np.searchsorted(missing_ms, at_ms, side="right") - 1
        forgotten_ms = np.where(last >= 0, missing_ms[np.maximum(last, 0)], -1) if len(missing_ms) else np.int64(-1)
        closed_ms = close_ms[np.maximum(self._newest, 0)] if len(close_ms) else np.zeros(len(at_ms), np.int64)
        self._is_known = (self._newest >= 0) & (closed_ms >= forgotten_ms)

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of ``values``, one for each candle here, the one known at each candle that is decided on; NaN for none."""
        if not len(values):
            return np.full(len(self._newest), np.nan)
        return np.where(self._is_known, values[np.maximum(self._newest, 0)], np.nan)

    def values(self, feature: Feature) -> list[NDArray[np.float64]]:
        """Every output of ``feature`` at the close of each candle here, NaN where it is not known."""
        track = FeatureTrack(feature.whole.here)
        count = max(1, len(feature.definition.outputs))
        found = np.full((len(self.candles), count), np.nan)
        is_many = bool(feature.definition.outputs)
        for place, candle in enumerate(self.candles):
            if place in self._starts:
                track.reset()
            if not candle.complete:
                continue
            track.update(candle)
            if track.have == track.need:
                found[place] = track.raw if is_many else np.nan if track.value is None else track.value
        return list(np.ascontiguousarray(found.T))


class Recordings:
    """The columns of one source that were recorded, as many as fit into a fixed amount of memory.

    Guarantees: a column holds, bit for bit, what the reference engine reads of its feature at each candle that is
    decided on. Those held last are kept; which are asked for together must be no more than ``most``.
    """

    def __init__(
        self, source: Source, interval: str, at_ms: Integers, least: int = 1, most_bytes: int = MOST_BYTES
    ) -> None:
        """``at_ms`` are the closes of the candles that are decided on, of ``interval``. Room is made for as many
        columns as ``most_bytes`` hold, and at least for ``least``.
        """
        self._source, self._interval, self._at_ms = source, interval, at_ms
        self._lanes: dict[str, _Lane] = {}
        self._slots: OrderedDict[Feature, int] = OrderedDict()
        self.most = max(least, most_bytes // (8 * max(1, len(at_ms))))

    @cached_property
    def pool(self) -> NDArray[np.float64]:
        """A row for each slot, with a value for each candle that is decided on."""
        return np.empty((self.most, len(self._at_ms)))

    def hold(self, features: Iterable[Feature]) -> dict[Feature, int]:
        """The slots of these ``features``, at most ``most``; whatever the features raise is raised."""
        wanted = dict.fromkeys(features)
        for feature in wanted:
            if feature in self._slots:
                self._slots.move_to_end(feature)
        lacking: dict[Feature, list[Feature]] = {}
        for feature in wanted:
            if feature not in self._slots:
                lacking.setdefault(feature.whole, []).append(feature)
        for whole, outputs in lacking.items():
            self._record(whole, outputs)
        return {feature: self._slots[feature] for feature in wanted}

    def _record(self, whole: Feature, features: Sequence[Feature]) -> None:
        """Compute ``whole`` and keep what those of ``features`` read, which differ in the output alone."""
        lane = self._lane(whole.interval or self._interval)
        values, names = lane.values(whole), whole.definition.outputs
        for feature in features:
            slot = len(self._slots) if len(self._slots) < self.most else self._slots.popitem(last=False)[1]
            self.pool[slot] = lane.spread(values[names.index(feature.output) if feature.output else 0])
            self._slots[feature] = slot

    def _lane(self, interval: str) -> _Lane:
        if interval not in self._lanes:
            candles = told_on(self._source, Minutes(self._source.candles), interval)
            self._lanes[interval] = _Lane(candles, missing_ends(self._source), self._at_ms)
        return self._lanes[interval]
