"""The decision that closes what a removed instance left open. Made once, however often the book is started again."""

from __future__ import annotations

from typing import NamedTuple

from trading.accounts.decisions import Action, Outcome, actions_for, decision_id, decision_key
from trading.accounts.records import Decision
from trading.accounts.sleeve import Sleeve
from trading.candles import Candle, from_units
from trading.events import Target
from trading.intervals import parse_interval

__all__ = ["REMOVED", "Closing", "closing"]

REMOVED = "instance removed"
"""The reason of such a decision."""


class Closing(NamedTuple):
    """``key`` names the decision, ``action`` is its one leg."""

    key: str
    decision: Decision
    action: Action


def closing(book: str, sleeve: Sleeve, candle: Candle) -> Closing | None:
    """What closes the position of ``sleeve`` after the 1m ``candle``; None when that was decided already.

    Its open time is that of the candle of the sleeve's interval in which the instance was removed: no other decision
    has it, and what the instance decides should it come back has a later one.
    """
    open_ms = parse_interval(sleeve.spec.interval).open_of(candle.open_time_ms)
    if open_ms <= sleeve.decided_ms:
        return None
    [action] = actions_for(sleeve.book.position, Target.FLAT)
    key = decision_key(book, *sleeve.key, open_ms)
    decision = Decision(
        decision_id=decision_id(key),
        book=book,
        instance_id=sleeve.spec.instance_id,
        market=sleeve.spec.market,
        interval=sleeve.spec.interval,
        open_ms=open_ms,
        close_ms=candle.close_time_ms,
        actions=(action.value,),
        target=Target.FLAT.value,
        confidence=1.0,
        outcome=Outcome.ACTED.value,
        reason=REMOVED,
        price=from_units(candle.close),
        position_before=sleeve.book.position,
        features={},
        candle_revision=candle.revision,
        received_ns=candle.received_ns,
    )
    return Closing(key, decision, action)
