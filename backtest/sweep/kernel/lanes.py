"""Averages that wait for their own last value, of many periods at once: one vector holds a value of each.

A recurrence is bound by how long a processor takes from one value to the next, and a compiler makes no vectors of steps
that branch. Here the averages of ``LANES`` periods go through the candles together, once all of them are seeded; until
then, and for every other kind, the step itself runs. Each lane does what the step of its kind does, in the same order,
and every operation is rounded on its own, so that the bits are those of the step.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, overload, register_model

from trading.features.averages import SAME
from trading.features.momentum import NOTHING
from trading.features.ranges import NO_RANGE

__all__ = ["LANES", "TOGETHER", "atrs", "emas", "rmas", "rsis"]

LANES = 16
"""Periods side by side: two of the widest registers, of which one works while the other waits."""

TOGETHER = {"ema": "emas", "rma": "rmas", "rsi": "rsis", "atr": "atrs"}
"""The function here that computes a kind."""

_codegen: Any = cgutils
_LANE = ir.IntType(32)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_PLACES: Any = types.UniTuple(types.int64, LANES)  # type: ignore[no-untyped-call]


class LanesType(types.Type):
    """A float of each lane."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes{LANES}")


_LANES = LanesType()


@register_model(LanesType)
class _LanesModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


def _in_llvm(function: Any) -> Any:
    """A function whose machine code is written here; checkers need not know how it is called."""
    return intrinsic(function)


def _vector(builder: Any, kind: Any, value: Any) -> Any:
    """``value`` in each lane, unless it is of lanes already."""
    if isinstance(kind, LanesType):
        return value
    unknown = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(unknown, value, ir.Constant(_LANE, 0))
    return builder.shuffle_vector(first, unknown, ir.Constant(ir.VectorType(_LANE, LANES), None))


def _vectors(builder: Any, signature: Any, arguments: Any) -> list[Any]:
    return [_vector(builder, kind, value) for kind, value in zip(signature.args, arguments, strict=True)]


def _operation(operate: Any) -> Any:
    """What makes lanes of two values, lane by lane; either may be a float that is the same in all."""

    def typed(_typing: Any, a: Any, b: Any) -> Any:
        def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return operate(builder, *_vectors(builder, signature, arguments))

        return _LANES(a, b), generate

    return _in_llvm(typed)


_added = _operation(lambda builder, a, b: builder.fadd(a, b))
_subtracted = _operation(lambda builder, a, b: builder.fsub(a, b))
_multiplied = _operation(lambda builder, a, b: builder.fmul(a, b))
_divided = _operation(lambda builder, a, b: builder.fdiv(a, b))


def _choice(comparison: str) -> Any:
    """What takes ``x`` in the lanes where ``a`` compares with ``b`` so, else ``y``."""

    def typed(_typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
        def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left, right, yes, no = _vectors(builder, signature, arguments)
            return builder.select(builder.fcmp_ordered(comparison, left, right), yes, no)

        return _LANES(a, b, x, y), generate

    return _in_llvm(typed)


_where_less = _choice("<")
_where_at_most = _choice("<=")


@_in_llvm
def _away(_typing: Any, a: Any, b: Any) -> Any:
    """How far ``b`` is from ``a``."""

    def generate(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        off = builder.fsub(*_vectors(builder, signature, arguments))
        name = f"llvm.fabs.v{LANES}f64"
        absolute = _codegen.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), name)
        return builder.call(absolute, [off])

    return _LANES(a, b), generate


def _overloaded(symbol: Any, operate: Any) -> None:
    @overload(symbol, strict=False)
    def _operated(a: Any, b: Any) -> Any:
        if isinstance(a, LanesType) or isinstance(b, LanesType):
            return lambda a, b: operate(a, b)  # noqa: PLW0108 - not the compiled one
        return None


for _symbol, _operate in (
    (operator.add, _added),
    (operator.sub, _subtracted),
    (operator.mul, _multiplied),
    (operator.truediv, _divided),
):
    _overloaded(_symbol, _operate)


# Between tables and lanes. Where there are fewer rows than lanes, the last row has the lanes that are left over.


@_in_llvm
def _places(_typing: Any, first: Any, count: Any) -> Any:
    """Rows from ``first`` on, one for each lane."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        first, count = arguments
        most = builder.sub(count, ir.Constant(count.type, 1))
        rows = []
        for lane in range(LANES):
            place = ir.Constant(count.type, lane)
            place = builder.select(builder.icmp_signed("<", place, most), place, most)
            rows.append(builder.add(first, place))
        return context.make_tuple(builder, _PLACES, rows)

    return _PLACES(types.int64, types.int64), generate


def _cell(context: Any, builder: Any, kind: Any, table: Any, at: Any) -> Any:
    """The address of the number of ``table`` at these places."""
    array = context.make_array(kind)(context, builder, table)
    shape, strides = (_codegen.unpack_tuple(builder, part, kind.ndim) for part in (array.shape, array.strides))
    return _codegen.get_item_pointer2(context, builder, array.data, shape, strides, kind.layout, at, wraparound=False)


@_in_llvm
def _gathered(_typing: Any, table: Any, rows: Any, column: Any) -> Any:
    """The numbers of ``rows`` in a column of ``table``, as floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        found = ir.Constant(_VECTOR, ir.Undefined)
        for lane, row in enumerate(_codegen.unpack_tuple(builder, arguments[1], LANES)):
            value = builder.load(_cell(context, builder, kind, arguments[0], [row, arguments[2]]))
            if isinstance(kind.dtype, types.Integer):
                value = builder.sitofp(value, ir.DoubleType())
            found = builder.insert_element(found, value, ir.Constant(_LANE, lane))
        return found

    return _LANES(table, _PLACES, types.int64), generate


@_in_llvm
def _looked_up(_typing: Any, numbers: Any, rows: Any) -> Any:
    """The whole numbers at ``rows``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = _codegen.unpack_tuple(builder, arguments[1], LANES)
        found = [builder.load(_cell(context, builder, signature.args[0], arguments[0], [row])) for row in rows]
        return context.make_tuple(builder, _PLACES, found)

    return _PLACES(numbers, _PLACES), generate


@_in_llvm
def _put(_typing: Any, table: Any, rows: Any, column: Any, values: Any) -> Any:
    """Write each lane to its row, in a column of ``table``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, rows, column, values = arguments
        values = _vector(builder, signature.args[3], values)
        for lane, row in enumerate(_codegen.unpack_tuple(builder, rows, LANES)):
            value = builder.extract_element(values, ir.Constant(_LANE, lane))
            builder.store(value, _cell(context, builder, signature.args[0], table, [row, column]))
        return context.get_dummy_value()

    return types.void(table, _PLACES, types.int64, values), generate


# The kinds, once each of ``count`` parameters from ``j`` on is seeded: candles from ``a`` up to ``b``


@njit(error_model="numpy")
def emas(  # noqa: PLR0913, PLR0917 - as all kinds here
    bars: Any, kind: Any, j: int, count: int, a: int, b: int, base: int, unit: int, out: Any
) -> None:
    """``trading.features.averages.ema_step``."""
    rows = _places(j, count)
    columns, period = _looked_up(kind.column, rows), _gathered(kind.whole, rows, 0)
    average = _gathered(kind.state_real, rows, 2)
    weight, same = 2.0 / (period + 1.0), SAME * (period + 1.0)
    closes = bars[3]
    for i in range(a, b):
        price = closes[i] / unit
        average = (price - average) * weight + average
        average = _where_at_most(_away(price, average), same * price, price, average)
        _put(out, columns, i - base + 1, average)
    _put(kind.state_real, rows, 2, average)


@njit(error_model="numpy")
def rmas(  # noqa: PLR0913, PLR0917
    bars: Any, kind: Any, j: int, count: int, a: int, b: int, base: int, unit: int, out: Any
) -> None:
    """``trading.features.averages.rma_step``."""
    rows = _places(j, count)
    columns, period = _looked_up(kind.column, rows), _gathered(kind.whole, rows, 0)
    average = _gathered(kind.state_real, rows, 2)
    before, same = period - 1.0, SAME * (period + 1.0)
    closes = bars[3]
    for i in range(a, b):
        price = closes[i] / unit
        average = (average * before + price) / period
        average = _where_at_most(_away(price, average), same * price, price, average)
        _put(out, columns, i - base + 1, average)
    _put(kind.state_real, rows, 2, average)


@njit(error_model="numpy")
def rsis(  # noqa: PLR0913, PLR0917
    bars: Any, kind: Any, j: int, count: int, a: int, b: int, base: int, unit: int, out: Any
) -> None:
    """``trading.features.momentum.rsi_step``."""
    rows = _places(j, count)
    columns, period = _looked_up(kind.column, rows), _gathered(kind.whole, rows, 0)
    gain, loss, before = _gathered(kind.state_real, rows, 2), _gathered(kind.state_real, rows, 3), period - 1.0
    closes, last = bars[3], kind.state_real[j, 1]
    for i in range(a, b):
        price = closes[i] / unit
        change, last = price - last, price
        gain = (gain * before + (change if change > 0.0 else 0.0)) / period
        loss = (loss * before + (-change if change < 0.0 else 0.0)) / period
        total, least = gain + loss, NOTHING * min(1.0, price)
        gain, loss = _where_less(total, least, 0.0, gain), _where_less(total, least, 0.0, loss)
        total = gain + loss
        _put(out, columns, i - base + 1, _where_at_most(NOTHING, total, 100.0 * (gain / total), 0.0))
    _put(kind.state_real, rows, 1, last)
    _put(kind.state_real, rows, 2, gain)
    _put(kind.state_real, rows, 3, loss)


@njit(error_model="numpy")
def atrs(  # noqa: PLR0913, PLR0917
    bars: Any, kind: Any, j: int, count: int, a: int, b: int, base: int, unit: int, out: Any
) -> None:
    """``trading.features.ranges.atr_step``."""
    rows = _places(j, count)
    columns, period = _looked_up(kind.column, rows), _gathered(kind.whole, rows, 0)
    average = _gathered(kind.state_real, rows, 2)
    before, last = period - 1.0, kind.state_real[j, 1]
    for i in range(a, b):
        high, low = bars[1, i] / unit, bars[2, i] / unit
        reach = max(high - low, abs(high - last), abs(low - last))
        last = bars[3, i] / unit
        average = (average * before + reach) / period
        average = _where_less(average, NO_RANGE * last, 0.0, average)
        _put(out, columns, i - base + 1, average)
    _put(kind.state_real, rows, 1, last)
    _put(kind.state_real, rows, 2, average)
