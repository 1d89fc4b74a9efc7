"""One sleeve at work: its book, and the order that it has at the venue."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from trading.accounts.books import SleeveBook, SleeveSpec
from trading.accounts.broker import OrderStatus
from trading.accounts.decisions import LastDecision
from trading.accounts.legs import Leg
from trading.accounts.lots import HeldLot
from trading.accounts.records import Decision, Order
from trading.invariants import require
from trading.plan import NO_PLAN, Plan

__all__ = ["Cause", "Sleeve"]


class Cause(NamedTuple):
    """The candle that a decision was made on: its times, and its close."""

    open_ms: int
    close_ms: int
    price: Decimal

    @classmethod
    def of(cls, decision: Decision) -> Cause:
        return cls(decision.open_ms, decision.close_ms, decision.price)


NO_CAUSE = Cause(-1, -1, Decimal(0))


class Sleeve:
    """What ``ExecutionState`` keeps of a sleeve.

    ``order`` is the one order without final outcome, ``executed`` the executions known of it (number to quantity),
    ``leaving`` an entry order that rested and is being canceled, which another may already follow,
    ``leg`` what it does, ``legs`` what its decision wants after it, ``plan`` what came with that decision, ``cause``
    what it was made on. ``last`` is the newest decision, ``funded_ms`` the newest funding.
    """

    __slots__ = (
        "book", "cause", "executed", "funded_ms", "key", "last", "leaving", "leg", "legs", "order", "plan", "spec",
    )  # fmt: skip

    def __init__(self, spec: SleeveSpec) -> None:
        self.spec = spec
        self.key = spec.key
        self.book = SleeveBook()
        self.order: Order | None = None
        self.executed: dict[int, Decimal] = {}
        self.leaving: Order | None = None
        self.leg: Leg | None = None
        self.legs: tuple[Leg, ...] = ()
        self.plan: Plan = NO_PLAN
        self.last: LastDecision | None = None
        self.cause = NO_CAUSE
        self.funded_ms = -1

    @property
    def decided_ms(self) -> int:
        """Open time of the newest decision, -1 before the first."""
        return -1 if self.last is None else self.last.open_ms

    @property
    def resting(self) -> Order | None:
        """The entry order that waits for its price."""
        return self.order if self.order is not None and self.order.rests else None

    def withdraw(self, order: Order, reason: str, at_ms: int) -> Order:
        """Have ``order``, the one that rests, canceled; another may take its place at once."""
        require(order is self.resting and not self.executed, self.key, order, self.executed)
        self.leaving = replace(order, status=OrderStatus.CANCELING.value, reason=reason, updated_ms=at_ms)
        self.work_on(None)
        return self.leaving

    @property
    def is_closing(self) -> bool:
        """Whether an order that closes is under way."""
        return self.order is not None and self.leg is not None and not self.leg.action.opens

    def work_on(self, order: Order | None, leg: Leg | None = None) -> None:
        self.order = order
        self.leg = leg
        self.executed = {}

    def dropped(self) -> list[HeldLot]:
        """The lots that the plan of the decision at work holds no longer; all, where it names none."""
        lots = list(self.book.lots.values())
        if self.plan.lots is None:
            return lots
        kept = {lot.name for lot in self.plan.lots}
        return [lot for lot in lots if lot.name not in kept]
