"""Sets of candles as bits, 64 to a word: packed from codes, and walked from one set bit to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from backtest.sweep.kernel.compiling import inlined, uncounted

__all__ = ["is_set", "lowest_bit", "next_bit", "next_clear", "pack", "prefetch"]

_WORD = 64


@intrinsic
def _trailing_zeros(_typing: Any, word: Any) -> Any:
    """How many zero bits lie below the lowest set one."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic
def _equal_bits(_typing: Any, codes: Any, place: Any, code: Any) -> Any:
    """One bit for each of the 64 codes from ``place`` on, set where it is ``code``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), _WORD)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        found = builder.load(address, align=1)
        wanted = ir.Constant(vector, ir.Undefined)
        lane = ir.IntType(32)
        wanted = builder.insert_element(wanted, arguments[2], ir.Constant(lane, 0))
        wanted = builder.shuffle_vector(wanted, wanted, ir.Constant(ir.VectorType(lane, _WORD), [0] * _WORD))
        return builder.bitcast(builder.icmp_signed("==", found, wanted), ir.IntType(_WORD))

    return types.uint64(codes, types.int64, types.int8), generate


@njit
def pack(codes: Any, count: int, longs: Any, shorts: Any, flats: Any, row: int, word: int) -> None:
    """Put the first ``count`` codes into words of ``row`` from ``word`` on: a bit where one is 1, -1 or 0.

    ``codes`` is as long as whole words are.
    """
    for place in range((count + 63) // 64):
        at = np.int64(place * 64)
        longs[row, word + place] = _equal_bits(codes, at, np.int8(1))  # type: ignore[call-arg]
        shorts[row, word + place] = _equal_bits(codes, at, np.int8(-1))
        flats[row, word + place] = _equal_bits(codes, at, np.int8(0))


@uncounted
def next_bit(a: Any, b: Any, place: Any, end: Any) -> Any:
    """The first place from ``place`` on that is set in ``a`` or ``b``, or ``end``."""
    if place >= end:
        return end
    word = place >> 6
    bits = ((a[word] | b[word]) >> np.uint64(place & 63)) << np.uint64(place & 63)
    last = (end - 1) >> 6
    while bits == 0:
        word += 1
        if word > last:
            return end
        bits = a[word] | b[word]
    return min(end, (word << 6) + np.int64(_trailing_zeros(bits)))  # type: ignore[call-arg]


@inlined
def is_set(words: Any, place: Any) -> Any:
    return (words[place >> 6] >> np.uint64(place & 63)) & np.uint64(1) == np.uint64(1)


@intrinsic
def prefetch(_typing: Any, array: Any, place: Any) -> Any:
    """Begin to load the element at ``place``, counted as if ``array`` had one dimension, and go on meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
            builder.module, kind, "llvm.prefetch.p0"
        )
        # To be read, as near as there is, data.
        builder.call(function, [address, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@njit
def next_clear(a: Any, b: Any, place: Any, end: Any) -> Any:
    """The first place from ``place`` on that is set in neither ``a`` nor ``b``, or ``end``."""
    while place < end:
        bits = ~(a[place >> 6] | b[place >> 6]) >> np.uint64(place & 63)
        if bits != 0:
            return min(end, place + np.int64(_trailing_zeros(bits)))  # type: ignore[call-arg]
        place = ((place >> 6) + 1) << 6
    return end


@njit
def lowest_bit(word: Any) -> Any:
    """The place of the lowest bit that is set in ``word``, which is not 0."""
    return np.int64(_trailing_zeros(word))  # type: ignore[call-arg]
