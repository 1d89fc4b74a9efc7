"""From a target to actions: what to do depends on what is held. And the names that make each effect happen once."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trading.accounts.records import Decision
from trading.events import Target

__all__ = [
    "SUPPRESSED",
    "WAITS",
    "Action",
    "LastDecision",
    "Outcome",
    "actions_for",
    "decision_id",
    "decision_key",
    "execution_of",
    "fill_id",
    "order_id",
]


class Action(StrEnum):
    """The legs of a decision. HOLD is the empty list of them."""

    OPEN_LONG = "OPEN_LONG"
    CLOSE_LONG = "CLOSE_LONG"
    OPEN_SHORT = "OPEN_SHORT"
    CLOSE_SHORT = "CLOSE_SHORT"

    @property
    def opens(self) -> bool:
        return self in (Action.OPEN_LONG, Action.OPEN_SHORT)

    @property
    def side(self) -> str:
        return "BUY" if self in (Action.OPEN_LONG, Action.CLOSE_SHORT) else "SELL"


class Outcome(StrEnum):
    """What became of a decision. LATE, STALE and RISK suppressed actions that were due; the others are as they read."""

    ACTED = "acted"
    HOLD = "hold"
    WARMING = "warming"
    HOLE = "hole"
    LATE = "late"
    STALE = "stale"
    RISK = "risk"


SUPPRESSED = frozenset({Outcome.LATE, Outcome.STALE, Outcome.RISK})
"""Outcomes of decisions that would have acted, had nothing stopped them."""


WAITS = "an exit has closed the trade: waits for another signal"
"""The reason of a decision that opens nothing though its target would have it."""


class LastDecision(NamedTuple):
    """What a sleeve's next decision has to know of the one before. ``waits``: it opened nothing for reason WAITS."""

    open_ms: int
    close_ms: int
    target: str
    waits: bool

    @classmethod
    def of(cls, decision: Decision) -> LastDecision:
        return cls(decision.open_ms, decision.close_ms, decision.target, decision.reason == WAITS)


def actions_for(position: Decimal, target: str) -> tuple[Action, ...]:
    """The legs, in order, that lead from the signed ``position`` to ``target``; none when it is held already."""
    if target == Target.HOLD:
        return ()
    legs: list[Action] = []
    if position > 0 and target != Target.LONG:
        legs.append(Action.CLOSE_LONG)
    if position < 0 and target != Target.SHORT:
        legs.append(Action.CLOSE_SHORT)
    if target == Target.LONG and position <= 0:
        legs.append(Action.OPEN_LONG)
    if target == Target.SHORT and position >= 0:
        legs.append(Action.OPEN_SHORT)
    return tuple(legs)


def decision_key(book: str, instance_id: str, market: str, interval: str, open_ms: int) -> str:
    """The text that stands for one decision; none is ever made twice for the same key."""
    return f"{book}|{instance_id}|{market}|{interval}|{open_ms}"


def decision_id(key: str) -> str:
    return _digest(key)


def order_id(key: str, leg: int | str) -> str:
    """The client order id: 16 bytes of SHA-256 in hex, a pure function of the decision and its leg."""
    return _digest(f"{key}|{leg}")


def fill_id(order: str, number: int = 1, part: int = 1) -> str:
    """The name of execution ``number`` of an order; one that closes several lots has a ``part`` for each."""
    return f"{order}:{number}" if part == 1 else f"{order}:{number}.{part}"


def execution_of(fill_id: str) -> int:
    """The number of the execution that the fill is, or is a part of."""
    return int(fill_id.rpartition(":")[2].partition(".")[0])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).digest()[:16].hex()
