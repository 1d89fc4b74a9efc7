"""Lots: trades that are open, each with its own quantity, cost, exits and the prices it has seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from trading.accounts.records import Fill
from trading.candles import from_units
from trading.config.rules import Exits

__all__ = ["FORCED", "STOP_LOSS", "TAKE_PROFIT", "TIME_EXIT", "TRAILING_STOP", "HeldLot", "Levels", "shared"]

STOP_LOSS = "stop_loss"
TAKE_PROFIT = "take_profit"
TRAILING_STOP = "trailing_stop"
TIME_EXIT = "time_exit"
FORCED = frozenset({STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, TIME_EXIT})
"""Reasons of fills that an exit of the trade's own made, rather than a decision."""

ENTERED_WITHIN = frozenset({"limit", "stop"})
"""Reasons of entries that were filled inside a candle, at a moment that the candle does not tell."""

_UNIT = Decimal("1e-8")
_HUNDRED = Decimal(100)
# Finer than any exact cost (price 1e-8 with slippage 1e-4, quantity 1e-8), so that rounding touches shares alone.
_SHARE = Decimal("1e-22")


class Levels(NamedTuple):
    """Prices at 10**-8 at which a lot is closed, None for none; rounded against us."""

    stop: int | None
    target: int | None


@dataclass(slots=True)
class HeldLot:
    """One open trade. ``quantity`` and ``cost`` are signed as its side is.

    ``name`` is the lot's in its strategy's plan, empty for a strategy that holds one position. ``highest`` and
    ``lowest`` are those of the closed minutes it was held in, at 10**-8, None before the first. ``within`` says that it
    was bought inside the candle of ``entry_ms`` and not at its open.
    """

    number: int
    entry_ms: int
    name: str = ""
    stop_distance: Decimal | None = None
    target_distance: Decimal | None = None
    trail_distance: Decimal | None = None
    within: bool = False
    quantity: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    bought: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    highest: int | None = None
    lowest: int | None = None
    _levels: Levels | None = None

    @classmethod
    def begun(cls, fill: Fill) -> HeldLot:
        """The lot that begins with ``fill``, which is still to be added."""
        return cls(
            fill.trade_no, fill.time_ms, fill.lot, fill.stop_distance, fill.target_distance,
            fill.trail_distance, fill.reason in ENTERED_WITHIN,
        )  # fmt: skip

    @property
    def is_long(self) -> bool:
        return self.quantity > 0

    @property
    def entry_price(self) -> Decimal:
        """The mean price of entry, exact unless it was bought at several prices."""
        return self.paid / self.bought

    def add(self, signed: Decimal, cost: Decimal) -> None:
        self.quantity += signed
        self.cost += cost
        self.bought += signed
        self.paid += cost
        self._levels = None

    def remove(self, quantity: Decimal) -> Decimal:
        """Take ``quantity`` away; returns the part of the cost that goes with it."""
        gone = self.released(quantity)
        self.cost -= gone
        self.quantity += -quantity if self.quantity > 0 else quantity
        return gone

    def released(self, quantity: Decimal) -> Decimal:
        """The part of ``cost`` that goes when ``quantity`` is closed; all of it with the last."""
        if quantity == abs(self.quantity):
            return self.cost
        return (self.cost * quantity / abs(self.quantity)).quantize(_SHARE)

    def levels(self, exits: Exits) -> Levels:
        """Where it is stopped and where it takes profit. Exits of the configuration go before the strategy's."""
        if self._levels is None:
            entry = self.entry_price
            stop = _distance(entry, exits.stop_loss_percent, self.stop_distance)
            target = _distance(entry, exits.take_profit_percent, self.target_distance)
            self._levels = Levels(
                None if stop is None else self._units(entry, -stop, against=self.is_long),
                None if target is None else self._units(entry, target, against=not self.is_long),
            )
        return self._levels

    def trails(self, exits: Exits) -> bool:
        """Whether a stop follows its price."""
        return exits.trailing_stop_percent is not None or self.trail_distance is not None

    def trail(self, exits: Exits, opened: int) -> int | None:
        """Where the trailing stop stands at the open, at price ``opened``, of the next candle."""
        if not self.trails(exits):
            return None
        entry = self.entry_price
        seen = self.highest if self.is_long else self.lowest
        prices = [entry, from_units(opened), *([] if seen is None else [from_units(seen)])]
        best = max(prices) if self.is_long else min(prices)
        behind = _distance(best, exits.trailing_stop_percent, self.trail_distance)
        return None if behind is None else self._units(best, -behind, against=self.is_long)

    def see(self, high: int, low: int) -> bool:
        """Take in the prices of a minute that it outlived; True when one of its extremes changed."""
        if self.highest is None or self.lowest is None:
            self.highest, self.lowest = high, low
            return True
        if high <= self.highest and low >= self.lowest:
            return False
        self.highest, self.lowest = max(self.highest, high), min(self.lowest, low)
        return True

    def range_with(self, *prices: Decimal) -> tuple[Decimal, Decimal]:
        """The highest and lowest price seen, those of the entry and ``prices`` among them."""
        seen = [self.entry_price, *prices, *(from_units(units) for units in (self.highest, self.lowest) if units)]
        return max(seen), min(seen)

    def _units(self, price: Decimal, gain: Decimal, *, against: bool) -> int | None:
        """The level ``gain`` on the winning side of ``price``, or None where no price can be; ``against`` floors it."""
        level = price + gain if self.is_long else price - gain
        units = int((level / _UNIT).to_integral_value(ROUND_FLOOR if against else ROUND_CEILING))
        return units if units > 0 else None


def shared(lots: Iterable[HeldLot], quantity: Decimal) -> list[tuple[HeldLot, Decimal]]:
    """``quantity`` that was closed, divided over ``lots``, oldest first."""
    found = []
    for lot in lots:
        part = min(quantity, abs(lot.quantity))
        if part:
            found.append((lot, part))
            quantity -= part
    return found


def _distance(price: Decimal, percent: Decimal | None, own: Decimal | None) -> Decimal | None:
    return own if percent is None else price * percent / _HUNDRED
