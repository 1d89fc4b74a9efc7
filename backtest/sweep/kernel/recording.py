"""Columns of features that programs do not compute: each is computed once and kept for the combinations that read it.

What can be compiled is. Price gaps, which keep a list, have compiled code of their own; all else is done by the very
code that trades live, candle by candle. A program copies the values of the candles that it is at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from backtest.minutes import Minutes
from backtest.sources import Source
from backtest.sweep.kernel import gap_columns, lane_columns
from backtest.sweep.kernel.tape import missing_ends, starts_of, told_on
from trading.candle_columns import Integers
from trading.candle_series import CandleSeries
from trading.candles import Candle
from trading.features.contract import Feature, FeatureTrack
from trading.features.price_gap import PRICE_GAP
from trading.intervals import MINUTE

__all__ = ["MOST_BYTES", "Recordings"]

MOST_BYTES = 2**27
"""How much memory the columns of a source take at most; more only where one combination reads as many."""


class _Lane:
    """The candles of one interval, and what of them is known at the close of each candle that is decided on."""

    def __init__(self, candles: Sequence[Candle], missing_ms: Integers, at_ms: Integers) -> None:
        """``missing_ms`` are the ends of missing minutes, ``at_ms`` the closes of the candles that are decided on."""
        self.series = series = CandleSeries.of(candles)
        self._refused: set[str] = set()
        close_ms = series.close_time_ms
        # A minute is there or it is not.
        is_minute = series.interval == MINUTE.name
        self._whole = (
            np.ones(len(series), np.bool_) if is_minute else np.array([candle.complete for candle in candles], np.bool_)
        )
        self._starts = starts_of(close_ms, self._whole, missing_ms)
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

    def values(self, whole: Feature, outputs: Sequence[int]) -> list[NDArray[np.float64]]:
        """These ``outputs`` of the feature ``whole`` at the close of each candle here, NaN where it is not known."""
        if whole.definition is PRICE_GAP and gap_columns.takes(self.series):
            return gap_columns.gap_columns(self.series, self._whole, self._starts, whole.params, outputs)
        if whole.kind not in self._refused and lane_columns.takes(whole, self.series):
            try:
                starts = np.array(self._starts, np.int64)
                found = lane_columns.lane_columns(whole, self.series, self._whole, starts)
                return [found[output] for output in outputs]
            except (NumbaError, TypeError, AssertionError, NotImplementedError):
                # Numba means to raise the first alone.
                self._refused.add(whole.kind)
        return self._candle_by_candle(whole, outputs)

    def _candle_by_candle(self, whole: Feature, outputs: Sequence[int]) -> list[NDArray[np.float64]]:
        track = FeatureTrack(whole.here)
        found = np.full((len(outputs), len(self.series)), np.nan)
        is_many = bool(whole.definition.outputs)
        starts = frozenset(self._starts)
        for place, (candle, is_whole) in enumerate(zip(self.series, self._whole.tolist(), strict=True)):
            if place in starts:
                track.reset()
            if not is_whole:
                continue
            track.update(candle)
            if track.have < track.need:
                continue
            if is_many:
                for row, output in enumerate(outputs):
                    found[row, place] = track.raw[output]
            elif track.value is not None:
                found[0, place] = track.value
        return list(found)


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
        lane, names = self._lane(whole.interval or self._interval), whole.definition.outputs
        outputs = [names.index(feature.output) if feature.output else 0 for feature in features]
        for feature, values in zip(features, lane.values(whole, outputs), strict=True):
            slot = len(self._slots) if len(self._slots) < self.most else self._slots.popitem(last=False)[1]
            self.pool[slot] = lane.spread(values)
            self._slots[feature] = slot

    def _lane(self, interval: str) -> _Lane:
        if interval not in self._lanes:
            candles = told_on(self._source, Minutes(self._source.candles), interval)
            self._lanes[interval] = _Lane(candles, missing_ends(self._source), self._at_ms)
        return self._lanes[interval]
