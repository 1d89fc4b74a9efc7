"""Why a decision came out as it did, from what was stored about it: no number is computed anew, since it could differ.

Only the words that sum up the strategy are those of its present text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trading.accounts.decisions import Outcome
from trading.errors import BadInput
from trading.events import Target
from trading.strategies.registry import load_strategy

__all__ = ["explain"]

_HELD_BACK: Mapping[str, str] = {
    Outcome.WARMING: "Not asked: its numbers are still warming up",
    Outcome.HOLE: "Not asked: candles that its numbers need are missing",
    Outcome.LATE: "Held back: it came too late after the close to act on",
    Outcome.STALE: "Held back: the market's data is stale",
    Outcome.RISK: "Held back by a limit",
}


def explain(stored: Mapping[str, Any]) -> dict[str, Any]:
    """``stored`` as ``trading.storage.explained`` reads it, with ``conditions`` and ``gate`` in words."""
    reasons = tuple(stored["plan"].get("reasons", ()))
    return {
        **stored,
        "asked": _asked(stored["asked"] or {}),
        "conditions": [*reasons] if reasons else _numbers(stored),
        "from_reasons": bool(reasons),
        "gate": _gate(stored),
    }


def _asked(found: Mapping[str, Any]) -> dict[str, Any]:
    name, params = found.get("strategy"), found.get("params")
    return {
        "instance": found.get("instance"),
        "strategy": name,
        "params": params,
        "summary": _summary(name, params or {}, found.get("source") or ""),
    }


def _summary(name: str | None, params: Mapping[str, Any], source: str) -> str | None:
    """The strategy's first line; None for one whose text is not stored or does not fit the parameters any more."""
    if name is None:
        return None
    try:
        return load_strategy(name, params, source).summary
    except BadInput:
        return None


def _numbers(stored: Mapping[str, Any]) -> list[str]:
    """For a strategy that gives no reasons: what it saw, and what it answered."""
    if stored["outcome"] in (Outcome.WARMING, Outcome.HOLE):
        return []
    features: Mapping[str, Any] = {"close": float(stored["price"]), **stored["features"]}
    saw = [f"{name} {'unknown' if value is None else f'{value:.10g}'}" for name, value in features.items()]
    return [*saw, f"so it answered {stored['target']}"]


def _gate(stored: Mapping[str, Any]) -> dict[str, Any]:
    outcome, reason = stored["outcome"], stored["reason"]
    if outcome in _HELD_BACK:
        return {"passed": False, "text": f"{_HELD_BACK[outcome]}{f' ({reason})' if reason else ''}."}
    if outcome == Outcome.ACTED:
        # A leg that closes may be let through where the one that opens is not.
        return {
            "passed": True,
            "text": f"Let through: {', '.join(stored['actions'])}{f'; {reason}' if reason else ''}.",
        }
    if reason:
        return {"passed": False, "text": f"Nothing done: {reason}."}
    if stored["target"] == Target.HOLD:
        return {"passed": True, "text": "Nothing to do: it wants to keep what is held."}
    return {"passed": True, "text": f"Nothing to do: what {stored['target']} asks for is held already."}
