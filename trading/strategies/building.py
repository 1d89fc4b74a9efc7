"""From a strategy module and its parameters to a strategy that can run; what the module lacks is said by name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from math import isfinite
from types import ModuleType
from typing import Any, cast

from trading.errors import BadInput
from trading.features.contract import Feature
from trading.parameters import Kind, read_params
from trading.strategies.contract import TARGETS, Strategy, StrategyModule

__all__ = ["build", "source_of"]

_OPTIONAL = ("confidence", "entry", "bracket", "sizing", "tag", "reasons")
# A signal is stored with the numbers it saw, and with its plan under this name.
_RESERVED = frozenset({"close", "plan"})


def build(
    name: str, module: ModuleType, given: Mapping[str, object], defaults: Mapping[str, object], source: str
) -> Strategy:
    """The strategy ``name`` of ``module``; BadInput when the module breaks the contract or a parameter is wrong."""
    summary = _summary_of(name, module)
    definition = cast("StrategyModule", module)
    chosen = read_params(f"Strategy {name}", definition.Params, definition.RANGES, given, defaults)
    features = _features(name, definition, chosen)
    step = getattr(module, "step", None)
    return Strategy(
        name=name,
        params=chosen,
        row=definition.Row,
        features=features,
        warmup=max(
            _warmup(name, definition, chosen),
            *(item.need for item in features.values() if not item.interval and item.multiple == 1),
            1,
        ),
        source=source + "".join(source_of(feature.definition.step.__module__) for feature in features.values()),
        rule=None if step is not None else module.rule,
        step=step,
        start=None if step is None else _start(name, module),
        summary=summary,
        **{part: getattr(module, part, None) for part in _OPTIONAL},
    )


@cache
def source_of(module_name: str) -> str:
    """The text of a module that is loaded, with plain line ends."""
    return inspect.getsource(sys.modules[module_name]).replace("\r\n", "\n")


@lru_cache(256)
def _summary_of(name: str, module: ModuleType) -> str:
    """The first line about ``module``, once it is checked: a sweep builds the same one a hundred thousand times."""
    _check_names(name, module)
    return (inspect.getdoc(module) or "").partition("\n")[0]


def _check_names(name: str, module: ModuleType) -> None:
    for part in ("Params", "RANGES", "Row", "features", "warmup"):
        if not hasattr(module, part):
            raise _broken(name, f"it does not define {part}", "See `manta strategies new` for a template.")
    for part in ("Params", "Row", "State"):
        if hasattr(module, part) and not _is_named_tuple(getattr(module, part)):
            raise _broken(name, f"{part} is no NamedTuple", f"Write `class {part}(NamedTuple):`.")
    kinds = [part for part in ("rule", "step") if callable(getattr(module, part, None))]
    if len(kinds) != 1:
        raise _broken(name, f"it defines {' and '.join(kinds) or 'neither rule nor step'}", "Define one of the two.")
    for part in ("features", "warmup", *(part for part in _OPTIONAL if hasattr(module, part))):
        if not callable(getattr(module, part)):
            raise _broken(name, f"{part} is no function", f"Write `def {part}(…):`.")
    _check_ranges(name, module.RANGES, module.Params._fields)


def _check_ranges(name: str, ranges: object, fields: tuple[str, ...]) -> None:
    if not isinstance(ranges, Mapping):
        raise _broken(name, "RANGES is no dictionary", "Write `RANGES = {'period': Range(2, 500)}`.")
    for part in fields:
        if not isinstance(ranges.get(part), Kind):
            raise _broken(name, f"RANGES has no Range for the parameter {part!r}", f"Add `{part!r}: Range(low, high)`.")


def _features(name: str, definition: StrategyModule, chosen: Any) -> dict[str, Feature]:
    found = definition.features(chosen)
    if not isinstance(found, Mapping):
        raise _broken(name, "features(p) returned no dictionary", "Return {'name': feature, …}.")
    features = dict(found)
    for part, feature in features.items():
        if not isinstance(feature, Feature):
            raise _broken(name, f"the feature {part!r} is {feature!r}", "Make it with a function such as sma(20).")
        if part in _RESERVED:
            raise _broken(name, f"a feature is named {part!r}", "Give it another name.")
    if definition.Row._fields != ("close", *features):
        raise _broken(
            name,
            f"Row has the fields {', '.join(definition.Row._fields)}",
            f"Give it {', '.join(('close', *features))}: the close, then the features in their order.",
        )
    return features


def _warmup(name: str, definition: StrategyModule, chosen: Any) -> int:
    found = definition.warmup(chosen)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= 1_000_000:
        raise _broken(name, f"warmup(p) returned {found!r}", "Return a whole number of candles, at most 1000000.")
    return found


def _start(name: str, module: ModuleType) -> Any:
    state = getattr(module, "State", None)
    if state is None:
        raise _broken(name, "it defines step but no State", "Write `class State(NamedTuple):` with a default for each.")
    if len(state._field_defaults) != len(state._fields):
        lacks = next(field for field in state._fields if field not in state._field_defaults)
        raise _broken(name, f"State.{lacks} has no default", "Give every field the value it starts from.")
    start = state()
    if ("target" in state._fields) == ("lots" in state._fields):
        raise _broken(name, "State must have either the field target or the field lots", "Define one of the two.")
    if "lots" in state._fields and start.lots != ():
        raise _broken(name, "State.lots does not start empty", "Write `lots: tuple[Lot, ...] = ()`.")
    if "lots" in state._fields and hasattr(module, "entry"):
        raise _broken(name, "it defines entry, but lots are bought at the next open", "Leave entry out.")
    if "target" in state._fields and start.target not in TARGETS:
        raise _broken(name, f"State.target starts as {start.target!r}", "Start from FLAT or HOLD.")
    for part, value in zip(state._fields, start, strict=True):
        if part not in ("target", "lots") and not (isinstance(value, int | float) and isfinite(value)):
            raise _broken(name, f"State.{part} starts as {value!r}", "Use finite numbers only.")
    return start


def _is_named_tuple(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_field_defaults")


def _broken(name: str, what: str, fix: str) -> BadInput:
    return BadInput(f"Strategy {name} cannot be used: {what}.", field="strategy", value=name, fix=fix)
