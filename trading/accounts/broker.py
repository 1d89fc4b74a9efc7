"""What Manta and a venue say to each other about orders: requests, updates, and the calls every broker offers.

A venue is asked, never believed to have done what it was told. Every request carries our client order id, which is a
pure function of the decision, and a venue takes one id once: so asking again is always safe, and sending again can
never make a second order. Updates are cumulative: each says how much is filled in all, so that one that was lost,
doubled or overtaken is noticed and asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from trading.accounts.records import Order
from trading.candles import Candle

__all__ = [
    "EXPIRED",
    "FINAL",
    "TO_CARRY",
    "Broker",
    "OrderRequest",
    "OrderStatus",
    "OrderUpdate",
    "VenueFill",
    "canceled",
    "request_of",
]


class OrderStatus(StrEnum):
    """The life of an order. INTENT: committed here, maybe not sent. UNKNOWN: sent, and the answer was lost.

    OPEN and PARTIAL: the venue works on it. CANCELING: it is to be canceled, and the venue has not said that it is. The
    others are final and never change again.
    """

    INTENT = "intent"
    UNKNOWN = "unknown"
    OPEN = "open"
    PARTIAL = "partial"
    CANCELING = "canceling"
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELED = "canceled"

    @property
    def rank(self) -> int:
        """A later stage of life has a higher rank; an update of a lower one is old news."""
        return _RANK[self]


_RANK = {
    OrderStatus.INTENT: 0,
    OrderStatus.UNKNOWN: 1,
    OrderStatus.OPEN: 2,
    OrderStatus.PARTIAL: 3,
    OrderStatus.CANCELING: 4,
    OrderStatus.FILLED: 5,
    OrderStatus.REJECTED: 5,
    OrderStatus.CANCELED: 5,
}
EXPIRED = "expired"
"""The reason of an order that was canceled because its time was over."""
FINAL = frozenset({OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELED})
TO_CARRY = frozenset({OrderStatus.INTENT, OrderStatus.CANCELING})
"""What the venue is to be told: to take the order, or to cancel it."""


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order. Exactly one of ``quantity`` (base units) and ``quote_amount`` (quote units, fee included) is set.

    ``placed_ms`` is the event time from which it may fill. ``type`` is MARKET, which fills at the first open from then
    on, LIMIT or STOP: these rest until a minute reaches ``price``, and the venue cancels them at the first minute that
    opens at or after ``expires_ms`` (good till date).
    """

    client_id: str
    market: str
    side: str
    quantity: Decimal | None
    quote_amount: Decimal | None
    placed_ms: int
    type: str = "MARKET"
    price: Decimal | None = None
    expires_ms: int | None = None


def request_of(order: Order, latency_ms: int = 0) -> OrderRequest:
    """What is sent to the venue for an intent, and gets there ``latency_ms`` after it was made."""
    return OrderRequest(
        order.order_id,
        order.market,
        order.side,
        order.quantity,
        order.quote_amount,
        order.created_ms + latency_ms,
        order.type if order.rests else "MARKET",
        order.price,
        order.expires_ms,
    )


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One execution; ``number`` counts those of its order from 1. ``price`` contains ``slippage``, but not ``fee``."""

    number: int
    price: Decimal
    quantity: Decimal
    fee: Decimal
    slippage: Decimal
    time_ms: int


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """What a venue says of one order.

    ``filled`` is the quantity executed in all. An answer to ``query`` lists every execution in ``fills``, an event at
    least the new ones: who knows of less than ``filled`` has missed one and must ask.
    """

    client_id: str
    status: OrderStatus
    filled: Decimal
    fills: tuple[VenueFill, ...]
    reason: str
    updated_ms: int


def canceled(order: Order) -> OrderUpdate:
    """What is true of an order that is to be canceled and that the venue does not know."""
    return OrderUpdate(order.order_id, OrderStatus.CANCELED, Decimal(0), (), "", order.updated_ms)


class Broker(Protocol):
    """One account at one venue.

    ``place`` and ``cancel`` return what the venue answered; an order whose id the venue knows already is returned as
    it stands, not placed again. They raise OutcomeUnknown when the answer was lost: then ``query``, which alone tells
    (None: the venue does not know the id), and VenueRetryable when the venue surely did not take the request.
    """

    async def place(self, request: OrderRequest) -> OrderUpdate: ...

    async def cancel(self, client_id: str) -> OrderUpdate | None: ...

    async def query(self, client_id: str) -> OrderUpdate | None: ...

    async def open_orders(self) -> list[OrderUpdate]: ...

    async def observe(self, candle: Candle) -> None:
        """Show a paper venue the market's next minute. Real venues have markets of their own and ignore it."""

    def take_events(self) -> list[OrderUpdate]:
        """The venue's own events since the last call; some may be missing, doubled or in another order."""

    async def close(self) -> None: ...
