"""The lots of a strategy's state in compiled code, where a tuple's length belongs to its type and lots come and go.

``Lots`` stands for ``tuple[Lot, ...]``. It is never changed: what adds or leaves out writes to the free end of an
arena, and the older value goes on to be what it was. An arena is a row of words that one combination has for itself:
``TOP`` and ``END`` are addresses, of the free end and behind the last word, ``FULL`` says that something did not fit,
and slots of lots follow. The values of a step that are not in the state it returns are given up with ``settle``.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.datamodel.models import StructModel
from numba.core.errors import TypingError
from numba.extending import intrinsic, make_attribute_wrapper, overload, register_model
from numba.typed import typedobjectutils

from backtest.sweep.kernel.compiling import uncounted
from trading.plan import Lot

__all__ = [
    "ARENA", "LONG_AT", "OPENED", "PLACE", "PRICE", "PROFIT", "QUOTE", "SHARE", "SLOT", "STOP", "append",
    "append_slot", "as_lots", "begun", "concat", "free", "head", "is_full", "lot", "lots_of", "nothing", "read",
    "read_whole", "real", "settle", "slot_at", "whole", "write", "write_whole",
]  # fmt: skip

# Words of a slot, in the order of the fields of ``Lot``; a distance that is None is NaN.
OPENED, PLACE, LONG_AT, SHARE, QUOTE, PRICE, STOP, PROFIT = range(8)
_WORD = 8
SLOT = 8 * _WORD
TOP, END, FULL = range(3)
_HEADER = 8 * _WORD
_SLOTS = 1_024
ARENA = 8 * (_SLOTS + 1)
"""Words of an arena."""


def _in_llvm(function: Any) -> Any:
    """A function whose machine code is written here; checkers need not know how it is called."""
    return intrinsic(function)


_known: Any = typedobjectutils._nonoptional
"""The value of an optional one, which must not be None."""


class LotsType(types.Type):
    """``arena`` and ``first`` are addresses: of the arena and of the first slot."""

    def __init__(self) -> None:
        super().__init__(name="Lots")


LOTS = LotsType()


@register_model(LotsType)
class _LotsModel(StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("arena", types.int64), ("first", types.int64), ("count", types.int64)])  # type: ignore[no-untyped-call]


for _name in ("arena", "first", "count"):
    make_attribute_wrapper(LotsType, _name, _name)


@_in_llvm
def _lots(_typing: Any, arena: Any, first: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_helper(builder, signature.return_type)
        made.arena, made.first, made.count = arguments
        return made._getvalue()

    return LOTS(types.int64, types.int64, types.int64), generate


def _pointer(builder: Any, address: Any, word: Any, kind: Any) -> Any:
    at = builder.add(address, builder.mul(word, ir.Constant(ir.IntType(64), _WORD)))
    return builder.inttoptr(at, kind.as_pointer())


@_in_llvm
def read(_typing: Any, address: Any, word: Any) -> Any:
    """The float in ``word`` from ``address`` on."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], arguments[1], ir.DoubleType()))

    return types.float64(types.int64, types.int64), generate


@_in_llvm
def read_whole(_typing: Any, address: Any, word: Any) -> Any:
    """The int in ``word`` from ``address`` on."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, arguments[0], arguments[1], ir.IntType(64)))

    return types.int64(types.int64, types.int64), generate


@_in_llvm
def write(_typing: Any, address: Any, word: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(builder, arguments[0], arguments[1], ir.DoubleType()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), generate


@_in_llvm
def write_whole(_typing: Any, address: Any, word: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(builder, arguments[0], arguments[1], ir.IntType(64)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


# Numbers as a strategy may write them


def whole(_value: Any) -> Any:
    """A whole number that was given as one, or as a bool."""


@overload(whole, strict=False)
def _whole(value: Any) -> Any:
    if isinstance(value, types.Integer | types.Boolean):
        return lambda value: np.int64(value)  # noqa: PLW0108 - its parameter is named
    raise TypingError(f"{value} where a whole number is kept")


def real(_value: Any) -> Any:
    """A float that was given as any number."""


@overload(real, strict=False)
def _real(value: Any) -> Any:
    if isinstance(value, types.Integer | types.Boolean | types.Float):
        return lambda value: np.float64(value)  # noqa: PLW0108 - its parameter is named
    raise TypingError(f"{value} where a number is kept")


def _truth(_value: Any) -> Any:
    """A bool that was given as one, or as a whole number."""


@overload(_truth, strict=False)
def _true(value: Any) -> Any:
    if isinstance(value, types.Integer | types.Boolean):
        return lambda value: value != 0
    raise TypingError(f"{value} where a bool is kept")


@uncounted
def _known_or_none(value: Any) -> Any:
    if np.isnan(value):
        return None
    return value


def _distance(_value: Any) -> Any:
    """A float or None."""


@overload(_distance, strict=False)
def _some_distance(value: Any) -> Any:
    if isinstance(value, types.NoneType):
        return lambda value: _known_or_none(np.nan)
    if isinstance(value, types.Optional):
        return lambda value: value
    if isinstance(value, types.Integer | types.Float):
        # No number is no distance either: 0 is refused in its place.
        return lambda value: _known_or_none(np.float64(0.0) if np.isnan(value) else np.float64(value))
    raise TypingError(f"{value} where a distance is kept")


@overload(bool, strict=False)
def _any_optional(value: Any) -> Any:
    if isinstance(value, types.Optional) and isinstance(value.type, types.Number):
        return lambda value: False if value is None else _known(value) != 0
    return None


@overload(operator.not_, strict=False)
def _no_optional(value: Any) -> Any:
    if isinstance(value, types.Optional) and isinstance(value.type, types.Number):
        return lambda value: True if value is None else _known(value) == 0
    return None


@njit
def lot(
    opened_ms: Any = 0, place: Any = 0, long: Any = True, share: Any = 1.0, quote: Any = 0.0, price: Any = 0.0,
    stop_distance: Any = None, profit_distance: Any = None,
) -> Any:  # fmt: skip
    """What stands for ``Lot`` in a compiled step: each field has one type, however it is given."""
    return Lot(
        whole(opened_ms), whole(place), _truth(long), real(share), real(quote), real(price), _distance(stop_distance),
        _distance(profit_distance),
    )  # fmt: skip


# Memory


@uncounted
def begun(arenas: Any, row: Any) -> Any:
    """Make a row of ``ARENA`` words ready; returns where its first slot is."""
    arena = np.int64(arenas.ctypes.data) + row * (ARENA * _WORD)
    first = arena + np.int64(_HEADER)
    write_whole(arena, np.int64(TOP), first)
    write_whole(arena, np.int64(END), arena + ARENA * _WORD)
    write_whole(arena, np.int64(FULL), np.int64(0))
    return first


@uncounted
def lots_of(arenas: Any, row: Any, first: Any, count: Any) -> Any:
    """The ``count`` lots from the slot at ``first`` on, in the arena of that row."""
    return _lots(np.int64(arenas.ctypes.data) + row * (ARENA * _WORD), np.int64(first), np.int64(count))


@uncounted
def free(lots: Any) -> Any:
    """Give up what is behind ``lots``; returns whether all had fitted."""
    end = lots.first + lots.count * SLOT
    if read_whole(lots.arena, np.int64(TOP)) == end:
        return True
    write_whole(lots.arena, np.int64(TOP), end)
    return not is_full(lots)


@uncounted
def nothing(arena: Any) -> Any:
    """No lots."""
    return _lots(arena, arena + np.int64(_HEADER), np.int64(0))


@uncounted
def slot_at(lots: Any, place: Any) -> Any:
    """The address of a slot."""
    return lots.first + np.int64(place) * SLOT


@uncounted
def is_full(lots: Any) -> Any:
    """Whether something did not fit into the arena: then nothing that was made since is right."""
    return read_whole(lots.arena, np.int64(FULL)) != 0


@uncounted
def _copy(to: Any, source: Any, slots: Any) -> None:
    for word in range(slots * 8):
        write_whole(to, np.int64(word), read_whole(source, np.int64(word)))


@uncounted
def settle(lots: Any) -> Any:
    """``lots`` alone are left of all that is in their arena; returns where they are now."""
    arena = lots.arena
    end = lots.first + lots.count * SLOT
    if end - arena > (ARENA * _WORD) // 2:
        # To the beginning: what was there is given up, and the parts do not overlap unless there is too much.
        if lots.count > _SLOTS // 4:
            write_whole(arena, np.int64(FULL), np.int64(1))
            return nothing(arena)
        lots = _lots(arena, arena + np.int64(_HEADER), _moved(lots))
        end = lots.first + lots.count * SLOT
    write_whole(arena, np.int64(TOP), end)
    return lots


@uncounted
def _moved(lots: Any) -> Any:
    _copy(lots.arena + _HEADER, lots.first, lots.count)
    return lots.count


@uncounted
def head(lots: Any, count: Any) -> Any:
    """The first ``count`` of ``lots``, where more can be added."""
    arena = lots.arena
    top = read_whole(arena, np.int64(TOP))
    if top + (count + 1) * SLOT > read_whole(arena, np.int64(END)):
        write_whole(arena, np.int64(FULL), np.int64(1))
        write_whole(arena, np.int64(TOP), read_whole(arena, np.int64(END)))
        return nothing(arena)
    _copy(top, lots.first, count)
    write_whole(arena, np.int64(TOP), top + count * SLOT)
    return _lots(arena, top, np.int64(count))


@uncounted
def _with_room(lots: Any) -> Any:
    """``lots`` where one more fits behind them and nothing else is."""
    arena, end = lots.arena, lots.first + lots.count * SLOT
    top = read_whole(arena, np.int64(TOP))
    if end == top and top + SLOT <= read_whole(arena, np.int64(END)):
        return lots
    return head(lots, lots.count)


@uncounted
def _taken(lots: Any) -> Any:
    """``lots`` and the slot behind them."""
    write_whole(lots.arena, np.int64(TOP), lots.first + (lots.count + 1) * SLOT)
    return _lots(lots.arena, lots.first, lots.count + 1)


@njit
def append(lots: Any, one: Any) -> Any:
    """``(*lots, one)``."""
    lots = _with_room(lots)
    at = slot_at(lots, lots.count)
    write_whole(at, np.int64(OPENED), one.opened_ms)
    write_whole(at, np.int64(PLACE), one.place)
    write_whole(at, np.int64(LONG_AT), np.int64(one.long))
    write(at, np.int64(SHARE), one.share)
    write(at, np.int64(QUOTE), one.quote)
    write(at, np.int64(PRICE), one.price)
    stop, profit = np.nan, np.nan
    if one.stop_distance is not None:
        stop = _known(one.stop_distance)
    if one.profit_distance is not None:
        profit = _known(one.profit_distance)
    write(at, np.int64(STOP), stop)
    write(at, np.int64(PROFIT), profit)
    return _taken(lots)


@uncounted
def append_slot(lots: Any, source: Any) -> Any:
    """``lots`` and a copy of the slot at the address ``source``."""
    lots = _with_room(lots)
    _copy(slot_at(lots, lots.count), source, 1)
    return _taken(lots)


@njit
def concat(lots: Any, more: Any) -> Any:
    """``(*lots, *more)``."""
    more = as_lots(lots, more)
    for place in range(more.count):
        lots = append_slot(lots, slot_at(more, place))
    return lots


@uncounted
def _at(lots: Any, place: Any) -> Any:
    address = slot_at(lots, place)
    return Lot(
        read_whole(address, np.int64(OPENED)),
        read_whole(address, np.int64(PLACE)),
        read_whole(address, np.int64(LONG_AT)) != 0,
        read(address, np.int64(SHARE)),
        read(address, np.int64(QUOTE)),
        read(address, np.int64(PRICE)),
        _known_or_none(read(address, np.int64(STOP))),
        _known_or_none(read(address, np.int64(PROFIT))),
    )


# What a step may do with lots as with a tuple


@njit
def as_lots(like: Any, value: Any) -> Any:
    """A tuple of ``Lot`` as ``Lots``, in the arena of ``like``."""
    return _made_lots(like, value)


def _made_lots(_like: Any, _value: Any) -> Any:
    """What ``as_lots`` returns, by what it is given."""


@overload(_made_lots, strict=False)
def _made_of(like: Any, value: Any) -> Any:
    if isinstance(value, LotsType):
        return lambda like, value: value
    if isinstance(value, types.BaseTuple) and len(value) == 0:
        return lambda like, value: nothing(like.arena)
    if (
        isinstance(value, types.UniTuple)
        and isinstance(value.dtype, types.NamedTuple)
        and value.dtype.instance_class is Lot
    ):

        def several(like: Any, value: Any) -> Any:
            lots = nothing(like.arena)
            for one in value:
                lots = append(lots, one)
            return lots

        return several
    raise TypingError(f"{value} where lots are kept")


@overload(len, strict=False)
def _length(lots: Any) -> Any:
    return (lambda lots: lots.count) if isinstance(lots, LotsType) else None


@overload(bool, strict=False)
def _any(lots: Any) -> Any:
    return (lambda lots: lots.count > 0) if isinstance(lots, LotsType) else None


@overload(operator.not_, strict=False)
def _none(lots: Any) -> Any:
    return (lambda lots: lots.count == 0) if isinstance(lots, LotsType) else None


@overload(operator.getitem, strict=False)
def _item(lots: Any, place: Any) -> Any:
    if not isinstance(lots, LotsType):
        return None
    if isinstance(place, types.Integer):

        def one(lots: Any, place: Any) -> Any:
            at = place + lots.count if place < 0 else place
            if at < 0 or at >= lots.count:
                raise IndexError("tuple index out of range")
            return _at(lots, at)

        return one
    if place == types.slice2_type:

        def several(lots: Any, place: Any) -> Any:
            first, last, _ = place.indices(lots.count)
            return _lots(lots.arena, slot_at(lots, first), np.int64(max(0, last - first)))

        return several
    return None


@overload(operator.add, strict=False)
def _together(lots: Any, more: Any) -> Any:
    if isinstance(lots, LotsType):
        return lambda lots, more: concat(lots, more)  # noqa: PLW0108 - not the compiled one
    if isinstance(more, LotsType) and isinstance(lots, types.BaseTuple):
        return lambda lots, more: concat(as_lots(more, lots), more)
    return None
