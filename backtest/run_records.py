"""What a run wrote: signals, decisions, orders, fills and marks, whoever ran it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trading.accounts.decisions import SUPPRESSED
from trading.accounts.records import (
    Decision,
    EquityMark,
    Fill,
    LotExtremes,
    Order,
    Position,
    Record,
    Transfer,
)
from trading.brain import FeatureValue
from trading.events import Signal

__all__ = ["RunRecords"]


@dataclass(slots=True)
class RunRecords:
    """What a run wrote, in the order it happened, whether it was live or not."""

    signals: list[Signal] = field(default_factory=list)
    features: list[FeatureValue] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    equity: list[EquityMark] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    extremes: list[LotExtremes] = field(default_factory=list)

    def take(self, records: Iterable[Record]) -> None:
        """Sort records into their lists; of an order the newest state counts."""
        for record in records:
            self.take_one(record)

    def take_one(self, record: Record) -> None:
        match record:
            case EquityMark():
                self.equity.append(record)
            case Decision():
                self.decisions.append(record)
            case Order():
                self.orders[record.order_id] = record
            case Fill():
                self.fills.append(record)
            case Transfer():
                self.transfers.append(record)
            case LotExtremes():
                self.extremes.append(record)

    def suppressed(self) -> dict[str, tuple[str, str]]:
        """Decision id → outcome and reason of what would have acted but was late, stale or refused."""
        return {item.decision_id: (item.outcome, item.reason) for item in self.decisions if item.outcome in SUPPRESSED}
