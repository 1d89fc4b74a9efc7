"""Every strategy by name, and the identity of a configured one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from types import ModuleType
from typing import NamedTuple

from trading.config.rules import Entries, Exits
from trading.errors import BadInput, MantaError
from trading.parameters import nearest
from trading.strategies import (
    accumulate,
    bollinger,
    dip,
    ema_cross,
    macd,
    price_gap,
    price_vs_ma,
    rsi_reversion,
    scalper,
    sma_cross,
    weighted,
)
from trading.strategies.building import build, source_of
from trading.strategies.contract import Strategy
from trading.strategies.folder import failed_line, fresh_module, module_from

__all__ = ["STRATEGIES", "check_entries", "find_module", "fresh_strategy", "instance_id", "load_strategy"]


class _Entry(NamedTuple):
    module: ModuleType
    defaults: Mapping[str, object] = {}


STRATEGIES: Mapping[str, _Entry] = {
    "ma44": _Entry(price_vs_ma, {"period": 44}),
    "ma125": _Entry(price_vs_ma, {"period": 125}),
    "sma_cross": _Entry(sma_cross),
    "ema_cross": _Entry(ema_cross),
    "rsi_reversion": _Entry(rsi_reversion),
    "macd": _Entry(macd),
    "bollinger": _Entry(bollinger),
    "scalper": _Entry(scalper),
    "price_gap": _Entry(price_gap),
    "accumulate": _Entry(accumulate),
    "dip": _Entry(dip),
    "weighted": _Entry(weighted),
}


def find_module(name: str, source: str = "") -> ModuleType:
    """The module of the strategy ``name``, or of the text ``source``; BadInput as ``load_strategy``."""
    if source:
        return module_from(name, source)
    if name not in STRATEGIES:
        raise BadInput(f"There is no strategy {name!r}.", field="strategy", value=name, fix=nearest(name, STRATEGIES))
    return STRATEGIES[name].module


def fresh_strategy(name: str, params: Mapping[str, object] | None = None, source: str = "") -> Strategy:
    """Like ``load_strategy``, but of a text that is run anew: nothing is left in its globals."""
    return (
        _from_module(name, params or {}, source, fresh_module(name, source)) if source else load_strategy(name, params)
    )


def load_strategy(
    name: str, params: Mapping[str, object] | None = None, source: str = "", known: tuple[str, ...] = ()
) -> Strategy:
    """The strategy ``name`` with ``params`` over its defaults; BadInput names what is wrong and the fix.

    ``source`` is the text of one that is not built in. ``known`` are names of such, for the message about an unknown
    one.
    """
    if source:
        return _from_module(name, params or {}, source, module_from(name, source))
    entry = STRATEGIES.get(name)
    if entry is None:
        names = (*STRATEGIES, *known)
        raise BadInput(f"There is no strategy {name!r}.", field="strategy", value=name, fix=nearest(name, names))
    return build(name, entry.module, params or {}, entry.defaults, source_of(entry.module.__name__))


def _from_module(name: str, params: Mapping[str, object], source: str, module: ModuleType) -> Strategy:
    try:
        return build(name, module, params, {}, source)
    except MantaError:
        raise
    except Exception as error:
        line = failed_line(error, str(module.__file__))
        raise BadInput(
            f"{name}.py{f', line {line}' if line else ''}: {type(error).__name__}: {error}.",
            field="strategy",
            value=name,
            fix="Mend that line.",
        ) from error


def check_entries(strategy: Strategy, entries: Entries) -> None:
    """Raise BadInput where ``entries`` ask of ``strategy`` what it cannot do."""
    if entries.order_type != "market" and hasattr(strategy.start, "lots"):
        raise BadInput(
            f"Strategy {strategy.name} holds lots, which are bought at the next open.",
            field="order_type",
            value=entries.order_type,
            fix="Set order_type market, or choose a strategy that holds one position.",
        )
    if entries.order_type == "market" and entries.expires_candles != 1 and strategy.entry is None:
        raise BadInput(
            f"expires_candles is {entries.expires_candles}, but order_type is market and strategy {strategy.name} gives"
            " no entry price.",
            field="expires_candles",
            value=entries.expires_candles,
            fix="Set order_type limit or stop, or leave it out.",
        )


def instance_id(
    name: str,
    strategy: Strategy,
    *,
    profile: str,
    leverage: Decimal,
    size: Decimal,
    exits: Exits | None = None,
    entries: Entries | None = None,
) -> str:
    """``name`` and eight hex digits that change with the strategy's code or with anything that changes its orders."""
    facts = {
        "strategy": strategy.name,
        "code": strategy.source,
        "params": strategy.params_dict(),
        "profile": profile,
        "leverage": _plain(leverage),
        "size": _plain(size),
    }
    for rules in (exits, entries):
        # Left out where nothing is set, so that an instance keeps its name when a new rule is invented.
        facts |= {} if rules is None else rules.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _plain(number: Decimal) -> str:
    # 1, 1.0 and 1E+0 are the same leverage.
    return format(number.normalize(), "f")
