"""Every strategy there is to choose from, described as plain data: built in, and the user's own."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trading.errors import BadInput
from trading.parameters import Range, nearest
from trading.strategies.contract import Strategy
from trading.strategies.folder import own_files, own_names, own_source
from trading.strategies.registry import STRATEGIES, find_module, load_strategy

__all__ = ["BUILT_IN", "OWN", "PARTS", "catalogue", "describe", "find_source", "own_text"]

BUILT_IN, OWN = "built in", "your own"
PARTS = ("rule", "step", "confidence", "entry", "bracket", "sizing", "tag", "reasons")
_LINE = re.compile(r"^[a-z0-9_]+\.py, line ([0-9]+)")


def catalogue(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What ``describe`` says of every strategy that can be used, and which own files cannot be: name, what, line, fix.

    Own files are run for this; one that is broken stops no other.
    """
    found = [_described(name, load_strategy(name), "") for name in STRATEGIES]
    own, wrong = own_files(folder, STRATEGIES)
    for file in own:
        try:
            found.append(_described(file.name, load_strategy(file.name, None, file.source), file.source))
        except BadInput as error:
            wrong.append(error)
    return found, [_broken(error) for error in wrong]


def describe(name: str, folder: Path) -> dict[str, Any]:
    """What there is to know about one strategy, with its ``code``; BadInput when there is none or it is broken.

    ``source_hash`` is the first 16 hex digits of the SHA-256 of its text with that of its features, as a run stores it.
    """
    source = find_source(name, folder)
    strategy, module = load_strategy(name, None, source), find_module(name, source)
    return {
        **_described(name, strategy, source),
        "description": inspect.getdoc(module) or "",
        "code": source or inspect.getsource(module),
    }


def find_source(name: str, folder: Path) -> str:
    """The text of an own strategy, empty for a built-in one; BadInput when there is none of that name."""
    source = own_text(name, folder)
    if not source and name not in STRATEGIES:
        known = (*STRATEGIES, *own_names(folder))
        raise BadInput(f"There is no strategy {name!r}.", field="strategy", value=name, fix=nearest(name, known))
    return source


def own_text(name: str, folder: Path) -> str:
    """The text of the own strategy ``name``, empty when there is none; BadInput when its file is unfit."""
    return own_source(folder, name, STRATEGIES)


def _described(name: str, strategy: Strategy, source: str) -> dict[str, Any]:
    ranges: Mapping[str, Any] = find_module(name, source).RANGES
    return {
        "name": strategy.name,
        "kind": OWN if source else BUILT_IN,
        "summary": strategy.summary,
        "params": {
            key: {"default": value, "allowed": str(ranges[key]), **_bounds(ranges[key])}
            for key, value in strategy.params_dict().items()
        },
        "features": {
            key: {
                "kind": feature.kind,
                "params": feature.params_dict(),
                "output": feature.output or None,
                "interval": feature.interval or None,
                "multiple": feature.multiple,
            }
            for key, feature in strategy.features.items()
        },
        "warmup": strategy.warmup,
        "has": [part for part in PARTS if getattr(strategy, part) is not None],
        "source_hash": hashlib.sha256(strategy.source.encode()).hexdigest()[:16],
    }


def _bounds(allowed: Any) -> dict[str, Any]:
    if isinstance(allowed, Range):
        return {"low": allowed.low, "high": allowed.high, "whole": allowed.whole}
    return {"low": None, "high": None, "whole": False}


def _broken(error: BadInput) -> dict[str, Any]:
    line = _LINE.match(error.message)
    return {
        "name": str(error.value),
        "error": error.message,
        "line": int(line[1]) if line else None,
        "fix": error.fix or "",
    }
