"""Money in compiled code: whole numbers of 128 bits, with every digit kept.

The reference counts money in decimals of 40 digits. Scaled to its smallest step any amount is a whole number, beyond an
int64. An ``Exact`` is such a number as its upper and its lower 64 bits, both as an int64: a processor adds two of them
in two instructions, and multiplies one by a whole number in four. As with any machine integer, what passes 2**127 comes
back from below; who multiplies makes sure beforehand that it cannot, as ``Terms`` does with the highest price there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "Exact", "add", "approximate", "divided", "exact", "floor_divided", "fused", "is_less", "is_negative", "subtract",
    "times", "value_of", "whole",
]  # fmt: skip

Exact: TypeAlias = tuple[int, int]

_WORD = 64
_WHOLE = ir.IntType(2 * _WORD)
_HALF = ir.IntType(_WORD)
_PAIR: Any = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
_MOST = 2.0**52


def exact(number: int) -> Exact:
    """``number`` for compiled code; OverflowError where 127 bits do not hold it."""
    upper, lower = number >> _WORD, number & (2**_WORD - 1)
    if not -(2 ** (_WORD - 1)) <= upper < 2 ** (_WORD - 1):
        raise OverflowError(f"{number} takes more than 127 bits")
    return upper, lower - 2**_WORD if lower >> (_WORD - 1) else lower


def value_of(pair: Exact) -> int:
    """What ``pair`` stands for."""
    upper, lower = int(pair[0]), int(pair[1])
    return (upper << _WORD) + (lower & int(2**_WORD - 1))


def _joined(builder: Any, pair: Any) -> Any:
    upper, lower = (builder.extract_value(pair, place) for place in (0, 1))
    upper = builder.shl(builder.sext(upper, _WHOLE), ir.Constant(_WHOLE, _WORD))
    return builder.or_(upper, builder.zext(lower, _WHOLE))


def _parted(context: Any, builder: Any, number: Any) -> Any:
    upper = builder.trunc(builder.lshr(number, ir.Constant(_WHOLE, _WORD)), _HALF)
    return context.make_tuple(builder, _PAIR, [upper, builder.trunc(number, _HALF)])


def _operation(operate: Callable[[Any, Any, Any], Any]) -> Any:
    """What makes a third ``Exact`` of two, by instructions on whole numbers of 128 bits."""

    def typed(_typing: Any, _a: Any, _b: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return _parted(context, builder, operate(builder, *(_joined(builder, pair) for pair in arguments)))

        return _PAIR(_PAIR, _PAIR), generate

    return intrinsic(typed)


_added = _operation(lambda builder, a, b: builder.add(a, b))
_subtracted = _operation(lambda builder, a, b: builder.sub(a, b))
_multiplied = _operation(lambda builder, a, b: builder.mul(a, b))


def _compare(_typing: Any, _a: Any, _b: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.icmp_signed("<", *(_joined(builder, pair) for pair in arguments))

    return types.boolean(_PAIR, _PAIR), generate


def _fuse(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """``a * b + c``, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


_compared: Any = intrinsic(_compare)
fused: Any = intrinsic(_fuse)


@njit(forceinline=True)
def whole(number: Any) -> Any:
    """``number``, an int64 or a whole float below 2**63."""
    low = np.int64(number)
    return low >> np.int64(63), low


@njit(forceinline=True)
def add(a: Any, b: Any) -> Any:
    return _added(a, b)


@njit(forceinline=True)
def subtract(a: Any, b: Any) -> Any:
    return _subtracted(a, b)


@njit(forceinline=True)
def times(a: Any, b: Any) -> Any:
    """``a`` times an int64, or times a whole float below 2**63."""
    return _multiplied(a, whole(b))


@njit(forceinline=True)
def is_negative(a: Any) -> Any:
    return a[0] < 0


@njit(forceinline=True)
def is_less(a: Any, b: Any) -> Any:
    return _compared(a, b)


@njit(forceinline=True)
def approximate(a: Any) -> Any:
    """``a`` as a float, within two units of its last place."""
    # Of its absolute value: the halves of a small negative number cancel.
    sign = a[0] >> 63
    upper, lower = _subtracted((a[0] ^ sign, a[1] ^ sign), (sign, sign))
    found = fused(np.float64(upper), 2.0**64, np.float64(np.uint64(lower)))
    return -found if sign < 0 else found


@njit
def _as_floats(a: Any) -> Any:
    """Two floats whose sum is ``a``, up to 2**-104 of it where it is below 2**116."""
    sign = a[0] >> 63
    upper, lower = _subtracted((a[0] ^ sign, a[1] ^ sign), (sign, sign))
    first = np.float64(upper) * 2.0**64
    second = np.float64(np.uint64(lower) >> np.uint64(32)) * 2.0**32
    high = first + second
    low = (second - (high - first)) + np.float64(lower & np.int64(2**32 - 1))
    total = high + low
    rest = low - (total - high)
    return (-total, -rest) if sign < 0 else (total, rest)


@njit
def divided(a: Any, b: Any) -> float:
    """The quotient, rounded once or at most by one more bit."""
    high, low = _as_floats(a)
    by, rest = _as_floats(b)
    first = high / by
    left = fused(-first, by, high) + (low - first * rest)
    return first + left / by  # type: ignore[no-any-return]


@njit(forceinline=True)
def floor_divided(a: Any, b: Any) -> Any:
    """How often the positive ``b`` fits into ``a`` whole, at least 0, as a float; right to the unit below 2**52."""
    count = max(np.floor(approximate(a) / approximate(b)), 0.0)
    if count >= _MOST:
        return count
    rest = subtract(a, times(b, count))
    while is_negative(rest) and count > 0.0:
        count -= 1.0
        rest = add(rest, b)
    rest = subtract(rest, b)
    while not is_negative(rest):
        count += 1.0
        rest = subtract(rest, b)
    return count
