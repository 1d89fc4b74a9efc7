"""Combinations whose trades have exits of their own: what limits them, as whole numbers, and the program that walks."""

from __future__ import annotations

import dis
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtest.sweep.kernel import bits, program, stepping
from backtest.sweep.kernel import exits as walks
from backtest.sweep.kernel.exits import STATE, Decided, Exits, Market
from backtest.sweep.kernel.lot_walk import Waits
from backtest.sweep.kernel.marks import PENDING
from backtest.sweep.kernel.program import Shape
from backtest.sweep.kernel.tape import Tape
from backtest.sweep.kernel.walk import Minutes, Terms
from trading.config.rules import NO_ENTRIES, NO_EXITS
from trading.features.contract import Feature
from trading.features.ranges import atr
from trading.intervals import WEEK_MS, parse_interval
from trading.strategies.contract import Strategy

if TYPE_CHECKING:
    from backtest.requests import BacktestRequest

__all__ = [
    "ALWAYS_KNOWN", "TILE", "Trading", "atr_beside", "exiting_program", "exits_of", "has_exits", "market_of",
    "read_names",
]  # fmt: skip

TILE = 4_096
"""Candles that are computed and walked together."""

ALWAYS_KNOWN = frozenset({"sma", "ema", "rma", "rsi", "macd", "trange", "atr", "returns", "bollinger"})
"""Kinds of features that have a value from their first on; they read prices alone."""

_MOST = 2**62
_PARTS = ("begin", "advance", "finish")
_HUNDRED = 100


def has_exits(request: BacktestRequest, strategy: Strategy) -> bool:
    """Whether a trade may be closed, or kept from opening, by anything but a target."""
    entries = request.entries.model_copy(update={"long_only": False, "reenter": NO_ENTRIES.reenter})
    return not (
        request.exits == NO_EXITS and entries == NO_ENTRIES and strategy.bracket is None and strategy.sizing is None
    )


def atr_beside(request: BacktestRequest) -> tuple[Feature, ...]:
    """The feature that exits need besides those of the strategy."""
    return (atr(request.exits.atr_period),) if request.exits.in_atr else ()


def exits_of(request: BacktestRequest, order: Waits, slip: int, most: int) -> Exits:
    """What the request says, for prices up to ``most`` and these slipped by ``slip``; OverflowError if that is too fine
    to be counted.
    """
    exits, width_ms = request.exits, parse_interval(request.intervals[0]).typical_ms
    percents = (exits.stop_loss_percent, exits.take_profit_percent, exits.trailing_stop_percent)
    multiples = (exits.stop_loss_atr, exits.take_profit_atr, exits.trailing_stop_atr)
    percent_of, atr_of = _denominator(percents), _denominator(multiples)
    whole = _HUNDRED * percent_of
    numbers = [int((number or 0) * percent_of) for number in percents]
    times = [int((number or 0) * atr_of) for number in multiples]
    farthest = whole + max(numbers)
    if most * slip * (farthest // whole + 1) >= _MOST or order.scale * whole * farthest >= _MOST:
        raise OverflowError(f"{farthest} of {whole} of a price")
    return Exits(
        stop=numbers[0],
        target=numbers[1],
        trail=numbers[2],
        whole=whole,
        stop_atr=times[0],
        target_atr=times[1],
        trail_atr=times[2],
        atr_of=atr_of,
        order=order,
        in_atr=exits.in_atr,
        trails=bool(exits.trailing_stop_percent or exits.trailing_stop_atr),
        hold_ms=(exits.max_hold_candles or 0) * width_ms,
        cool_ms=request.entries.cooldown_candles * width_ms,
        is_patient=request.entries.reenter == "new_signal",
    )


@dataclass(frozen=True, slots=True)
class Trading:
    """What all combinations of a request have in common whose trades may have exits."""

    request: BacktestRequest
    tape: Tape
    minutes: Minutes
    terms: Terms
    exits: Exits
    market: Market

    def keys(self, shape: Shape, strategies: Sequence[Strategy]) -> list[tuple[Any, ...]]:
        """A key for each of ``strategies`` of one shape: those of one key decide alike."""
        names = read_names(shape.strategy.rule)
        if names is None:
            return [(place,) for place in range(len(strategies))]
        keys: list[tuple[Any, ...]] = []
        for strategy in strategies:
            read = [value for name, value in strategy.params._asdict().items() if name in names]
            # What may be unknown keeps a rule from being asked, whether it reads it or not.
            seen = [
                (feature.interval, *feature.params)
                for name, feature in strategy.features_on(self.request.intervals[0]).items()
                if name in names or feature.interval or feature.kind not in ALWAYS_KNOWN
            ]
            keys.append((strategy.warmup, *read, *seen))
        return keys

    def run(
        self,
        trade: Callable[..., int],
        told: Sequence[Any],
        rest: Sequence[Any],
        keys: Sequence[Any],
        walked: Sequence[Any],
    ) -> int | None:
        """Run the combinations of these ``keys``, of which equal ones are neighbours; ``walked`` takes trades of the
        last, and of each equity at day ends, whether all was exact, and figures. Returns how many trades there are;
        None if a strategy raised.

        ``told`` and ``rest`` are what the program reads of candles, features and parameters.
        """
        count = len(keys)
        is_new = np.array([not at or keys[at] != keys[at - 1] for at in range(count)])
        bad = trade(
            *told, rest[0], is_new, *rest[1:], np.empty(TILE, np.int8), self.tape.fills, self.minutes, self.market,
            self.terms, self.exits, np.zeros(count, STATE), np.empty((count, *PENDING)), *walked,
        )  # fmt: skip
        return int(np.count_nonzero(walked[0][:, 0])) if bad < 0 else None


def market_of(request: BacktestRequest, tape: Tape) -> Market:
    """What all combinations read besides the minutes."""
    entries = request.entries
    closed = np.zeros(len(tape.bar_close_ms), np.bool_)
    if entries.sessions_utc:
        # Every week is the same, and has no more closes than minutes.
        of_week, back = np.unique(tape.bar_close_ms % WEEK_MS, return_inverse=True)
        closed = ~np.array([entries.allow(int(time_ms)) for time_ms in of_week], np.bool_)[back]
    market = Market(tape.open_ms, tape.bar_close_ms, _bits(tape.is_native), _bits(closed))
    for array in market:
        array.flags.writeable = False
    return market


def exiting_program(shape: Shape, module: ModuleType, unit: int, *, asks_shorts: bool) -> Callable[..., int]:
    """The compiled ``trade`` of ``shape``; ``asks_shorts``: its bracket and sizing are asked of a short target too."""
    strategy = shape.strategy
    is_rule = strategy.start is None
    asked = [name for name in ("bracket", "sizing") if getattr(strategy, name) is not None]
    text = _text(shape, unit, asked, asks_shorts=asks_shorts)
    found: dict[int, FunctionType] = {}
    steps = [program.reached(kind.step, found) for kind in shape.kinds]
    program.reached(module.rule if is_rule else module.step, found)
    functions = {name: program.reached(getattr(module, name), found) for name in asked}
    sources = sorted({program.source_text(function) for function in found.values()})
    walk = _walking()
    trade: Callable[..., int] = program.loaded(
        program.name_of(strategy.name, text, strategy.source, *sources, *([] if is_rule else stepping.own_sources())),
        text,
        lambda: {
            **({"rule": program.compiled(module.rule, unit, {})} if is_rule else {}),
            **({} if is_rule else stepping.given_of(module, strategy.start, unit)),
            **{name: program.compiled(function, unit, {}) for name, function in functions.items()},
            **program.given_of(shape, module, unit, steps),
            "pack": bits.pack,
            "lowest_bit": bits.lowest_bit,
            "distance_of": walks.distance_of,
            "Decided": Decided,
            **{name: getattr(walk, name) for name in _PARTS},
        },
    ).trade
    return trade


def read_names(rule: Callable[..., object] | None) -> frozenset[str] | None:
    """The fields that ``rule`` reads of its three arguments; None where it does anything else with them."""
    code = getattr(rule, "__code__", None)
    if code is None or code.co_cellvars:
        return None
    own = set(code.co_varnames[:3])
    names = set()
    steps = list(dis.get_instructions(code))
    for step, after in zip(steps, [*steps[1:], steps[-1]], strict=True):
        touched = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if "_FAST" in step.opname and own.intersection(touched):
            if step.opname != "LOAD_FAST" or after.opname != "LOAD_ATTR":
                return None
            names.add(str(after.argval))
    return frozenset(names)


def _text(shape: Shape, unit: int, asked: Sequence[str], *, asks_shorts: bool) -> str:
    lines = []
    if "bracket" in asked:
        lines += [
            "stop, target = bracket(now, p)",
            "told[0, n], told[1, n] = distance_of(stop), distance_of(target)",
            "bad |= told[0, n] == 0.0 or told[1, n] == 0.0",
        ]
    if "sizing" in asked:
        lines += ["told[2, n] = sizing(now, p)", "bad |= not 0.0 < told[2, n] <= 1.0"]
    told = _TOLD.format(
        params=program.params_text(shape),
        asked="longs[word] | shorts[word]" if asks_shorts else "longs[word]",
        now=", ".join(["prices[n + 1]", *(f"out[places[c, {field}], n + 1]" for field in range(shape.seen))]),
        lines="\n            ".join(lines),
    )
    ask = "if told_of(prices, out, places, p_i, p_f, c, last - base, longs[0], shorts[0], told): return c"
    is_rule = shape.strategy.start is None
    parts = {
        "names": program.kinds_text(shape),
        "ask": ask if asked else "",
        "atr": f"out[places[c, {shape.seen}], 1:]" if len(shape.reads) > shape.seen else "prices[1:]",
        "state": "" if is_rule else "t_i, t_f, ",
        "more": "start" if is_rule else "is_mute",
        "holed": "holed, " if is_rule else "",
        **program.fresh_texts(shape),
    }
    codes = program.codes_text(shape) if is_rule else stepping.targets_text(shape)
    pieces = [program.columns_text(shape, unit), codes, *([told] if asked else [])]
    return "\n\n".join([*pieces, _TRADE.format(**parts)])


def _walking() -> ModuleType:
    """The walk, compiled for all strategies."""
    name = program.name_of("exits", _WALK)
    return program.loaded(name, _WALK, lambda: {f"_{part}": getattr(walks, part) for part in _PARTS})


def _denominator(numbers: Sequence[Decimal | None]) -> int:
    """The power of ten that makes all of ``numbers`` whole."""
    exponents = [-int(number.normalize().as_tuple().exponent) for number in numbers if number is not None]
    return int(10 ** max([0, *exponents]))


def _bits(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """``flags`` as bits, 64 to a word, with as many words more as a tile may read."""
    words = np.zeros(-(-len(flags) // TILE) * TILE // 8, np.uint8)
    packed = np.packbits(flags, bitorder="little")
    words[: len(packed)] = packed
    return words.view(np.uint64)


_WALK = """
from numba import njit


@njit(cache=True)
def begin(s, daily, minutes, terms):
    _begin(s, daily, minutes, terms)


@njit(cache=True)
def advance(s, decided, fills, minutes, market, terms, exits, pending, trades, daily):
    _advance(s, decided, fills, minutes, market, terms, exits, pending, trades, daily)


@njit(cache=True)
def finish(s, minutes, terms, exits, pending, trades, daily, out):
    _finish(s, minutes, terms, exits, pending, trades, daily, out)
"""

_TOLD = """
@njit
def told_of(prices, out, places, p_i, p_f, c, count, longs, shorts, told):
    p = {params}
    bad = False
    for word in range((count + 63) // 64):
        bits = {asked}
        while bits:
            n = (word << 6) + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            now = Row({now})
            {lines}
    return bad
"""

_TRADE = """
@njit(cache=True)
def trade(
    bars, totals, starts, decides, is_mute, {names}, places, p_i, p_f, until, {state}needs, is_new, out, prices, codes,
    fills, minutes, market, terms, exits, states, pendings, trades, daily, statuses, figures
):
    end, count, tile = bars.shape[1], len(needs), len(codes)
    longs, shorts, flats = (
        np.zeros((1, tile // 64), np.uint64), np.zeros((1, tile // 64), np.uint64), np.zeros((1, tile // 64), np.uint64)
    )
    holed = np.zeros(len(out), np.bool_)
{begin}
    told = np.full((3, tile), -1.0)
    told[2] = 1.0
    for c in range(count):
        begin(states[c], daily[c], minutes, terms)
    first = 0
    for base in range(0, end, tile):
        last = min(end, base + tile)
        if base:
            prices[0] = prices[tile]
        for i in range(base, last):
            prices[i - base + 1] = bars[3, i] / unit
        while first + 1 < len(starts) and starts[first + 1] <= base:
            first += 1
        mute = is_mute[base:last].any()
{anew}
        upto = fills[last] if last < end else len(minutes.opens)
        natives, closed = market.natives[base >> 6 : (base + tile) >> 6], market.closed[base >> 6 : (base + tile) >> 6]
        for c in range(count):
{fresh}
            if is_new[c]:
                for i in range(tile):
                    codes[i] = 2
                segment = first
                a = base
                while a < last:
                    while segment + 1 < len(starts) and starts[segment + 1] <= a:
                        segment += 1
                    start = starts[segment]
                    b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
                    ready = max(a, start + needs[c] - 1, decides)
                    if ready < b:
                        if codes_of(prices, out, {holed}places, p_i, p_f, {state}c, ready, b, base, {more}, codes):
                            return c
                    a = b
                if mute:
                    for i in range(base, last):
                        if is_mute[i]:
                            codes[i - base] = 2
                pack(codes, last - base, longs, shorts, flats, 0, 0)
            if states[c].is_over:
                continue
            {ask}
            decided = Decided(base, last, upto, longs[0], shorts[0], flats[0], natives, closed, told, {atr})
            advance(states[c], decided, fills, minutes, market, terms, exits, pendings[c], trades, daily[c])
    for c in range(count):
        finish(states[c], minutes, terms, exits, pendings[c], trades, daily[c], figures[c])
        statuses[c] = states[c].status
    return -1
"""
