"""Execution and paper venue in one: orders reach the venue, and its word comes back, within the call that made them.

The reference backtest trades so. Live paper trading makes the same calls in the same order, with commits and a wire
between them; that both give the same records is what parity proves.
"""

from __future__ import annotations

from collections.abc import Iterable

from trading.accounts.broker import TO_CARRY, OrderStatus, canceled
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Order, Record
from trading.candles import Candle
from trading.config.costs import Costs
from trading.events import Signal
from trading.venues.paper.book import VenueBook, report

__all__ = ["PaperRun"]


class PaperRun:
    """``state`` with a venue of its own that charges ``costs``. Pure; guarantees what ``state`` guarantees."""

    def __init__(self, state: ExecutionState, costs: Costs) -> None:
        self.state = state
        self._venue = VenueBook(costs, state.markets)

    def resume(self) -> list[Record]:
        """After ``state.restore``: place what it has that this venue does not know of."""
        return [record for order in self.state.working() for record in self._carried(order)]

    def handle(self, item: Candle | Signal, venue_now_ms: int | None = None) -> list[Record]:
        """What follows from one 1m candle or signal; ``venue_now_ms`` as for ``ExecutionState.decide``."""
        state = self.state
        if isinstance(item, Signal):
            return self.sent(state.decide(item, venue_now_ms))
        if not state.is_new(item):
            return []
        out = state.open(item)
        for order in self._venue.candle(item):
            out += self.sent(state.apply(report(order)))
        return out + self.sent(state.close(item))

    def show(self, candle: Candle) -> None:
        """Let ``candle``, with the calm ones before it, be the newest that the venue has seen of its market."""
        self._venue.show(candle)

    def sent(self, records: Iterable[Record]) -> list[Record]:
        """``records``, each order among them placed and followed by what the venue made of it."""
        out: list[Record] = []
        for record in records:
            out.append(record)
            if isinstance(record, Order) and record.status in TO_CARRY:
                out += self._carried(record)
        return out

    def _carried(self, order: Order) -> list[Record]:
        if order.status == OrderStatus.CANCELING:
            found = self._venue.cancel(order.order_id, order.market)
            return self.sent(self.state.apply(canceled(order) if found is None else report(found)))
        return self.sent(self.state.apply(report(self._venue.place(self.state.request(order)))))
