"""Every strategy by name, and the identity of a configured one."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, cast

from trading.errors import BadInput
from trading.parameters import nearest, read_params
from trading.strategies import price_vs_ma
from trading.strategies.contract import Strategy, StrategyModule

__all__ = ["STRATEGIES", "instance_id", "load_strategy"]


class _Entry(NamedTuple):
    module: ModuleType
    defaults: Mapping[str, object]


STRATEGIES: Mapping[str, _Entry] = {
    "ma44": _Entry(price_vs_ma, {"period": 44}),
    "ma125": _Entry(price_vs_ma, {"period": 125}),
}


def load_strategy(name: str, params: Mapping[str, object] | None = None) -> Strategy:
    """The strategy ``name`` with ``params`` over its defaults; BadInput names what is wrong and the fix."""
    entry = STRATEGIES.get(name)
    if entry is None:
        raise BadInput(f"There is no strategy {name!r}.", field="strategy", value=name, fix=nearest(name, STRATEGIES))
    module = cast("StrategyModule", entry.module)
    chosen = read_params(f"Strategy {name}", module.Params, module.RANGES, params or {}, entry.defaults)
    features = dict(module.features(chosen))
    if module.Row._fields != ("close", *features):
        raise TypeError(f"{module.__name__}.Row must have the fields close, {', '.join(features)}")
    return Strategy(
        name=name,
        params=chosen,
        row=module.Row,
        features=features,
        warmup=max(module.warmup(chosen), *(feature.need for feature in features.values()), 1),
        rule=module.rule,
        confidence=getattr(module, "confidence", None),
        source=_source(module.__name__)
        + "".join(_source(_home(feature.definition.step)) for feature in features.values()),
    )


def instance_id(name: str, strategy: Strategy, *, profile: str, leverage: Decimal, size: Decimal) -> str:
    """``name`` and eight hex digits that change with the strategy's code or with anything that changes its orders."""
    facts = {
        "strategy": strategy.name,
        "code": strategy.source,
        "params": strategy.params_dict(),
        "profile": profile,
        "leverage": _plain(leverage),
        "size": _plain(size),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _plain(number: Decimal) -> str:
    # 1, 1.0 and 1E+0 are the same leverage.
    return format(number.normalize(), "f")


def _home(function: Any) -> str:
    return str(function.__module__)


@cache
def _source(module_name: str) -> str:
    return inspect.getsource(sys.modules[module_name]).replace("\r\n", "\n")
