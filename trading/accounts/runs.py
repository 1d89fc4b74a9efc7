"""What storage knows of a book: all that a restart needs, and all that a comparison of two runs needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, SleeveKey, Transfer
from trading.brain import FeatureValue
from trading.events import Signal

__all__ = ["SUPPRESSED", "BookHistory", "RunRecords"]

SUPPRESSED = frozenset({"late", "stale", "risk"})
"""Outcomes of decisions that would have acted, had nothing stopped them."""


@dataclass(frozen=True, slots=True)
class BookHistory:
    """One book as committed: every fill and transfer, and the newest of everything else.

    ``open_orders`` have status ``intent``. ``decided`` is the close time of the newest decision of each sleeve,
    ``marks`` the newest equity mark of each market, ``cursors`` the committed position ``execution:<book>:<market>``
    of each market.
    """

    fills: tuple[Fill, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    open_orders: tuple[Order, ...] = ()
    positions: tuple[Position, ...] = ()
    decided: Mapping[SleeveKey, int] = field(default_factory=dict)
    marks: tuple[EquityMark, ...] = ()
    cursors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecords:
    """Everything one run wrote about one book, for ``backtest.compare``; what closed by ``from_ms`` is warm-up.

    ``features`` are those of the book's markets. ``equity`` may be left out (empty) on one side.
    """

    features: tuple[FeatureValue, ...] = ()
    signals: tuple[Signal, ...] = ()
    decisions: tuple[Decision, ...] = ()
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    equity: tuple[EquityMark, ...] = ()
    from_ms: int = 0

    def suppressed(self) -> dict[str, str]:
        """decision_id → outcome of each decision that something stopped: what a reference run must not act on either."""
        return {item.decision_id: item.outcome for item in self.decisions if item.outcome in SUPPRESSED}
