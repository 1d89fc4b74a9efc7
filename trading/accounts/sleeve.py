"""One sleeve at work: its book, and the order that it has at the venue."""

from __future__ import annotations

from decimal import Decimal

from trading.accounts.books import SleeveBook, SleeveSpec
from trading.accounts.decisions import LastDecision
from trading.accounts.legs import Leg
from trading.accounts.lots import HeldLot
from trading.accounts.records import Order
from trading.plan import NO_PLAN, Plan

__all__ = ["Sleeve"]


class Sleeve:
    """What ``ExecutionState`` keeps of a sleeve.

    ``order`` is the one order without final outcome, ``executed`` the executions known of it (number to quantity),
    ``leg`` what it does, ``legs`` what its decision wants after it, ``plan`` what came with that decision and
    ``cause_ms`` its open time. ``last`` is the newest decision, ``funded_ms`` the newest funding.
    """

    __slots__ = (
        "book", "cause_ms", "executed", "funded_ms", "key", "last", "leg", "legs", "order", "plan", "spec",
    )  # fmt: skip

    def __init__(self, spec: SleeveSpec) -> None:
        self.spec = spec
        self.key = spec.key
        self.book = SleeveBook()
        self.order: Order | None = None
        self.executed: dict[int, Decimal] = {}
        self.leg: Leg | None = None
        self.legs: tuple[Leg, ...] = ()
        self.plan: Plan = NO_PLAN
        self.last: LastDecision | None = None
        self.cause_ms = -1
        self.funded_ms = -1

    @property
    def decided_ms(self) -> int:
        """Open time of the newest decision, -1 before the first."""
        return -1 if self.last is None else self.last.open_ms

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
