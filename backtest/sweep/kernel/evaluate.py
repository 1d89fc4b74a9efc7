"""Scores combinations of parameters with compiled programs, and with the reference engine where these cannot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isnan
from typing import Any, NamedTuple

import numpy as np
import structlog
from numba.core.errors import NumbaError

from backtest.requests import BacktestRequest
from backtest.sources import Source
from backtest.sweep.evaluator import METRICS, ComboScore, ReferenceEvaluator
from backtest.sweep.kernel.arranging import arranged
from backtest.sweep.kernel.charging import terms_of
from backtest.sweep.kernel.columns import Totals
from backtest.sweep.kernel.exact import value_of
from backtest.sweep.kernel.exiting import (
    ALWAYS_KNOWN,
    TILE,
    Trading,
    atr_beside,
    exiting_program,
    exits_of,
    has_exits,
    market_of,
)
from backtest.sweep.kernel.holding import Run, hold
from backtest.sweep.kernel.marks import BLOCK
from backtest.sweep.kernel.money import FIGURES
from backtest.sweep.kernel.program import Shape, program_of, walking
from backtest.sweep.kernel.recorded import RECORDED
from backtest.sweep.kernel.recording import MOST_BYTES, Recordings
from backtest.sweep.kernel.stepping import has_lots, stepper_of, table_of
from backtest.sweep.kernel.support import why_not
from backtest.sweep.kernel.tape import Tape
from backtest.sweep.kernel.walk import OK, Minutes
from trading.candle_columns import Integers
from trading.candles import UNIT
from trading.errors import BadInput
from trading.features.contract import Feature
from trading.strategies.contract import Strategy
from trading.strategies.registry import find_module, load_strategy

__all__ = ["KernelEvaluator", "KernelTrade", "Spent"]

_log = structlog.get_logger(__name__)

# Combinations decided on together: their bits and the columns of their features are held at once.
_TOGETHER = 128
_MOST_EXACT, _MOST_WHOLE = 2**53, 2**62
_UNITS = (100, 10_000, UNIT)


class KernelTrade(NamedTuple):
    """A trade as the reference's fills tell it. The last two are None while it is open."""

    side: str
    entry_ms: int
    entry_price: Decimal
    quantity: Decimal
    exit_ms: int | None
    exit_price: Decimal | None


@dataclass(slots=True)
class Spent:
    """Processor time of compiled programs in nanoseconds, what was compiled or recorded meanwhile included.

    ``deciding`` is features and rules, ``trading`` what follows from the decisions. Where exits or lots end trades both
    are one program, all of whose time is ``trading``.
    """

    deciding: int = 0
    trading: int = 0


@dataclass(slots=True)
class _Group:
    """Combinations that one program runs at once: their places in the chunk, and the recorded columns they read."""

    places: list[int]
    shapes: list[Shape]
    recorded: dict[Feature, None]

    @property
    def strategies(self) -> list[Strategy]:
        return [shape.strategy for shape in self.shapes]


class KernelEvaluator:
    """Scores combinations of one request over one source. Not for several threads at once.

    Guarantees: what it returns is what the reference engine would, trade by trade, and in money to all digits that a
    float has. A combination that cannot be computed exactly, or whose strategy raises, runs in the reference engine,
    which then raises what it raises. Memory does not depend on how many combinations are given.
    """

    def __init__(self, request: BacktestRequest, source: Source, recorded_bytes: int = MOST_BYTES) -> None:
        """``recorded_bytes`` bounds the memory of the columns of features that are not compiled."""
        reason = why_not(request)
        if reason is not None:
            raise BadInput(
                f"The kernel cannot run this: {reason}.",
                field="strategy",
                value=request.strategy,
                fix="Run it in the reference engine.",
            )
        self._request = request
        self._source = source = _until(request, source)
        self._tape = Tape.of(request, source)
        self._module = find_module(request.strategy, request.source)
        strategy = load_strategy(request.strategy, request.params, request.source)
        [self._interval] = request.intervals
        self._has_exits = has_exits(request, strategy)
        self._beside = atr_beside(request)
        self._most_volume = int(self._tape.bars[4].max())
        self._shape = self._shape_of(strategy)
        # A few units serve all markets: each other one would be compiled for itself.
        coarsest = next(unit for unit in _UNITS if unit >= 10**self._tape.decimals)
        self._unit = coarsest if _is_of_prices(self._shape) else UNIT
        self._recordings = Recordings(
            source, self._interval, self._tape.bar_close_ms, len(self._shape.reads), recorded_bytes
        )
        self._compiled = True
        # Of all candles of a chunk, kept from one to the next: new memory costs more than what is written to it.
        self._bits: Any = None
        self.refusal: str | None = None
        """Why the reference engine runs all of it; None as long as it does not."""
        self.spent = Spent()
        tape = self._tape
        try:
            self._terms, self._waits, self._scale = terms_of(request, source, tape)
            self._exits = exits_of(request, self._waits, self._terms.buy, tape.most)
        except OverflowError as error:
            self._stay_with_reference(error)
        coarse = UNIT // self._unit
        self._bars = tape.bars.copy()
        self._bars[:4] //= coarse
        closes = self._bars[3]
        middle = (int(closes.max()) + int(closes.min())) // 2
        # Squares may pass 2**63 together and come back: differences of them do not.
        self._totals = Totals(_summed(closes), _summed((closes - middle) ** 2), middle)
        for array in (self._bars, self._totals.closes, self._totals.squares):
            array.flags.writeable = False
        self._most, self._farthest = int(self._bars[:4].max()), int(abs(closes - middle).max())
        self._minutes = Minutes(
            tape.opens, tape.highs, tape.lows, tape.closes, tape.first, tape.fundings, tape.times, tape.day_places,
            _blocks(np.minimum, tape.closes), _blocks(np.maximum, tape.closes), _blocks(np.minimum, tape.lows),
            _blocks(np.maximum, tape.highs), _seams(tape), tape.closes[tape.day_places],
        )  # fmt: skip
        self._market = market_of(request, tape)

    def evaluate(self, combos: Sequence[Mapping[str, int | float]]) -> list[ComboScore]:
        """The score of each of ``combos``, in their order; BadInput names a parameter that is wrong."""
        strategies = [self._strategy(combo) for combo in combos]
        return [score for score, _ in self._run(strategies, 0)]

    def trades(self, combo: Mapping[str, int | float], most: int = 1_000_000) -> list[KernelTrade]:
        """The trades of one combination that the kernel computes itself, at most so many."""
        [(_, rows)] = self._run([self._strategy(combo)], most)
        return [] if rows is None else [self._trade(row) for row in rows]

    def _strategy(self, combo: Mapping[str, int | float]) -> Strategy:
        return load_strategy(self._request.strategy, {**self._request.params, **combo}, self._request.source)

    def _run(self, strategies: Sequence[Strategy], most: int) -> Iterator[tuple[ComboScore, Any]]:
        for first in range(0, len(strategies), _TOGETHER):
            yield from self._chunk(strategies[first : first + _TOGETHER], most)

    def _chunk(self, strategies: Sequence[Strategy], most: int) -> Iterator[tuple[ComboScore, Any]]:
        rows = np.zeros((most, 8), np.int64)
        found: dict[int, tuple[Any, Any]] = {}
        taken = None
        for group in self._groups(strategies) if self._compiled else ():
            out = np.full((len(group.places), len(FIGURES)), np.nan)
            daily = np.ones((len(group.places), len(self._tape.day_places) + 1))
            statuses = np.zeros(len(group.places), np.int64)
            count = self._walked(group, (rows, daily, statuses, out))
            if count is None:
                continue
            taken = rows[:count]
            changes = daily[:, 1:] / daily[:, :-1] - 1
            for place, status, figures, returns in zip(
                group.places, statuses.tolist(), out.tolist(), changes.tolist(), strict=True
            ):
                if status == OK:
                    found[place] = figures, returns
        for place, strategy in enumerate(strategies):
            if place in found:
                yield _score_of(strategy, *found[place]), taken
            else:
                yield self._reference(strategy), None

    def _groups(self, strategies: Sequence[Strategy]) -> Iterator[_Group]:
        """Those of ``strategies`` that compiled programs can run, by the program that does it and in groups that read
        no more recorded columns than are kept.
        """
        by_key: dict[Any, list[tuple[int, Shape]]] = {}
        for place, strategy in enumerate(strategies):
            shape = self._shape_of(strategy)
            if self._fits(strategy, shape):
                by_key.setdefault(shape.key, []).append((place, shape))
        for members in by_key.values():
            if members[0][1].recorded:
                # Neighbours share what was recorded for them.
                seen: dict[Feature, int] = {}
                members.sort(key=lambda member: [seen.setdefault(item, len(seen)) for item in member[1].recorded])
            group = _Group([], [], {})
            for place, shape in members:
                more = dict.fromkeys((*group.recorded, *shape.recorded))
                if len(more) > self._recordings.most:
                    yield group
                    group, more = _Group([], [], {}), dict.fromkeys(shape.recorded)
                group.places.append(place)
                group.shapes.append(shape)
                group.recorded.update(more)
            yield group

    def _fits(self, strategy: Strategy, shape: Shape) -> bool:
        """Whether all sums of its features stay exact, and the candles are of a unit that they take."""
        longest = max([1, *(item.need for item in (*strategy.features.values(), *self._beside))]) + 1
        squared = [item.need for item in strategy.features.values() if item.kind == "bollinger"]
        return (
            self._most * longest < _MOST_EXACT
            and (max(squared, default=0) * self._farthest) ** 2 < _MOST_WHOLE
            and (self._unit == UNIT or _is_of_prices(shape))
        )

    def _walked(self, group: _Group, walked: tuple[Any, ...]) -> int | None:
        """Run ``group``: ``walked`` takes the trades of the last, and of each equity at day ends, whether all was
        exact, and figures. Returns how many trades there are of the last; None if any raised, or was not compiled.
        """
        start = self._shape.strategy.start
        began = time.process_time_ns()
        try:
            if start is not None and has_lots(start):
                return self._held(group, walked)
            if self._has_exits:
                return self._ended(group, walked)
            planes = self._planes(group)
            decided = time.process_time_ns()
            self.spent.deciding += decided - began
            began = decided
            if planes is None:
                return None
            count: int = walking()(*planes, self._tape.fills, self._minutes, self._terms, *walked)
            return count
        except (NumbaError, TypeError, AssertionError, NotImplementedError) as error:
            # Numba means to raise the first alone.
            self._stay_with_reference(error)
            return None
        except (ArithmeticError, LookupError, ValueError):
            return None
        finally:
            self.spent.trading += time.process_time_ns() - began

    def _planes(self, group: _Group) -> tuple[Any, Any, Any] | None:
        """Bits of the candles on which each of ``group`` wants to be long, short or flat; None if it raised."""
        shape, tape, count = group.shapes[0], self._tape, len(group.places)
        start = shape.strategy.start
        decide = (program_of if start is None else stepper_of)(shape, self._module, self._unit)
        states = () if start is None else table_of(start, count)
        words = (self._bars.shape[1] + 63) // 64 + TILE // 64
        if self._bits is None or self._bits.shape[1] < count:
            self._bits = np.zeros((3, count, words), np.uint64)
        longs, shorts, flats = self._bits[:, :count]
        tables, rest = self._arranged(group.shapes)
        bad = decide(
            self._bars, self._totals, tape.starts, tape.decides, tape.is_mute, *tables, *states, *rest,
            np.empty(TILE, np.int8), longs, shorts, flats,
        )  # fmt: skip
        return (longs, shorts, flats) if bad < 0 else None

    def _held(self, group: _Group, walked: tuple[Any, ...]) -> int:
        """Run strategies that hold several lots."""
        shape, tape = group.shapes[0], self._tape
        decide = stepper_of(shape, self._module, self._unit)
        run = Run(decide, shape.strategy.start, tape, self._minutes, self._terms, self._waits)
        tables, rest = self._arranged(group.shapes)
        told = (self._bars, self._totals, tape.starts, tape.decides, tape.is_mute, tape.bar_close_ms, *tables)
        hold(run, told, rest, len(group.places), TILE, walked)
        return int(np.count_nonzero(walked[0][:, 0]))

    def _ended(self, group: _Group, walked: tuple[Any, ...]) -> int | None:
        """Run strategies whose trades may end by exits of their own."""
        shape, tape = group.shapes[0], self._tape
        run = Trading(self._request, tape, self._minutes, self._terms, self._exits, self._market)
        keys = run.keys(shape, group.strategies)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        tables, rest = self._arranged([group.shapes[place] for place in order])
        start = shape.strategy.start
        states = () if start is None else table_of(start, len(keys))
        told = (self._bars, self._totals, tape.starts, tape.decides, tape.is_mute, *tables, *states)
        trade = exiting_program(shape, self._module, self._unit, asks_shorts=self._request.profile != "spot")
        found = tuple(part.copy() for part in walked[1:])
        count = run.run(trade, told, rest, [keys[place] for place in order], (walked[0], *found))
        for part, in_order in zip(walked[1:], found, strict=True):
            part[order] = in_order
        return count

    def _shape_of(self, strategy: Strategy) -> Shape:
        return Shape(strategy, self._interval, self._beside, self._most_volume)

    def _arranged(self, shapes: Sequence[Shape]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return arranged(shapes, self._beside, self._recordings, has_exits=self._has_exits)

    def _stay_with_reference(self, error: Exception) -> None:
        self._compiled = False
        lines = [line.strip() for line in str(error).splitlines()]
        self.refusal = next((line for line in lines if line and not line.startswith("Failed in")), repr(error))
        _log.warning(
            "strategy not compiled: the reference engine runs it", strategy=self._request.strategy, error=str(error)
        )

    def _reference(self, strategy: Strategy) -> ComboScore:
        return ReferenceEvaluator(self._request, self._source).evaluate([strategy.params_dict()])[0]

    def _trade(self, row: Any) -> KernelTrade:
        side, entered, left, lots = (int(value) for value in row[:4])
        is_open = left < 0
        return KernelTrade(
            "LONG" if side > 0 else "SHORT",
            int(self._tape.open_ms[entered]),
            self._price(row[4:6]),
            lots * self._source.market.lot_size,
            None if is_open else int(self._tape.open_ms[left]),
            None if is_open else self._price(row[6:8]),
        )

    def _price(self, pair: Any) -> Decimal:
        return Decimal(value_of(pair)) / self._scale / UNIT


def _is_of_prices(shape: Shape) -> bool:
    """Whether its features take prices in any unit."""
    return all(kind.kind in ALWAYS_KNOWN or kind is RECORDED for kind in shape.kinds)


def _score_of(strategy: Strategy, figures: Sequence[float], changes: Sequence[float]) -> ComboScore:
    values = dict(zip(FIGURES, figures, strict=True))
    metrics = {name: None if isnan(values[name]) else values[name] for name in METRICS}
    return ComboScore(strategy.params_dict(), metrics, int(values["trades"]), tuple(changes[: int(values["days"])]))


def _until(request: BacktestRequest, source: Source) -> Source:
    """``source`` up to the end of the request's range; what comes before its start warms features up."""
    if request.end_ms is None or source.candles[-1].close_time_ms <= request.end_ms:
        return source
    return replace(source, candles=source.series.closing(0, request.end_ms))


def _blocks(choose: np.ufunc, prices: Integers) -> Integers:
    """The lowest or the highest of each block of minutes, read-only."""
    found: Integers = choose.reduceat(prices, np.arange(0, len(prices), BLOCK))
    found.flags.writeable = False
    return found


def _seams(tape: Tape) -> Integers:
    """For each minute, and for what comes after the last, the close before it and its open; read-only."""
    found = np.zeros((len(tape.opens) + 1, 2), np.int64)
    found[1:, 0], found[:-1, 1] = tape.closes, tape.opens
    found.flags.writeable = False
    return found


def _summed(values: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
