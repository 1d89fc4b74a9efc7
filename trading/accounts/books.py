"""Sleeves: the smallest books. Cash moves only with a fill or a transfer; everything else is arithmetic on that.

A sleeve is one instance on one market and interval, with its own part of the book's capital, so no result depends on
what happens elsewhere in the book. ``cash`` is what would remain if the position were worth nothing: a bought position
has been paid from it (below zero when leverage borrowed), a sold one has been paid into it. So always ``equity = cash +
position * mark``, and ``cash + cost of the position = transfers + realized``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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

from trading.accounts.lots import FORCED, HeldLot
from trading.accounts.records import Fill, Position, SleeveKey, Transfer
from trading.config.rules import NO_ENTRIES, NO_EXITS, Entries, Exits
from trading.instances import Instance
from trading.invariants import require

__all__ = ["MONEY", "SleeveBook", "SleeveSpec", "divide_capital"]

MONEY = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, FloatOperation, InvalidOperation, Overflow])
"""The arithmetic of all money: 40 digits, so that price times quantity times fee is exact; a float is an error."""

_ZERO = Decimal(0)
_STEP = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class SleeveSpec:
    """What a sleeve is and its share of the book's capital, ``deposit``, in the book's currency.

    ``retired``: no configured instance has it any more, so it opens nothing and lacks nothing.
    """

    instance_id: str
    market: str
    interval: str
    profile: str
    leverage: Decimal
    size: Decimal
    deposit: Decimal
    live_from_ms: int
    retired: bool = False
    exits: Exits = NO_EXITS
    entries: Entries = NO_ENTRIES

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
            item.instance_id,
            market,
            interval,
            item.profile,
            item.leverage,
            item.size,
            deposit,
            item.live_from_ms,
            exits=item.exits,
            entries=item.entries,
        )
        for (item, market, interval, _), deposit in zip(weights, deposits, strict=True)
    ]


@dataclass(slots=True)
class SleeveBook:
    """Cash and position of one sleeve, moved only by ``apply_fill`` and ``apply_transfer``, and rebuilt from the same.

    ``position`` is signed, in base units; it is the sum of ``lots``, which are open trades by their number, oldest
    first. ``realized`` sums what fills gained or lost, fees included; ``transferred`` sums deposits, funding and what
    went to or came from other sleeves, ``funded`` the same without funding; ``deposits`` counts the deposits. ``cost``
    is what the position was bought for, signed as the position is. ``trade_no`` is the newest trade's number; they
    count from 1. ``exit_ms`` is the time of the newest fill that closed a trade, ``forced_ms`` of the newest that an
    exit of the trade's own made.
    """

    cash: Decimal = _ZERO
    position: Decimal = _ZERO
    cost: Decimal = _ZERO
    trade_no: int = 0
    funded: Decimal = _ZERO
    deposits: int = 0
    realized: Decimal = _ZERO
    transferred: Decimal = _ZERO
    lots: dict[int, HeldLot] = field(default_factory=dict)
    exit_ms: int = -1
    forced_ms: int = -1

    @classmethod
    def rebuild(cls, fills: Iterable[Fill], transfers: Iterable[Transfer]) -> SleeveBook:
        """The book that these rows make; equal to the one that wrote them.

        ``fills`` are in the order in which they happened, at least those of each trade. A transfer comes before the
        fills of its moment.
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
        if transfer.kind != "funding":
            self.funded += transfer.amount
        self.deposits += transfer.kind == "deposit"

    @property
    def entry_price(self) -> Decimal | None:
        """The mean price of what is held, None when nothing is; exact unless it was bought at several prices."""
        return MONEY.divide(self.cost, self.position) if self.position else None

    @property
    def entry_ms(self) -> int | None:
        """When the oldest trade that is open began; None when none is."""
        return min((lot.entry_ms for lot in self.lots.values()), default=None)

    def held_at(self, time_ms: int) -> Decimal:
        """The part of the position that was held before ``time_ms``."""
        return sum((lot.quantity for lot in self.lots.values() if lot.entry_ms < time_ms), _ZERO)

    def apply_fill(self, fill: Fill) -> None:
        """Move cash and position; one trade is one entry and one exit of the same quantity, each in parts perhaps."""
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        if fill.role == "entry":
            lot = self.lots.get(fill.trade_no)
            if lot is None:
                lot = self.lots[fill.trade_no] = HeldLot.begun(fill)
            lot.add(signed, signed * fill.price)
            self.cost += signed * fill.price
        else:
            lot = self.lots[fill.trade_no]
            self.cost -= lot.remove(fill.quantity)
            if not lot.quantity:
                del self.lots[fill.trade_no]
            self.exit_ms = max(self.exit_ms, fill.time_ms)
            if fill.reason in FORCED:
                self.forced_ms = max(self.forced_ms, fill.time_ms)
        self.cash -= signed * fill.price + fill.fee
        self.position += signed
        self.realized += fill.realized_pnl
        self.trade_no = max(self.trade_no, fill.trade_no)

    def equity(self, mark: Decimal | None) -> Decimal:
        """What the sleeve is worth with its position at price ``mark``."""
        return self.cash + self.position * mark if self.position and mark is not None else self.cash

    def record(self, book: str, key: SleeveKey, mark: Decimal | None, as_of_ms: int) -> Position:
        with localcontext(MONEY):
            equity = self.equity(mark)
        return Position(book, *key, self.position, self.entry_price, self.entry_ms, self.cash, mark, equity, as_of_ms)

    def validate(self) -> None:
        """Raise AssertionError unless cash, position, lots and what the fills realized agree (I7)."""
        require(self.position * self.cost >= 0 and bool(self.position) == bool(self.cost), self.position, self.cost)
        with localcontext(MONEY):
            lots = self.lots.values()
            require(self.position == sum((lot.quantity for lot in lots), _ZERO), self.position, self.lots)
            require(self.cost == sum((lot.cost for lot in lots), _ZERO), self.cost, self.lots)
            require(all(lot.quantity * self.position > 0 for lot in lots), self.position, self.lots)
            require(self.cash + self.cost == self.transferred + self.realized, self)
