"""Runs strategies that hold several lots: their step through some candles, then their money through the minutes.

One compiled program for each strategy says what is dropped and opened, and one for all walks it. Both go through a few
thousand candles of all combinations and then through the next, so memory is that of a stretch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from backtest.sweep.kernel import distances, lot_walk, lots, program
from backtest.sweep.kernel.exact import exact
from backtest.sweep.kernel.lot_walk import HELD, MOST_HELD, STATE, Waits
from backtest.sweep.kernel.marks import PENDING
from backtest.sweep.kernel.stepping import CHANGE, table_of
from backtest.sweep.kernel.tape import Tape
from backtest.sweep.kernel.walk import INEXACT, Minutes, Terms

__all__ = ["Run", "hold", "waits_of"]

# Changes that are kept until they are walked. What one combination makes of a stretch has to fit into half of it.
_CHANGES = 65_536


class Run(NamedTuple):
    """What runs, and through what: ``start`` is the state that each combination begins with."""

    decide: Callable[..., int]
    start: Any
    tape: Tape
    minutes: Minutes
    terms: Terms
    waits: Waits


def waits_of(scale: int, steps: int, lot: int, maker_fee: Decimal) -> Waits:
    """What orders pay that wait, where ``lot`` is a whole number, prices are slipped in 1/``scale`` and fees in
    1/``steps``.
    """
    fee = int(maker_fee * steps)
    return Waits(exact(lot * scale * (steps - fee)), exact(lot * scale * (steps + fee)), float(maker_fee), scale)


def hold(run: Run, told: Sequence[Any], rest: Sequence[Any], count: int, tile: int, walked: Sequence[Any]) -> None:
    """Run ``count`` combinations; ``walked`` takes trades, equity at day ends, whether all was exact, and figures.

    ``told`` and ``rest`` are what the program reads of candles, features and parameters, before and after the states.
    """
    trades, daily, statuses, figures = walked
    tape, walking = run.tape, _walking()
    states, held = np.zeros(count, STATE), np.zeros((count, MOST_HELD), HELD)
    arenas, firsts, counts = (
        np.zeros((count, lots.ARENA), np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )
    changes, ends, pending = np.empty((_CHANGES, CHANGE)), np.zeros(count, np.int64), np.empty(PENDING)
    tables = table_of(run.start, count)
    walking.begin(states, daily, run.minutes, run.terms)
    candles, end = len(tape.fills), len(tape.opens)
    for base in range(0, candles, tile):
        last = min(candles, base + tile)
        segment = int(np.searchsorted(tape.starts, base, side="right")) - 1
        upto = int(tape.fills[last]) if last < candles else end
        done = 0
        while done < count:
            first = done
            done = run.decide(*told, *tables, *rest, arenas, firsts, counts, base, last, segment, first, changes, ends)
            walking.advance(
                states, held, changes, ends, first, done, upto, tape.fills, run.minutes, run.terms, run.waits, trades,
                daily, pending,
            )  # fmt: skip
    walking.finish(states, held, run.minutes, run.terms, run.waits, trades, daily, figures)
    statuses[:] = np.where(counts < 0, INEXACT, states["status"])


def _walking() -> Any:
    """The compiled walk of several lots, for any strategy."""
    texts = (inspect.getsource(part) for part in (distances, lot_walk))
    given = {"begin_one": lot_walk.begin, "advance_one": lot_walk.advance, "finish_one": lot_walk.finish}
    return program.loaded(program.name_of("lots", _WALK, *texts), _WALK, lambda: given)


_WALK = """
from numba import njit


@njit(cache=True)
def begin(states, daily, minutes, terms):
    for c in range(len(states)):
        begin_one(states[c], daily[c], minutes, terms)


@njit(cache=True)
def advance(states, held, changes, ends, first, last, upto, fills, minutes, terms, waits, trades, daily, pending):
    at = 0
    for c in range(first, last):
        advance_one(
            states[c], held[c], changes, at, ends[c], upto, fills, minutes, terms, waits, trades, daily[c],
            pending,
        )
        at = ends[c]


@njit(cache=True)
def finish(states, held, minutes, terms, waits, trades, daily, figures):
    for c in range(len(states)):
        finish_one(states[c], held[c], minutes, terms, waits, trades, daily[c], figures[c])
"""
