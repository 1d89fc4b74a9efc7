"""A compiled program for a strategy with a ``step`` of its own: candle after candle, its state carried along.

As in ``program`` the functions are those that trade live, and the module is named by all it is made of. Between two
stretches of candles a combination's state lies in a row of whole numbers and one of others; its lots stay in its arena.

A step whose state has a ``target`` leaves bits, as rules do. One with ``lots`` leaves changes: rows of ``CHANGE`` that
say, by candle, which lot is dropped and which is opened.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numba import njit

from backtest.sweep.kernel import bits, lots, program, rewriting
from backtest.sweep.kernel.rewriting import STATE, rewritten
from trading.plan import Lot

__all__ = ["CHANGE", "given_of", "has_lots", "own_sources", "stepper_of", "table_of", "targets_text"]

CHANGE = 8
"""Floats of a change: its candle, the lot's ``opened_ms`` and ``place``, its side (0: it is dropped), share, quote,
and the distances of stop and profit (NaN for none)."""

_OPENED, _PLACE, _LONG = np.int64(lots.OPENED), np.int64(lots.PLACE), np.int64(lots.LONG_AT)
_SHARE, _QUOTE, _PRICE = np.int64(lots.SHARE), np.int64(lots.QUOTE), np.int64(lots.PRICE)
_STOP, _PROFIT = np.int64(lots.STOP), np.int64(lots.PROFIT)


def has_lots(start: Any) -> bool:
    """Whether the state that a step starts from is one with lots."""
    return "lots" in start._fields


def table_of(start: Any, count: int) -> tuple[Any, Any]:
    """``count`` rows of the state's whole numbers, and as many of its others, as it starts."""
    whole, real = np.zeros((count, len(start)), np.int64), np.zeros((count, len(start)))
    for place, value in enumerate(start):
        if isinstance(value, int):
            whole[:, place] = value
        elif isinstance(value, float):
            real[:, place] = value
    return whole, real


def stepper_of(shape: program.Shape, module: ModuleType, unit: int) -> Callable[..., Any]:
    """The compiled ``decide`` of ``shape``, whose step is that of ``module``; prices are whole at 1/``unit``."""
    start = shape.strategy.start
    text = _text(shape, unit, start)
    found: dict[int, FunctionType] = {}
    steps = [program.reached(kind.step, found) for kind in shape.kinds]
    program.reached(module.step, found)
    sources = sorted({program.source_text(function) for function in found.values()})
    decide: Callable[..., Any] = program.loaded(
        program.name_of(shape.strategy.name, text, shape.strategy.source, *sources, *own_sources()),
        text,
        lambda: {**given_of(module, start, unit), **program.given_of(shape, module, unit, steps)},
    ).decide
    return decide


def own_sources() -> list[str]:
    """The texts of what is compiled into a step's program besides what every program has."""
    return [inspect.getsource(part) for part in (lots, rewriting, sys.modules[__name__])]


@njit(error_model="numpy")
def changed(before: Any, after: Any, now_ms: int, candle: int, rows: Any, used: int) -> int:
    """Write what ``after`` drops of ``before`` and opens anew, and name what is new; returns the rows used then, or
    -1 if a strategy may not do so.
    """
    kept = 0
    for place in range(before.count):
        at = lots.slot_at(before, place)
        if kept < after.count and _same(at, lots.slot_at(after, kept)):
            kept += 1
        elif used < len(rows):
            row = rows[used]
            row[0], row[1], row[2], row[3] = (
                candle, lots.read_whole(at, _OPENED), lots.read_whole(at, _PLACE), 0.0
            )  # fmt: skip
            used += 1
    for place in range(kept, after.count):
        at = lots.slot_at(after, place)
        side = lots.read_whole(at, _LONG)
        good = (
            lots.read_whole(at, _OPENED) == 0
            and side == lots.read_whole(lots.slot_at(after, 0), _LONG)
            and 0.0 < lots.read(at, _SHARE) <= 1.0
            and 0.0 <= lots.read(at, _QUOTE) < np.inf
            and np.isfinite(lots.read(at, _PRICE))
            and _is_distance(lots.read(at, _STOP))
            and _is_distance(lots.read(at, _PROFIT))
        )
        if not good or used >= len(rows):
            return -1
        lots.write_whole(at, _OPENED, np.int64(now_ms))
        lots.write_whole(at, _PLACE, np.int64(place - kept))
        row = rows[used]
        row[0], row[1], row[2], row[3] = candle, now_ms, place - kept, 1.0 if side else -1.0
        row[4], row[5] = lots.read(at, _SHARE), lots.read(at, _QUOTE)
        row[6], row[7] = lots.read(at, _STOP), lots.read(at, _PROFIT)
        used += 1
    return used if used < len(rows) else -1


@njit
def _same(a: Any, b: Any) -> Any:
    unlike = 0
    for word in range(8):
        unlike |= lots.read_whole(a, np.int64(word)) ^ lots.read_whole(b, np.int64(word))
    return unlike == 0


@njit
def _is_distance(distance: Any) -> Any:
    return np.isnan(distance) or 0.0 < distance < np.inf


def given_of(module: ModuleType, start: Any, unit: int) -> dict[str, Any]:
    """What the program names without defining it: the step, and for one with lots what is done with these."""
    made = _state_maker(type(start), start)
    given: dict[str, Any] = {
        STATE: made,
        "_no_lots": lots.nothing,
        "_append": lots.append,
        "_append_slot": lots.append_slot,
        "_as_lots": lots.as_lots,
        "_concat": lots.concat,
        "_head": lots.head,
        "_slot_at": lots.slot_at,
    }
    step = rewritten(module.step, type(start), given)
    return {
        "step": program.compiled(step, unit, {id(Lot): lots.lot}),
        "pack": bits.pack,
        "Kept": type(start),
        "begun": lots.begun,
        "free": lots.free,
        "lots_of": lots.lots_of,
        "settle": lots.settle,
        "is_full": lots.is_full,
        "changed": changed,
    }


def _state_maker(state: Any, start: Any) -> Any:
    """The compiled function that stands for ``State``: every field has one type, however it is given."""
    fields = ["_like", *(f"{name}={value!r}" for name, value in zip(start._fields, start, strict=True))]
    values = [
        f"as_lots(_like, {name})" if name == "lots" else f"{'whole' if isinstance(value, int) else 'real'}({name})"
        for name, value in zip(start._fields, start, strict=True)
    ]
    text = f"def made({', '.join(fields[0 if has_lots(start) else 1 :])}):\n    return Kept({', '.join(values)})\n"
    space: dict[str, Any] = {"Kept": state, "as_lots": lots.as_lots, "whole": lots.whole, "real": lots.real}
    exec(text, space)  # noqa: S102 - made above of field names and numbers
    return njit(space["made"])


def _text(shape: program.Shape, unit: int, start: Any) -> str:
    names = program.kinds_text(shape)
    made = [_CHANGES.format(names=names, **_parts(shape, start))]
    if not has_lots(start):
        made = [targets_text(shape), _TARGETS.format(names=names)]
    return "\n\n".join([program.columns_text(shape, unit), program.fill_text(shape), *made])


def targets_text(shape: program.Shape) -> str:
    """The function that asks a step with a target for each candle of a stretch."""
    return _CODES.format(**_parts(shape, shape.strategy.start))


def _parts(shape: program.Shape, start: Any) -> dict[str, str]:
    fields = range(len(shape.reads))
    row = ", ".join(["price[i]", *(f"value{n}[i]" for n in range(shape.seen))])
    known = " and ".join(f"value{n}[i] == value{n}[i]" for n in fields)
    columns = [f"    value{n} = out[places[c, {n}], a - base + 1 : b - base + 1]" for n in fields]
    numbers = [
        (place, name, "t_i" if isinstance(value, int) else "t_f")
        for place, (name, value) in enumerate(zip(start._fields, start, strict=True))
        if name != "lots"
    ]
    cells = {name: f"{table}[c, {place}]" for place, name, table in numbers}
    finite = [f"np.isfinite(state.{name})" for _, name, table in numbers if table == "t_f"]
    return {
        "row": row,
        "columns": "\n".join(["    price, mute = prices[a - base + 1 : b - base + 1], is_mute[a:b]", *columns]),
        "known": known or "True",
        "params": program.params_text(shape),
        "state": f"Kept({', '.join(cells.get(name, 'held') for name in start._fields)})",
        "again": f"Kept({', '.join(f'state.{name}' if name in cells else 'held' for name in start._fields)})",
        "finite": " and ".join(finite) or "True",
        "writes": "\n".join(f"    {cell} = state.{name}" for name, cell in cells.items()) or "    pass",
    }


_CODES = """
@njit
def codes_of(prices, out, places, p_i, p_f, t_i, t_f, c, a, b, base, is_mute, codes):
    p = {params}
    state = {state}
    found = codes[a - base : b - base]
{columns}
    for i in range(len(price)):
        if mute[i] or not ({known}):
            continue
        state = step(state, Row({row}), p)
        code = state.target
        if code < -1 or code > 2 or not ({finite}):
            return True
        found[i] = np.int8(code)
{writes}
    return False
"""

_TARGETS = """
@njit(cache=True)
def decide(
    bars, totals, starts, decides, is_mute, {names}, places, p_i, p_f, t_i, t_f, needs, out, prices, codes,
    longs, shorts, flats
):
    end, count, tile = bars.shape[1], len(needs), len(codes)
    after = 0
    for base in range(0, end, tile):
        last = min(end, base + tile)
        first = after
        after = fill(bars, totals, starts, first, base, last, {names}, out, prices)
        for c in range(count):
            codes[:] = 2
            segment, a = first, base
            while a < last:
                while segment + 1 < len(starts) and starts[segment + 1] <= a:
                    segment += 1
                b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
                ready = max(a, starts[segment] + needs[c] - 1, decides)
                if ready < b:
                    if codes_of(prices, out, places, p_i, p_f, t_i, t_f, c, ready, b, base, is_mute, codes):
                        return c
                a = b
            pack(codes, last - base, longs, shorts, flats, c, base >> 6)
    return -1
"""

_CHANGES = """
@njit
def changes_of(prices, out, places, p_i, p_f, t_i, t_f, held, c, a, b, base, is_mute, close_ms, rows, used):
    p = {params}
    state = {state}
{columns}
    for i in range(len(price)):
        if mute[i] or not ({known}):
            continue
        state = step(state, Row({row}), p)
        after = state.lots
        if not ({finite}):
            return held, -1
        if after.first != held.first or after.count != held.count:
            if is_full(after):
                return held, -1
            used = changed(held, after, close_ms[a + i], a + i, rows, used)
            if used < 0:
                return held, -1
            held = settle(after)
            state = {again}
        elif not free(held):
            return held, -1
{writes}
    return held, used


@njit(cache=True)
def decide(
    bars, totals, starts, decides, is_mute, close_ms, {names}, places, p_i, p_f, t_i, t_f, needs, out, prices, arenas,
    firsts, counts, base, last, segment, c, rows, ends
):
    if c == 0:
        fill(bars, totals, starts, segment, base, last, {names}, out, prices)
    used, first = 0, segment
    while c < len(needs) and used <= len(rows) // 2:
        if firsts[c] == 0:
            firsts[c] = begun(arenas, c)
        held = lots_of(arenas, c, firsts[c], counts[c])
        segment, a, end = first, base, used
        while a < last and counts[c] >= 0:
            while segment + 1 < len(starts) and starts[segment + 1] <= a:
                segment += 1
            b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
            ready = max(a, starts[segment] + needs[c] - 1, decides)
            if ready < b:
                held, end = changes_of(
                    prices, out, places, p_i, p_f, t_i, t_f, held, c, ready, b, base, is_mute, close_ms, rows, end
                )
                firsts[c], counts[c] = held.first, held.count if end >= 0 else -1
            a = b
        if counts[c] >= 0:
            used = end
        ends[c] = used
        c += 1
    return c
"""
