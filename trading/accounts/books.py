"""Sleeves: the smallest books. Cash moves only with a fill or a transfer; everything else is arithmetic on that.

A sleeve is one instance on one market and interval, with its own part of the book's capital, so no result depends on
what happens elsewhere in the book. ``cash`` is what would remain if the position were worth nothing: a bought position
has been paid from it (below zero when leverage borrowed), a sold one has been paid into it. So always ``equity = cash +
position * mark``, and ``cash + position * entry price = transfers + realized``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    InvalidOperation,
    Overflow,
    localcontext,
)

from trading.accounts.records import Fill, Position, SleeveKey, Transfer
from trading.instances import Instance
from trading.invariants import require

__all__ = ["MONEY", "SleeveBook", "SleeveSpec", "divide_capital"]

MONEY = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, FloatOperation, InvalidOperation, Overflow])
"""The arithmetic of all money: 40 digits, so that price times quantity times fee is exact; a float is an error."""

_ZERO = Decimal(0)
_STEP = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class SleeveSpec:
    """What a sleeve is and what it begins with. ``deposit`` is in the book's currency."""

    instance_id: str
    market: str
    interval: str
    profile: str
    leverage: Decimal
    size: Decimal
    deposit: Decimal
    live_from_ms: int

    @property
    def key(self) -> SleeveKey:
        return self.instance_id, self.market, self.interval


def divide_capital(instances: Sequence[Instance], book: str, capital: Decimal) -> list[SleeveSpec]:
    """The sleeves of ``book``, in the order of the configuration.

    An instance's share is divided evenly over its markets and intervals. Deposits are cut at 10**-8 and the first
    sleeve takes the rest, so that they add up to ``capital`` exactly.
    """
    mine = [item for item in instances if item.book == book]
    with localcontext(MONEY):
        weights = [
            (item, market, interval, item.share / (len(item.markets) * len(item.intervals)))
            for item in mine
            for market in item.markets
            for interval in item.intervals
        ]
        total = sum((weight for *_, weight in weights), _ZERO)
        deposits = [(capital * weight / total).quantize(_STEP, rounding=ROUND_DOWN) for *_, weight in weights]
        if deposits:
            deposits[0] += capital - sum(deposits, _ZERO)
    return [
        SleeveSpec(
            item.instance_id, market, interval, item.profile, item.leverage, item.size, deposit, item.live_from_ms
        )
        for (item, market, interval, _), deposit in zip(weights, deposits, strict=True)
    ]


@dataclass(slots=True)
class SleeveBook:
    """Cash and position of one sleeve, moved only by ``apply_fill`` and ``apply_transfer``, and rebuilt from the same.

    ``position`` is signed, in base units. ``realized`` sums what fills gained or lost, fees included; ``transferred``
    sums deposits and funding. ``trade_no`` counts trades from 1; it is the open trade's number while one is open.
    """

    cash: Decimal = _ZERO
    position: Decimal = _ZERO
    entry_price: Decimal | None = None
    entry_ms: int | None = None
    trade_no: int = 0
    deposited: bool = False
    realized: Decimal = _ZERO
    transferred: Decimal = _ZERO

    @classmethod
    def rebuild(cls, fills: Iterable[Fill], transfers: Iterable[Transfer]) -> SleeveBook:
        """The book that these rows make; equal to the one that wrote them.

        ``fills`` are in the order in which they happened. A transfer comes before the fills of its moment.
        """
        book = cls()
        waiting = sorted(transfers, key=lambda transfer: transfer.time_ms, reverse=True)
        with localcontext(MONEY):
            for fill in fills:
                while waiting and waiting[-1].time_ms <= fill.time_ms:
                    book.apply_transfer(waiting.pop())
                book.apply_fill(fill)
            while waiting:
                book.apply_transfer(waiting.pop())
        return book

    def apply_transfer(self, transfer: Transfer) -> None:
        self.cash += transfer.amount
        self.transferred += transfer.amount
        self.deposited = self.deposited or transfer.kind == "deposit"

    def apply_fill(self, fill: Fill) -> None:
        """Move cash and position; one trade is one entry and one exit of the same quantity."""
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        self.cash -= signed * fill.price + fill.fee
        self.position += signed
        self.realized += fill.realized_pnl
        self.trade_no = fill.trade_no
        if fill.role == "entry":
            self.entry_price, self.entry_ms = fill.price, fill.time_ms
        elif not self.position:
            self.entry_price = self.entry_ms = None

    def equity(self, mark: Decimal | None) -> Decimal:
        """What the sleeve is worth with its position at price ``mark``."""
        return self.cash + self.position * mark if self.position and mark is not None else self.cash

    def record(self, book: str, key: SleeveKey, mark: Decimal | None, as_of_ms: int) -> Position:
        with localcontext(MONEY):
            equity = self.equity(mark)
        return Position(book, *key, self.position, self.entry_price, self.entry_ms, self.cash, mark, equity, as_of_ms)

    def validate(self) -> None:
        """Raise AssertionError unless cash, position and what the fills realized agree (I7)."""
        require((self.position == 0) == (self.entry_price is None), self.position, self.entry_price)
        with localcontext(MONEY):
            invested = self.position * (self.entry_price or _ZERO)
            require(self.cash + invested == self.transferred + self.realized, self)
