"""What the programs of all strategies share: the candle that a step sees, and features that running totals give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backtest.sweep.kernel.exact import divided, fused, times, whole
from trading.candle_columns import Integers
from trading.candles import UNIT, Candle
from trading.features.contract import Feature
from trading.features.inputs import Recent

__all__ = ["Bar", "Kind", "Totals", "bands", "kind_table", "means", "recent_fields", "recorded", "table"]

_FIRST = Candle._fields.index("open")


class Bar(NamedTuple):
    """A candle as a compiled step sees it: prices are whole numbers of the program's unit, volume of 10**-8."""

    open: int
    high: int
    low: int
    close: int
    volume: int


class Kind(NamedTuple):
    """The distinct parameters of one kind of feature: a row for each, its whole numbers apart from the others.

    ``size`` is the window's, ``need`` how many candles give the first value, ``column`` where the first of its
    ``outputs`` goes.
    """

    whole: Integers
    real: NDArray[np.float64]
    state_whole: Integers
    state_real: NDArray[np.float64]
    start_whole: Integers
    start_real: NDArray[np.float64]
    size: Integers
    need: Integers
    column: Integers
    outputs: int


class Totals(NamedTuple):
    """At each place the sum of all before it: of the closes, and of the squares of how far each is from ``middle``."""

    closes: Integers
    squares: Integers
    middle: int


def recent_fields(source: Recent) -> list[int]:
    """Which fields of a ``Bar`` the window holds."""
    return [place - _FIRST for place in source.fields]


@njit(error_model="numpy")
def means(  # noqa: PLR0913, PLR0917 - as every feature of a program
    _bars: Any, totals: Any, kind: Any, j: int, start: int, a: int, b: int, base: int, unit: int, out: Any
) -> Any:
    """What ``trading.features.sma.step`` makes of each candle from ``a`` up to ``b``: sums are exact in any order.

    Returns whether values are missing.
    """
    row, size = kind.column[j], kind.size[j]
    known = min(b, max(a, start + size - 1))
    for i in range(a, known):
        out[row, i - base + 1] = np.nan
    divisor = np.float64(size * unit)
    inverse = 1.0 / divisor
    now, then = totals.closes[known + 1 : b + 1], totals.closes[known + 1 - size : b + 1 - size]
    found = out[row, known - base + 1 : b - base + 1]
    for i in range(len(found)):
        found[i] = quotient(np.float64(now[i] - then[i]), divisor, inverse)
    return known > a


@njit
def recorded(
    _bars: Any, _totals: Any, kind: Any, j: int, _start: int, a: int, b: int, base: int, _unit: int, out: Any
) -> Any:
    """Copy what was recorded of each candle: ``real`` is the pool, and the whole number the slot in it. Returns whether
    values are missing.
    """
    row, found = kind.column[j], kind.real[kind.whole[j, 0], a:b]
    is_holed = False
    for i in range(len(found)):
        value = found[i]
        out[row, a + i - base + 1] = value
        is_holed |= value != value  # noqa: PLR0124 - only NaN differs from itself
    return is_holed


@njit(forceinline=True)
def quotient(a: float, b: float, inverse: float) -> Any:
    """``a / b`` to the last bit, without a division: ``inverse`` is ``1 / b``, rounded.

    After one correction by what is left over the quotient is right to the last place but for its rounding, and the
    second rounds it as IEEE division does (Markstein, IBM J. Res. Dev. 34, 1990). Not where it would be subnormal.
    """
    found = a * inverse
    found = fused(fused(-found, b, a), inverse, found)
    return fused(fused(-found, b, a), inverse, found)


@njit(error_model="numpy")
def bands(  # noqa: PLR0913, PLR0917 - as every feature of a program
    bars: Any, totals: Any, kind: Any, j: int, start: int, a: int, b: int, base: int, unit: int, out: Any
) -> Any:
    """What ``trading.features.ranges.bollinger_step`` makes of each candle: the variance does not depend on from where
    closes are measured, and is rounded once, as there. Returns whether values are missing.
    """
    row, size, width = kind.column[j], kind.size[j], kind.real[j, 1]
    known = min(b, max(a, start + size - 1))
    for n in range(5):
        for i in range(a, known):
            out[row + n, i - base + 1] = np.nan
    divisor = np.float64(size * unit)
    coarse = UNIT // unit
    for i in range(known, b):
        total = totals.closes[i + 1] - totals.closes[i + 1 - size]
        off = total - size * totals.middle
        spread = size * (totals.squares[i + 1] - totals.squares[i + 1 - size]) - off * off
        exactly = times(times(whole(spread), coarse), coarse)
        middle = np.float64(total) / divisor
        reach = width * (np.sqrt(divided(exactly, whole(size * size))) / UNIT)
        upper, lower = middle + reach, middle - reach
        close = np.float64(bars[3, i]) / np.float64(unit)
        out[row, i - base + 1] = middle
        out[row + 1, i - base + 1] = upper
        out[row + 2, i - base + 1] = lower
        out[row + 3, i - base + 1] = (upper - lower) / middle if middle else 0.0
        out[row + 4, i - base + 1] = (close - lower) / (upper - lower) if upper > lower else 0.5
    return known > a


def table(rows: Sequence[Any]) -> tuple[Any, Any]:
    """Tuples of numbers as a table of their whole ones and one of the others, each with a column for all."""
    width = max(1, max((len(row) for row in rows), default=1))
    whole, real = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.float64)
    for place, row in enumerate(rows):
        for column, value in enumerate(row):
            (whole if isinstance(value, int) else real)[place, column] = value
    return whole, real


def kind_table(definition: Any, params: Sequence[Any], first: int, slots: Sequence[int]) -> Kind:
    """For the program, of each distinct parameter tuple of a kind: parameters, state, start, window, need, column."""
    features = [Feature(definition.kind, k, definition) for k in params]
    starts = [definition.start(k) if callable(definition.start) else definition.start for k in params]
    flat = [start if isinstance(start, tuple) else (start,) for start in starts]
    outputs = max(1, len(definition.outputs))
    sources = [definition.source_of(k) for k in params]
    return Kind(
        *table(params),
        *table(flat),
        *table(flat),
        np.array([0 if source is None else source.size for source in sources], np.int64),
        np.array([feature.need for feature in features], np.int64),
        np.array([first + slot * outputs for slot in slots], np.int64),
        outputs,
    )
