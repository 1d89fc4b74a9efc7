"""Floats as the decimals that Python writes them as: a distance that a strategy returns is booked as that decimal.

``Decimal(str(value))`` is the shortest decimal that reads back as ``value``. Compiled code has no such conversion and
seldom needs it: only where the float is so close to a half of the last digit kept that the two might round apart.
"""

from __future__ import annotations

from math import frexp, ldexp
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["NOT_EXACT", "POWERS", "decimal_of", "units_of"]

NOT_EXACT = -2
"""What ``units_of`` returns where it cannot tell."""

_UNIT = 1e8
POWERS = np.array([float(10**power) for power in range(23)])
_WHOLE_POWERS = np.array([10**power % 2**64 for power in range(23)], np.uint64)
# Relative error of the estimates below, rounding and the distance of a float from its decimal counted.
_DOUBT = 2.0**-50
_SHORT = 1e15


@intrinsic
def _fused(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@njit
def units_of(value: float, times: int, of: int) -> Any:
    """``times / of`` times the decimal of ``value`` in whole 10**-8, half to even; NOT_EXACT if that is not certain."""
    estimate = value * _UNIT * times / of
    doubt = estimate * _DOUBT
    if doubt >= 0.25:
        return NOT_EXACT
    low = np.int64(np.floor(estimate))
    beyond = estimate - np.floor(estimate) - 0.5
    if beyond > doubt:
        return low + 1
    if beyond < -doubt:
        return low
    number, power = decimal_of(value)
    if power < 0:
        return NOT_EXACT
    # Both sides nearly equal: their difference survives that they pass 2**64.
    left = np.uint64(2 * times) * np.uint64(number)
    right = np.uint64(2 * low + 1) * np.uint64(of)
    if power <= 8:
        left *= _WHOLE_POWERS[8 - power]
    else:
        right *= _WHOLE_POWERS[power - 8]
    above = np.int64(left - right)
    return low + 1 if above > 0 or (above == 0 and low % 2 == 1) else low


@njit
def decimal_of(value: float) -> Any:
    """The positive ``value`` as ``number`` and ``power`` of the decimal number / 10**power; power -1 if not certain."""
    power = 0
    while power < len(POWERS) and value * POWERS[power] < _SHORT:
        number = np.rint(value * POWERS[power])
        if number / POWERS[power] == value:
            return np.int64(number), power
        power += 1
    # No decimal of up to 15 digits: of 16 the nearest if it reads back, else of 17 the nearest, which always does.
    fraction, exponent = frexp(value)
    half = ldexp(0.5, exponent - 53)
    if fraction == 0.5:
        return np.int64(0), -1
    for digits in (1e16, 1e17):
        while power < len(POWERS) and value * POWERS[power] < digits / 10.0:
            power += 1
        if power >= len(POWERS) or value * POWERS[power] >= digits:
            return np.int64(0), -1
        # Their sum is the product, exactly.
        high = value * POWERS[power]
        low: Any = _fused(value, POWERS[power], -high)  # type: ignore[call-arg]
        rest = high - np.floor(high) + low
        nearest = np.rint(rest)
        away, reach = abs(nearest - rest), half * POWERS[power]
        if abs(away - 0.5) < 1e-9 or abs(away - reach) < 1e-9 * reach:
            return np.int64(0), -1
        if away < reach:
            return np.int64(np.floor(high)) + np.int64(nearest), power
    return np.int64(0), -1
