"""Price gaps of all candles at once: what ``trading.features.price_gap.step`` makes of each, in compiled code.

That step keeps the gaps that are open in a tuple of any length, which Numba does not know. Here they are rows of a
table with room for all that ``memory`` allows.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backtest.sweep.kernel import program
from trading.candle_series import CandleSeries
from trading.candles import UNIT
from trading.features.price_gap import Params
from trading.gaps.detector import GapMode

__all__ = ["gap_columns", "takes"]

_MOST_EXACT = 2**53
_STRICT, _BODY, _OPEN, _B2DIR = range(4)
_CODES = {GapMode.STRICT: _STRICT, GapMode.BODY: _BODY, GapMode.OPEN: _OPEN, GapMode.B2DIR: _B2DIR}


def takes(series: CandleSeries) -> bool:
    """Whether a hundred times any price is a whole number that a float holds, as sizes in percent are compared."""
    return not len(series) or int(series.high.max()) * 100 < _MOST_EXACT


def gap_columns(
    series: CandleSeries, whole: NDArray[np.bool_], starts: Sequence[int], k: Params, outputs: Sequence[int]
) -> list[NDArray[np.float64]]:
    """These ``outputs`` of price gaps with parameters ``k`` at the close of each candle, NaN where they are not known.

    Candles that are not ``whole`` tell nothing, and at each of ``starts`` everything before is forgotten.
    """
    is_start = np.zeros(len(series), np.bool_)
    is_start[list(starts)] = True
    bars = np.stack([series.open, series.high, series.low, series.close])
    # Only who asks for a gap that is open pays for the list of these.
    found = np.full((5 if any(outputs) else 1, len(series)), np.nan)
    run = program.loaded(
        program.name_of("gaps", _RUN, inspect.getsource(sys.modules[__name__])), _RUN, lambda: {"gaps": gaps}
    ).run
    # A copy: what is read-only has another type, and would be compiled again.
    times = np.stack([series.open_time_ms, series.close_time_ms])
    run(bars, times, whole, is_start, _CODES[GapMode(k.mode)], float(k.min_percent), k.memory, found)
    return [found[output] for output in outputs]


@njit
def gaps(bars: Any, times: Any, whole: Any, is_start: Any, mode: int, least: float, memory: int, found: Any) -> None:
    """Fill ``found`` for each candle: the signed size of the gap it makes, and if it has more rows side, low, high and
    age of the nearest open one.

    ``bars`` are open, high, low and close at 10**-8, ``times`` open and close.
    """
    opened = np.empty((memory + 1, 4), np.int64)
    count = seen = 0
    b1 = b2 = -1
    for i in range(bars.shape[1]):
        if is_start[i]:
            count = seen = 0
        if not whole[i]:
            continue
        close = bars[3, i]
        if len(found) > 1:
            count = _kept(opened, count, bars[1, i], bars[2, i], memory)
        formed = 0.0
        if seen >= 2 and times[0, i] == times[1, b2] and times[0, b2] == times[1, b1]:
            side, low, high = _zone(bars, b1, b2, i, mode)
            if side != 0 and np.float64((high - low) * 100) >= least * np.float64(close):
                formed = side * (np.float64(high - low) / np.float64(UNIT))
                if len(found) > 1:
                    opened[count, 0], opened[count, 1], opened[count, 2], opened[count, 3] = side, low, high, 0
                    count += 1
        b1, b2 = b2, i
        seen += 1
        if seen >= 3:
            found[0, i] = formed
            if len(found) > 1:
                _tell_nearest(opened, count, close, found[1:, i])


@njit
def _zone(bars: Any, b1: int, b2: int, b3: int, mode: int) -> Any:
    """Side, low and high of the gap that three candles leave, as ``trading.gaps.detector`` says; side 0: none."""
    if mode == _BODY:
        low1, high1 = min(bars[0, b1], bars[3, b1]), max(bars[0, b1], bars[3, b1])
        low2, high2 = min(bars[0, b2], bars[3, b2]), max(bars[0, b2], bars[3, b2])
        low3, high3 = min(bars[0, b3], bars[3, b3]), max(bars[0, b3], bars[3, b3])
    else:
        low1, high1 = bars[2, b1], bars[1, b1]
        low2, high2 = bars[2, b2], bars[1, b2]
        low3, high3 = bars[2, b3], bars[1, b3]
    if mode in (_STRICT, _BODY) and (low2 > high1 or high2 < low1):
        return 0, low1, low1
    if mode == _OPEN:
        low3 = high3 = bars[0, b3]
    low, high = (low1, high1) if mode == _B2DIR else (low2, high2)
    side = 0
    if low3 > high:
        side, low, high = 1, high, low3
    elif high3 < low:
        side, low, high = -1, high3, low
    if mode == _B2DIR:
        way = bars[3, b2] - bars[0, b2]
        if way == 0 or (way > 0) != (side > 0):
            side = 0
    return side, low, high


@njit
def _kept(opened: Any, count: int, top: int, bottom: int, memory: int) -> Any:
    """Drop the gaps that are filled, or forgotten, by a candle between these prices; returns how many are left."""
    left = 0
    for n in range(count):
        age = opened[n, 3] + 1
        if age < memory and (bottom > opened[n, 1] if opened[n, 0] > 0 else top < opened[n, 2]):
            opened[left, 0], opened[left, 1], opened[left, 2], opened[left, 3] = (
                opened[n, 0], opened[n, 1], opened[n, 2], age,
            )  # fmt: skip
            left += 1
    return left


@njit
def _tell_nearest(opened: Any, count: int, close: int, told: Any) -> None:
    """Put side, low, high and age of the gap nearest to ``close``, of two as near the newer one, into ``told``; 0 where
    there is none.
    """
    near = best = -1
    for n in range(count):
        away = max(opened[n, 1] - close, close - opened[n, 2], 0)
        if best < 0 or away <= best:
            near, best = n, away
    for n in range(4):
        told[n] = 0.0 if near < 0 else np.float64(opened[near, n])
    told[1] /= np.float64(UNIT)
    told[2] /= np.float64(UNIT)


_RUN = """
from numba import njit


@njit(cache=True)
def run(bars, times, whole, is_start, mode, least, memory, found):
    gaps(bars, times, whole, is_start, mode, least, memory, found)
"""
