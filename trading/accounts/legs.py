"""From a signal to the legs of its decision: what is closed, what is opened, and what keeps it from opening."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from trading.accounts.books import SleeveBook, SleeveSpec
from trading.accounts.decisions import WAITS, Action, LastDecision, actions_for
from trading.accounts.records import Decision
from trading.events import Signal, SignalStatus, Target
from trading.intervals import parse_interval
from trading.plan import Lot

__all__ = ["Leg", "legs_for", "legs_of"]


class Leg(NamedTuple):
    """One order of a decision. ``lot`` is what it opens, None for a strategy that holds one position."""

    action: Action
    lot: Lot | None = None


def legs_for(
    spec: SleeveSpec, book: SleeveBook, last: LastDecision | None, signal: Signal
) -> tuple[tuple[Leg, ...], str]:
    """The legs, in order, that lead to what ``signal`` wants, and why any of them was left out."""
    if signal.status != SignalStatus.READY:
        return (), ""
    may_short = spec.profile != "spot" and not spec.entries.long_only
    if signal.plan.lots is None:
        target = Target.FLAT if signal.target == Target.SHORT and not may_short else signal.target
        legs = tuple(Leg(action) for action in actions_for(book.position, target))
    else:
        legs = _lot_legs(book, signal, signal.plan.lots if may_short else [lot for lot in signal.plan.lots if lot.long])
    if legs and any(leg.action.opens for leg in legs):
        refusal = _refusal(spec, book, last, signal, legs)
        if refusal:
            return tuple(leg for leg in legs if not leg.action.opens), refusal
    return legs, ""


def legs_of(decision: Decision) -> tuple[Leg, ...]:
    """The legs of a decision that was stored."""
    actions = [Action(text) for text in decision.actions]
    fresh = iter(_fresh(decision.plan.lots or (), decision.close_ms))
    return tuple(Leg(action, next(fresh, None) if action.opens else None) for action in actions)


def _lot_legs(book: SleeveBook, signal: Signal, lots: Collection[Lot]) -> tuple[Leg, ...]:
    legs = []
    kept = {lot.name for lot in lots}
    if any(held.name not in kept for held in book.lots.values()):
        legs.append(Leg(Action.CLOSE_LONG if book.position > 0 else Action.CLOSE_SHORT))
    fresh = _fresh(lots, signal.close_time_ms)
    return (*legs, *(Leg(Action.OPEN_LONG if lot.long else Action.OPEN_SHORT, lot) for lot in fresh))


def _fresh(lots: Collection[Lot], close_ms: int) -> list[Lot]:
    """Lots are bought on the signal that made them, and on no later one."""
    return [lot for lot in lots if lot.opened_ms == close_ms]


def _refusal(spec: SleeveSpec, book: SleeveBook, last: LastDecision | None, signal: Signal, legs: Sequence[Leg]) -> str:
    """Why nothing may be opened now, empty if it may."""
    entries = spec.entries
    if spec.exits.in_atr and not signal.plan.atr:
        return "its exits are in ATR, and that is 0: opens nothing"
    if (
        entries.reenter == "new_signal"
        and signal.plan.lots is None
        and last is not None
        and last.target == signal.target
        and (last.waits or book.forced_ms >= last.close_ms)
    ):
        return WAITS
    if not entries.allow(signal.close_time_ms):
        return "outside its sessions: opens nothing"
    if entries.cooldown_candles:
        cool_ms = book.exit_ms + entries.cooldown_candles * parse_interval(spec.interval).typical_ms
        if not all(leg.action.opens for leg in legs) or (book.exit_ms >= 0 and signal.close_time_ms < cool_ms):
            return "cooling down after an exit: opens nothing"
    return ""
