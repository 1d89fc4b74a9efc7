"""A compiled program for each strategy: its own rule and the steps of its features, over all candles at once.

The program is a module that is written to disk under a name made of everything it depends on, because Numba finds what
it compiled earlier by the file of a function: an edited rule has another name and is compiled anew, and everything else
loads in milliseconds. Nothing is translated: rule and steps are the very functions that trade live, with the functions
they call compiled along with them.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
from numba import njit

from backtest.sweep.kernel import bits, columns, compiling, distances, exact, exits, lanes, marks, money, turns, walk
from backtest.sweep.kernel.recorded import RECORDED, as_read
from trading.atomic_files import replacing
from trading.candles import UNIT
from trading.features.contract import Feature, FeatureDef
from trading.features.inputs import Leaving, Recent
from trading.strategies.building import source_of
from trading.strategies.contract import Strategy

__all__ = [
    "Shape", "codes_text", "columns_text", "compiled", "fill_text", "fresh_texts", "given_of", "has_step", "kinds_text",
    "lanes_of", "loaded", "name_of", "params_text", "program_of", "reached", "recurrence_text", "source_text",
    "start_of", "walking",
]  # fmt: skip

# Kinds whose values are recorded, or follow from running totals, many candles at once and to the same bit.
_SHARED_BY_KIND = {"sma": "means", "bollinger": "bands", RECORDED.kind: "recorded"}
_LANES = 4
_FIELDS = {"open": 0, "high": 1, "low": 2, "close": 3, "volume": 4}


class Shape:
    """What the program of a strategy is made of: the kind of each feature, and where each field of its row is read.

    All combinations of parameters of a strategy have the same one, unless its ``features`` chooses between kinds, or
    between its own interval and others.
    """

    def __init__(self, strategy: Strategy, interval: str, beside: Sequence[Feature] = (), most_volume: int = 0) -> None:
        """``beside`` are features that the strategy does not see: their places come after those of its row. No candle
        has more volume, at 10**-8, than ``most_volume``.
        """
        features = strategy.features_on(interval)
        self.strategy = strategy
        self.features = (*(as_read(feature, most_volume) for feature in features.values()), *beside)
        self.seen = len(features)
        self.kinds: list[FeatureDef] = []
        # For each field of the row after the close: its kind and which of the kind's outputs.
        self.reads: list[tuple[int, int]] = []
        for feature in self.features:
            definition = feature.definition
            kinds = [kind.kind for kind in self.kinds]
            if definition.kind not in kinds:
                self.kinds.append(definition)
                kinds.append(definition.kind)
            outputs = definition.outputs
            self.reads.append(
                (kinds.index(definition.kind), outputs.index(feature.output or outputs[0]) if outputs else 0)
            )

    @property
    def recorded(self) -> list[Feature]:
        """The features that no program computes."""
        return [item.params.feature for item in self.features if item.definition is RECORDED]

    @property
    def key(self) -> tuple[object, ...]:
        return self.strategy.name, self.strategy.source, tuple(kind.kind for kind in self.kinds), tuple(self.reads)


def program_of(shape: Shape, module: ModuleType, unit: int) -> Callable[..., Any]:
    """The compiled ``decide`` of ``shape``, whose functions are those of ``module``; prices are whole at 1/``unit``."""
    text = _text(shape, unit)
    found: dict[int, FunctionType] = {}
    steps = [reached(kind.step, found) for kind in shape.kinds]
    rule = reached(module.rule, found)
    sources = sorted({source_text(function) for function in found.values()})
    name = name_of(shape.strategy.name, text, shape.strategy.source, *sources)
    decide: Callable[..., Any] = loaded(
        name,
        text,
        lambda: {
            "rule": compiled(rule, unit, {}),
            "pack": bits.pack,
            **given_of(shape, module, unit, steps),
        },
    ).decide
    return decide


def walking() -> Callable[..., Any]:
    """The compiled ``walk``, for decisions of any strategy."""
    name = name_of("walk", _WALK)
    given = {"walk": walk.walk, "AHEAD": turns.AHEAD, "PENDING": marks.PENDING}
    run: Callable[..., Any] = loaded(name, _WALK, lambda: given).run
    return run


def loaded(name: str, text: str, given: Callable[[], Mapping[str, Any]]) -> ModuleType:
    """The module ``name``, whose text is run once, with what is ``given`` among its names."""
    if name not in sys.modules:
        _load(name, text, given())
    return sys.modules[name]


def name_of(what: str, *texts: str) -> str:
    """A module's name: of what it is made for, of these texts and of all that is compiled into it besides."""
    parts = (bits, columns, compiling, distances, exact, exits, lanes, marks, money, turns, walk)
    own = (inspect.getsource(part) for part in parts)
    whole = "\0".join((numba.__version__, sys.version, *texts, *own))
    return f"kernel_{what}_{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def folder() -> Path:
    """Where programs and what Numba made of them are kept; NUMBA_CACHE_DIR names another place."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    return Path(named) / "manta" if named else Path.home() / ".cache" / "manta" / "kernels"


def _load(name: str, text: str, given: Mapping[str, Any]) -> None:
    """Run ``text`` as the module ``name``, with ``given`` among its names."""
    path = folder() / f"{name}.py"
    if not path.exists():
        with replacing(path) as file:
            file.write(text.encode())
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    module.__dict__.update(given)
    spec.loader.exec_module(module)
    sys.modules[name] = module


def given_of(shape: Shape, module: ModuleType, unit: int, steps: Sequence[FunctionType]) -> dict[str, Any]:
    """What the text of a strategy's features and rows names without defining it."""
    given: dict[str, Any] = {
        "Params": module.Params,
        "Row": module.Row,
        "unit": unit,
        "Bar": columns.Bar,
        "means": columns.means,
        "bands": columns.bands,
        "recorded": columns.recorded,
    }
    for place, (kind, step) in enumerate(zip(shape.kinds, steps, strict=True)):
        given[f"Params{place}"] = kind.params
        given[f"State{place}"] = type(start_of(kind))
        if kind.kind not in _SHARED_BY_KIND:
            given[f"step{place}"] = compiled(step, unit, {})
        if kind.kind in lanes.TOGETHER:
            given[lanes.TOGETHER[kind.kind]] = getattr(lanes, lanes.TOGETHER[kind.kind])
    return given


def has_step(kind: FeatureDef) -> bool:
    """Whether ``kind`` is computed by its own step, compiled, and not in another way."""
    return kind.kind not in _SHARED_BY_KIND


def start_of(kind: FeatureDef) -> Any:
    """A state that ``kind`` begins with, whose numbers have the types of all of them."""
    return kind.start(kind.params(*_least(kind))) if callable(kind.start) else kind.start


def _least(kind: FeatureDef) -> list[Any]:
    return [allowed.low for allowed in kind.ranges.values()]  # type: ignore[union-attr]


def reached(function: Any, found: dict[int, FunctionType]) -> FunctionType:
    """``function``, after it and all functions of Python that it calls were put into ``found``."""
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r} is no plain function")
    if id(function) not in found:
        found[id(function)] = function
        for name in function.__code__.co_names:
            other = function.__globals__.get(name)
            if isinstance(other, FunctionType):
                reached(other, found)
    return function


def source_text(function: FunctionType) -> str:
    module = sys.modules.get(function.__module__)
    try:
        return source_of(module.__name__) if module is not None else function.__code__.co_code.hex()
    except (OSError, TypeError):
        return f"{function.__code__.co_code.hex()}{function.__code__.co_consts!r}"


def compiled(function: FunctionType, unit: int, made: dict[int, Any]) -> Any:
    """``function`` to be compiled, with what it calls, for prices that are whole at 1/``unit`` instead of 1/10**8.

    ``made`` is what to call in place of what, by its id.
    """
    if id(function) not in made:
        own = dict(function.__globals__)
        copy = FunctionType(function.__code__, own, function.__name__, function.__defaults__, function.__closure__)
        made[id(function)] = njit(forceinline=True)(copy)
        for name in function.__code__.co_names:
            other = own.get(name)
            if isinstance(other, FunctionType):
                own[name] = compiled(other, unit, made)
            elif id(other) in made:
                own[name] = made[id(other)]
            elif name == "UNIT" and other == UNIT:
                own[name] = unit
    return made[id(function)]


def _text(shape: Shape, unit: int) -> str:
    """The module's text. Its names are put into it before it is run."""
    decide = _DECIDE.format(
        names=kinds_text(shape),
        **fresh_texts(shape),
    )
    return "\n\n".join([columns_text(shape, unit), codes_text(shape), decide])


def columns_text(shape: Shape, unit: int) -> str:
    """The beginning of a module: a function for each kind of feature, which makes its columns."""
    pieces = [
        f'"""Made for {shape.strategy.name} at 1/{unit}: do not edit."""',
        "import numpy as np\nfrom numba import njit\n",
    ]
    pieces += [_feature(place, kind) for place, kind in enumerate(shape.kinds)]
    return "\n\n".join(pieces)


def kinds_text(shape: Shape) -> str:
    """The names of the tables of all kinds."""
    return ", ".join(f"kind{place}" for place in range(len(shape.kinds)))


def fill_text(shape: Shape) -> str:
    """The function that makes the prices and all columns of a stretch, from the segment it begins in; returns the one
    it ends in.
    """
    calls = "".join(_CALLS.format(place=place, lanes=lanes_of(kind)) for place, kind in enumerate(shape.kinds))
    return _FILL.format(names=kinds_text(shape), calls=calls.strip("\n"))


def params_text(shape: Shape) -> str:
    """The parameters of a combination, read from their table."""
    cells = [
        f"p_i[c, {n}]" if isinstance(value, int) else f"p_f[c, {n}]" for n, value in enumerate(shape.strategy.params)
    ]
    return f"Params({', '.join(cells)})"


def fresh_texts(shape: Shape) -> dict[str, str]:
    """The parts of a function that makes columns when they are first read: what ``begin``s it, what each stretch begins
    ``anew`` with, and what makes those that are ``fresh`` to a combination.
    """
    kinds = list(enumerate(shape.kinds))
    return {
        "begin": "\n".join(_BEGIN.format(place=place) for place, _ in kinds).strip("\n"),
        "anew": "\n".join(f"        done{place} = 0" for place, _ in kinds),
        "fresh": "\n".join(_FRESH.format(place=place, lanes=lanes_of(kind)) for place, kind in kinds).strip("\n"),
    }


def lanes_of(kind: FeatureDef) -> int:
    """How many parameters of ``kind`` are computed side by side: a recurrence waits for the candle before."""
    if kind.kind in lanes.TOGETHER:
        return lanes.LANES
    source = kind.source_of(kind.params(*_least(kind)))
    return 1 if kind.kind in _SHARED_BY_KIND or isinstance(source, Recent) else _LANES


def _feature(place: int, kind: FeatureDef) -> str:
    if kind.kind in _SHARED_BY_KIND:
        texts = [_SHARED.format(place=place, function=_SHARED_BY_KIND[kind.kind])]
    else:
        texts = [recurrence_text(f"feature{place}", place, kind, 1)]
    if kind.kind in lanes.TOGETHER:
        return "\n\n".join([*texts, _SEEDED.format(place=place, function=lanes.TOGETHER[kind.kind])])
    side_by_side = ""
    if lanes_of(kind) > 1:
        texts.append(recurrence_text(f"beside{place}", place, kind, lanes_of(kind)))
        side_by_side = _BESIDE.format(place=place, lanes=lanes_of(kind))
    return "\n\n".join([*texts, _FEATURES.format(place=place, side_by_side=side_by_side.strip("\n"))])


def recurrence_text(name: str, place: int, kind: FeatureDef, count: int) -> str:
    """The function ``name`` that computes ``count`` parameters of ``kind`` side by side."""
    begins, steps, ends = (
        "\n".join(_lane(part, place, kind, lane) for lane in range(count)) for part in (_BEGINS, _STEPS, _ENDS)
    )
    return _FEATURE.format(name=name, begins=begins, steps=steps, ends=ends)


def _lane(text: str, place: int, kind: FeatureDef, lane: int) -> str:
    start = start_of(kind)
    parts = list(start) if isinstance(start, tuple) else [start]
    at = f"j + {lane}"
    reads = [f"s_i[{at}, {n}]" if isinstance(part, int) else f"s_f[{at}, {n}]" for n, part in enumerate(parts)]
    if hasattr(start, "_fields"):
        state = f"State{place}({', '.join(reads)})"
    else:
        state = f"({', '.join(reads)},)" if isinstance(start, tuple) else reads[0]
    kept = [f"state{lane}[{n}]" for n in range(len(parts))] if isinstance(start, tuple) else [f"state{lane}"]
    params = [
        f"k_i[{at}, {n}]" if allowed.whole else f"k_f[{at}, {n}]"  # type: ignore[union-attr]
        for n, allowed in enumerate(kind.ranges[field] for field in kind.params._fields)
    ]
    values = [f"value{lane}[{n}]" for n in range(len(kind.outputs))] or [f"value{lane}"]
    return text.format(
        lane=lane,
        at=at,
        place=place,
        params=f"Params{place}({', '.join(params)})",
        state=state,
        beside=_beside(kind, f"size{lane}"),
        stores="\n".join(
            f"        out[row{lane} + {n}, i - base + 1] = {value} if known{lane} else np.nan"
            for n, value in enumerate(values)
        ),
        missing=" | ".join([f"(not known{lane})", *(f"({value} != {value})" for value in values)]),
        writes="\n".join(f"    {read} = {value}" for read, value in zip(reads, kept, strict=True)),
    ).strip("\n")


def _beside(kind: FeatureDef, size: str) -> str:
    source = kind.source_of(kind.params(*_least(kind)))
    if source is None:
        return "0"
    if isinstance(source, Leaving):
        return f"bars[{_FIELDS[kind.window_field]}, i - {size}] if i - {size} >= start else 0"
    if isinstance(source, Recent):
        parts = [f"bars[{place}, max(start, i + 1 - {size}) : i + 1]" for place in columns.recent_fields(source)]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
    raise TypeError(f"{kind.kind} is told of {type(source).__name__}")


def codes_text(shape: Shape) -> str:
    """The function that asks the rule for each candle of a stretch."""
    fields = range(shape.seen)
    return _CODES.format(
        params=params_text(shape),
        first=", ".join(["prices[n + 1]", *(f"out[places[c, {n}], n + 1]" for n in fields)]),
        first_known=" and ".join([f"out[places[c, {n}], n + 1] == out[places[c, {n}], n + 1]" for n in fields])
        or "True",
        unknown=", ".join(["np.nan"] * (shape.seen + 1)),
        rows="\n".join(
            f"    now{n}, before{n} = out[places[c, {n}], n + 1 : b - base + 1], out[places[c, {n}], n]" for n in fields
        ),
        read=", ".join(["prices_now[i]", *(f"now{n}[i]" for n in fields)]),
        now=", ".join(["price", *(f"value{n}" for n in fields)]),
        before=", ".join(["price_before", *(f"before{n}" for n in fields)]),
        known=" & ".join([f"(value{n} == value{n})" for n in fields]) or "True",
        holed=" | ".join([f"holed[places[c, {n}]]" for n in fields]) or "False",
    )


_WALK = """
import numpy as np
from numba import njit


@njit(cache=True)
def run(longs, shorts, flats, fills, minutes, terms, trades, daily, statuses, out):
    count = 0
    ahead, pending = np.zeros(AHEAD, np.int64), np.empty(PENDING)
    for c in range(len(out)):
        statuses[c], count = walk(
            longs[c], shorts[c], flats[c], fills, minutes, terms, ahead, pending, trades, daily[c], out[c]
        )
    return count
"""

_SHARED = """
@njit
def feature{place}(bars, totals, kind, j, start, a, b, base, out):
    return {function}(bars, totals, kind, j, start, a, b, base, unit, out)
"""

_FEATURES = """
@njit
def features{place}(bars, totals, kind, j, count, start, a, b, base, out):
{side_by_side}
    is_holed = False
    for lane in range(j, j + count):
        is_holed |= feature{place}(bars, totals, kind, lane, start, a, b, base, out)
    return is_holed
"""

_BESIDE = """
    if count == {lanes}:
        return beside{place}(bars, totals, kind, j, start, a, b, base, out)
"""

# Once it is seeded, an average of finite prices is never missing.
_SEEDED = """
@njit
def features{place}(bars, totals, kind, j, count, start, a, b, base, out):
    seeded = a
    for lane in range(j, j + count):
        seeded = max(seeded, min(b, start + kind.need[lane]))
    is_holed = False
    if a < seeded:
        for lane in range(j, j + count):
            is_holed |= feature{place}(bars, totals, kind, lane, start, a, seeded, base, out)
    if seeded < b:
        {function}(bars, kind, j, count, seeded, b, base, unit, out)
    return is_holed
"""

_FEATURE = """
@njit
def {name}(bars, totals, kind, j, start, a, b, base, out):
    k_i, k_f, s_i, s_f = kind.whole, kind.real, kind.state_whole, kind.state_real
{begins}
    is_holed = False
    for i in range(a, b):
        bar = Bar(bars[0, i], bars[1, i], bars[2, i], bars[3, i], bars[4, i])
{steps}
{ends}
    return is_holed
"""

_BEGINS = """
    row{lane}, size{lane}, need{lane} = kind.column[{at}], kind.size[{at}], kind.need[{at}]
    k{lane} = {params}
    if a == start:
        for n in range(s_i.shape[1]):
            s_i[{at}, n] = kind.start_whole[{at}, n]
            s_f[{at}, n] = kind.start_real[{at}, n]
    state{lane} = {state}
"""

_STEPS = """
        beside{lane} = {beside}
        state{lane}, value{lane} = step{place}(state{lane}, bar, beside{lane}, k{lane})
        known{lane} = i - start + 1 >= need{lane}
{stores}
        is_holed |= {missing}
"""

_ENDS = """
{writes}
"""

# From one candle to the next the row before is the row that was, so that the compiler loads each value once. Where no
# value of a tile is missing, which is nearly everywhere, none is asked whether it is.
_CODES = """
@njit
def codes_of(prices, out, holed, places, p_i, p_f, c, a, b, base, start, codes):
    p = {params}
    bad = False
    if a == start:
        n = a - base
        now = Row({first})
        code = np.int64(rule(now, Row({unknown}), p))
        codes[n] = code if {first_known} else 2
        bad = code < -1 or code > 2
        a += 1
    n = a - base
    found = codes[n : b - base]
    prices_now, price_before = prices[n + 1 : b - base + 1], prices[n]
{rows}
    if {holed}:
        for i in range(len(found)):
            {now} = {read}
            code = np.int64(rule(Row({now}), Row({before}), p))
            found[i] = np.int8(code) if {known} else np.int8(2)
            bad |= (code < -1) | (code > 2)
            {before} = {now}
    else:
        for i in range(len(found)):
            {now} = {read}
            code = np.int64(rule(Row({now}), Row({before}), p))
            found[i] = np.int8(code)
            bad |= (code < -1) | (code > 2)
            {before} = {now}
    return bad
"""

_FILL = """
@njit
def fill(bars, totals, starts, segment, base, last, {names}, out, prices):
    for i in range(base, last):
        prices[i - base + 1] = bars[3, i] / unit
    a = base
    while a < last:
        while segment + 1 < len(starts) and starts[segment + 1] <= a:
            segment += 1
        start = starts[segment]
        b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
{calls}
        a = b
    return segment
"""

_CALLS = """
        for j in range(0, len(kind{place}.need), {lanes}):
            features{place}(
                bars, totals, kind{place}, j, min({lanes}, len(kind{place}.need) - j), start, a, b, base, out
            )
"""

_BEGIN = """
    kept{place} = np.full((len(kind{place}.need), kind{place}.outputs), np.nan)
"""

# A column is made when the first combination reads it, and its place goes to another after the last has: what a rule
# reads is still in the nearest cache. What it was at the end of a tile is kept for the next.
_FRESH = """
            j = done{place}
            while j < until[c, {place}]:
                lanes = min({lanes}, until[c, {place}] - j)
                for lane in range(j, j + lanes):
                    for n in range(kind{place}.outputs):
                        out[kind{place}.column[lane] + n, 0] = kept{place}[lane, n]
                segment, a, is_holed = first, base, False
                while a < last:
                    while segment + 1 < len(starts) and starts[segment + 1] <= a:
                        segment += 1
                    start = starts[segment]
                    b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
                    is_holed |= features{place}(bars, totals, kind{place}, j, lanes, start, a, b, base, out)
                    a = b
                for lane in range(j, j + lanes):
                    for n in range(kind{place}.outputs):
                        kept{place}[lane, n] = out[kind{place}.column[lane] + n, tile]
                        holed[kind{place}.column[lane] + n] = is_holed
                j += lanes
            done{place} = j
"""

_DECIDE = """
@njit(cache=True)
def decide(
    bars, totals, starts, decides, is_mute, {names}, places, p_i, p_f, until, needs, out, prices, codes, longs, shorts,
    flats
):
    end, count, tile = bars.shape[1], len(needs), len(codes)
    first = 0
    holed = np.zeros(len(out), np.bool_)
{begin}
    for base in range(0, end, tile):
        last = min(end, base + tile)
        if base:
            prices[0] = prices[tile]
        mute = False
        for i in range(base, last):
            prices[i - base + 1] = bars[3, i] / unit
            mute |= is_mute[i]
        while first + 1 < len(starts) and starts[first + 1] <= base:
            first += 1
{anew}
        for c in range(count):
{fresh}
            codes[:] = 2
            segment, a = first, base
            while a < last:
                while segment + 1 < len(starts) and starts[segment + 1] <= a:
                    segment += 1
                start = starts[segment]
                b = min(last, starts[segment + 1]) if segment + 1 < len(starts) else last
                ready = max(a, start + needs[c] - 1, decides)
                if ready < b:
                    if codes_of(prices, out, holed, places, p_i, p_f, c, ready, b, base, start, codes):
                        return c
                a = b
            if mute:
                for i in range(base, last):
                    if is_mute[i]:
                        codes[i - base] = 2
            pack(codes, last - base, longs, shorts, flats, c, base >> 6)
    return -1
"""
