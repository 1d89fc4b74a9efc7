"""Money in compiled code: whole numbers of up to 106 bits, each the sum of two floats, with every digit kept.

The reference counts money in decimals of 40 digits. Scaled to its smallest step any amount is a whole number, beyond an
int64. A pair ``(high, low)`` of floats whose sum it is holds it exactly: sums and products below are those of Knuth and
Dekker (1971), which lose nothing as long as the result fits 106 bits, and hold 31 digits where it does not. They
rely on IEEE rounding of each operation, so nothing here may be compiled with fastmath.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["Exact", "add", "divided", "exact", "floor_divided", "subtract", "times", "value_of"]

Exact: TypeAlias = tuple[float, float]

_MOST = 2.0**52


def exact(number: int) -> Exact:
    """The pair whose sum is ``number``."""
    high = float(number)
    return high, float(number - int(high))


def value_of(pair: Exact) -> Fraction:
    """What ``pair`` stands for."""
    return Fraction(pair[0]) + Fraction(pair[1])


@njit
def _two_sum(a: float, b: float) -> Any:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit
def _fast_two_sum(a: float, b: float) -> Any:
    total = a + b
    return total, b - (total - a)


@intrinsic
def _fused(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@njit
def _two_product(a: float, b: float) -> Any:
    product = a * b
    return product, _fused(a, b, -product)  # type: ignore[call-arg]


@njit
def add(a: Any, b: Any) -> Any:
    total, rest = _two_sum(a[0], b[0])
    low, last = _two_sum(a[1], b[1])
    total, rest = _fast_two_sum(total, rest + low)
    return _fast_two_sum(total, rest + last)


@njit
def subtract(a: Any, b: Any) -> Any:
    return add(a, (-b[0], -b[1]))


@njit
def times(a: Any, b: float) -> Any:
    """The pair ``a`` times a whole number that one float holds."""
    high, rest = _two_product(a[0], b)
    low, last = _two_product(a[1], b)
    middle, more = _two_sum(rest, low)
    high, middle = _fast_two_sum(high, middle)
    return _fast_two_sum(high, middle + (more + last))


@njit
def divided(a: Any, b: Any) -> float:
    """The quotient, rounded once or at most by one more bit."""
    first = a[0] / b[0]
    rest = subtract(a, times(b, first))
    return first + rest[0] / b[0]  # type: ignore[no-any-return]


@njit
def floor_divided(a: Any, b: Any) -> Any:
    """How often the positive ``b`` fits into ``a`` whole, at least 0; right to the last unit below 2**52."""
    count = max(np.floor(a[0] / b[0]), 0.0)
    if count >= _MOST:
        return count
    rest = subtract(a, times(b, count))
    while rest[0] < 0.0 and count > 0.0:
        count -= 1.0
        rest = add(rest, b)
    short = subtract(rest, b)
    while short[0] >= 0.0:
        count += 1.0
        short = subtract(short, b)
    return count
