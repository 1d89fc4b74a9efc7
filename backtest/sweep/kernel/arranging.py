"""What a program is told of the combinations that it runs at once: who reads which column, and where that column is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.sweep.kernel.columns import Kind, kind_table, table
from backtest.sweep.kernel.exiting import TILE
from backtest.sweep.kernel.program import Shape, lanes_of
from backtest.sweep.kernel.recorded import RECORDED, Recorded
from backtest.sweep.kernel.recording import Recordings
from trading.features.contract import Feature

__all__ = ["arranged", "slots_of"]

# Of a row of values: a tile, the value before it, and what puts each row elsewhere in the nearest cache, where many are
# written side by side that would otherwise share a few places.
_WIDTH = TILE + 9


@dataclass(slots=True)
class _Chosen:
    """The distinct parameters of one kind of feature within a chunk, and their columns."""

    outputs: int
    params: dict[Any, int]


def arranged(
    shapes: Sequence[Shape], beside: Sequence[Feature], recordings: Recordings, *, has_exits: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What a program is told of the combinations of ``shapes``: the distinct features and who reads which, and
    parameters; the candles that each needs, and room for the values of features and for prices.
    """
    shape, strategies = shapes[0], [one.strategy for one in shapes]
    kinds = [_Chosen(max(1, len(kind.outputs)), {}) for kind in shape.kinds]
    read = [
        [
            (kind, kinds[kind].params.setdefault(feature.params, len(kinds[kind].params)), output)
            for feature, (kind, output) in zip(one.features, shape.reads, strict=True)
        ]
        for one in shapes
    ]
    of_kind = [[[at for own, at, _ in row if own == place] for row in read] for place in range(len(kinds))]
    lanes = [lanes_of(kind) for kind in shape.kinds]
    # Of each kind, how many columns there are once a combination has its own. Those side by side are made together.
    until = np.maximum.accumulate(
        np.array([[max(row, default=-1) + 1 for row in rows] for rows in of_kind], np.int64).reshape(
            len(kinds), len(read)
        ),
        axis=1,
    ).T
    until = np.minimum(-(-until // lanes) * lanes, until[-1])
    # Programs of steps without exits have all of them made beforehand.
    is_lazy = shape.strategy.start is None or has_exits
    taken = [
        slots_of(rows, width) if is_lazy else range(until[-1, place])
        for place, (rows, width) in enumerate(zip(of_kind, lanes, strict=True))
    ]
    firsts, columns = [], 0
    for kind, slots in zip(kinds, taken, strict=True):
        firsts.append(columns)
        columns += kind.outputs * (max(slots, default=-1) + 1)
    places = np.array(
        [[firsts[kind] + taken[kind][at] * kinds[kind].outputs + output for kind, at, output in row] for row in read],
        np.int64,
    ).reshape(len(strategies), len(shape.reads))
    whole = table([strategy.params for strategy in strategies])
    least = max((feature.need for feature in beside), default=0)
    needs = np.array([max(strategy.warmup, least) for strategy in strategies], np.int64)
    tables = [
        _recorded_table(recordings, list(kind.params), first, slots)
        if definition is RECORDED
        else kind_table(definition, list(kind.params), first, slots)
        for definition, kind, first, slots in zip(shape.kinds, kinds, firsts, taken, strict=True)
    ]
    room = np.full((columns, _WIDTH), np.nan), np.full(TILE + 1, np.nan)
    return (*tables, places, *whole, *((until,) if is_lazy else ())), (needs, *room)


def _recorded_table(recordings: Recordings, params: Sequence[Recorded], first: int, slots: Sequence[int]) -> Kind:
    """For the program, of each distinct recorded column: where in the pool it is, and the pool itself."""
    held = recordings.hold(item.feature for item in params)
    whole, real = table([(held[item.feature],) for item in params])
    sizes = np.zeros(len(params), np.int64)
    columns = np.array([first + slot for slot in slots], np.int64)
    return Kind(whole, recordings.pool, whole, real, whole, real, sizes, sizes, columns, 1)


def slots_of(rows: Sequence[Sequence[int]], lanes: int) -> list[int]:
    """Where to put each column, numbered as ``rows`` first use it: a place is free again after the last that reads it.

    Columns are made ``lanes`` at once.

    >>> slots_of([[0, 1], [0, 2], [3]], 1)
    [0, 1, 1, 1]
    """
    last = {column: place for place, row in enumerate(rows) for column in row}
    slots: dict[int, int] = {}
    free: list[int] = []
    count = 0
    for place, row in enumerate(rows):
        for column in row:
            while column not in slots or (len(slots) % lanes and len(slots) < len(last)):
                if not free:
                    free.append(count)
                    count += 1
                slots[len(slots)] = free.pop()
        free += [slots[column] for column in set(row) if last[column] == place]
    return [slots[column] for column in range(len(slots))]
