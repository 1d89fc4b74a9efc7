"""What trading writes down: decisions, orders, fills, positions, equity marks and transfers.

Each mirrors the columns of its table, with the market's key in place of its number and epoch milliseconds in place of
timestamps. Money, prices and quantities are Decimal; ``to_dict`` gives them as text, so that JSON loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from trading.plan import NO_PLAN, Plan

__all__ = ["Decision", "EquityMark", "Fill", "LotExtremes", "Order", "Position", "Record", "SleeveKey", "Transfer"]

SleeveKey = tuple[str, str, str]
"""(instance_id, market, interval): the unit that holds a position and its share of the book's cash."""


@dataclass(frozen=True, slots=True)
class Record:
    """Base of all records: frozen, comparable field by field."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-safe dict: Decimals as text, tuples as lists."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class Decision(Record):
    """What one signal led to: ``actions`` are its legs, none for HOLD; ``outcome`` says why they were not sent.

    ``plan`` is what the signal wanted beside its target.
    """

    decision_id: str
    book: str
    instance_id: str
    market: str
    interval: str
    open_ms: int
    close_ms: int
    actions: tuple[str, ...]
    target: str
    confidence: float
    outcome: str
    reason: str
    price: Decimal
    position_before: Decimal
    features: dict[str, float | None]
    candle_revision: int = 0
    received_ns: int = 0
    plan: Plan = NO_PLAN


@dataclass(frozen=True, slots=True)
class Order(Record):
    """One leg's order, named by its client order id. An opening one has ``quote_amount``, a closing ``quantity``.

    ``type`` is MARKET, LIMIT or STOP. An entry of the latter two rests until a minute reaches its ``price``, and fills
    in no minute that opens at or after ``expires_ms``.
    """

    order_id: str
    decision_id: str | None
    leg: int
    book: str
    instance_id: str
    market: str
    interval: str
    action: str
    side: str
    type: str
    quantity: Decimal | None
    quote_amount: Decimal | None
    status: str
    reason: str
    created_ms: int
    updated_ms: int
    price: Decimal | None = None
    expires_ms: int | None = None

    @property
    def rests(self) -> bool:
        """Whether it waits for its price rather than for the next open."""
        return self.price is not None


@dataclass(frozen=True, slots=True)
class Fill(Record):
    """What the venue did. ``slippage`` is its cost in quote currency, contained in ``price``; ``fee`` is on top.

    An entry says what the trade begins with: the distances of its stop and its target from the price of entry and of
    its trailing stop from the best price, where the strategy gave any or they are in ATR, the ``lot`` that it is of a
    strategy that holds several, and the signal's ``tag``. An exit says the ``highest`` and ``lowest`` price that
    the trade saw while it was open.
    """

    fill_id: str
    order_id: str
    book: str
    instance_id: str
    market: str
    interval: str
    trade_no: int
    role: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    slippage: Decimal
    realized_pnl: Decimal
    reason: str
    time_ms: int
    stop_distance: Decimal | None = None
    target_distance: Decimal | None = None
    trail_distance: Decimal | None = None
    lot: str = ""
    tag: str = ""
    highest: Decimal | None = None
    lowest: Decimal | None = None

    @property
    def sleeve(self) -> SleeveKey:
        return self.instance_id, self.market, self.interval


@dataclass(frozen=True, slots=True)
class LotExtremes(Record):
    """The highest and lowest price of the minutes that closed while a trade was open, as of ``time_ms``.

    Written when one of them changes: a trailing stop and a restart go on from the newest.
    """

    book: str
    instance_id: str
    market: str
    interval: str
    trade_no: int
    time_ms: int
    highest: Decimal
    lowest: Decimal

    @property
    def sleeve(self) -> SleeveKey:
        return self.instance_id, self.market, self.interval


@dataclass(frozen=True, slots=True)
class Position(Record):
    """A sleeve as it stands: ``quantity`` is signed, ``cash`` its money, ``mark`` the last close it was valued at."""

    book: str
    instance_id: str
    market: str
    interval: str
    quantity: Decimal
    entry_price: Decimal | None
    entry_ms: int | None
    cash: Decimal
    mark: Decimal | None
    equity: Decimal
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class EquityMark(Record):
    """What the sleeves of one book on one market are worth together at the close of a minute."""

    book: str
    market: str
    time_ms: int
    cash: Decimal
    position_value: Decimal
    equity: Decimal


@dataclass(frozen=True, slots=True)
class Transfer(Record):
    """Money that moved without a fill: the deposit a sleeve begins with, and funding (negative when paid)."""

    transfer_id: str
    book: str
    instance_id: str
    market: str
    interval: str
    kind: str
    amount: Decimal
    currency: str
    time_ms: int

    @property
    def sleeve(self) -> SleeveKey:
        return self.instance_id, self.market, self.interval


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Plan):
        return value.to_json()
    if isinstance(value, tuple):
        return list(value)
    return value
