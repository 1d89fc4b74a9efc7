"""Calm minutes: those in which a market's sleeves do nothing but be marked at the close, so that many pass at once.

Every reason for a sleeve to do something in a minute is named here: an order at work, the price and the expiry of one
that rests, the price of a stop, target or liquidation, a trade held for long enough, funding. Whoever adds one names it
here too. In doubt a minute is not calm: it is then handled by itself, which is always right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trading.accounts.broker import OrderStatus
from trading.accounts.fills import liquidation_price
from trading.accounts.lots import HeldLot
from trading.accounts.records import Order
from trading.accounts.sleeve import Sleeve
from trading.candle_columns import Integers
from trading.candles import to_units
from trading.config.costs import Charges
from trading.config.rules import Exits
from trading.intervals import parse_interval

__all__ = ["NOTHING_TO_DO", "Calm", "calm_of"]

_LEAST, _MOST = 0, int(np.iinfo(np.int64).max)
# Below this many minutes it is quicker to handle them than to look whether they are calm.
_SHORT = 8
_WATCHED = frozenset(
    {f"{name}_{unit}" for name in ("stop_loss", "take_profit", "trailing_stop") for unit in ("percent", "atr")}
    | {"atr_period", "max_hold_candles"}
)


@dataclass(frozen=True, slots=True)
class Calm:
    """What the minutes after the last one that was closed must keep to in order to be calm.

    A minute is not calm when it opens at or after ``until_ms``, or reaches ``down`` or ``up`` (prices at 10**-8, which
    none passes when nothing waits there). ``trailing`` are the trades whose stop follows the price. ``is_held`` says
    whether anything is held, ``is_funded`` whether what is held pays or gets funding.
    """

    is_held: bool = False
    is_funded: bool = False
    until_ms: int = _MOST
    down: int = _LEAST
    up: int = _MOST
    trailing: tuple[tuple[HeldLot, Exits], ...] = ()

    def lasts(self, open_ms: Integers, high: Integers, low: Integers) -> int:
        """How many of the next minutes, given by open times, highs and lows, are calm before the first that is not.

        Funding is left to the caller, who knows at which opens it is due.
        """
        count = len(open_ms) if self.until_ms == _MOST else int(np.searchsorted(open_ms, self.until_ms))
        reached = (low[:count] <= self.down) | (high[:count] >= self.up)
        count = int(reached.argmax()) if reached.any() else count
        for lot, exits in self.trailing:
            count = _untrailed(lot, exits, high[:count], low[:count])
        return count


NOTHING_TO_DO = Calm()
"""All minutes are calm: nothing is held, and nothing waits."""


def calm_of(sleeves: Sequence[Sleeve], closed_ms: int, charges: Charges) -> Calm | None:
    """The bounds of the sleeves of a market that was closed at ``closed_ms``; None if the next minute is not calm."""
    down, up, until_ms = _LEAST, _MOST, _MOST
    is_held = is_funded = False
    trailing: list[tuple[HeldLot, Exits]] = []
    for sleeve in sleeves:
        spec, book = sleeve.spec, sleeve.book
        if sleeve.leaving is not None or spec.retired or spec.live_from_ms > closed_ms:
            return None
        if sleeve.order is not None:
            rests = _rests(sleeve.order)
            if rests is None:
                return None
            level, below, expires_ms = rests
            down, up = (max(down, level), up) if below else (down, min(up, level))
            until_ms = min(until_ms, expires_ms)
        if not book.position:
            continue
        exits, lots = spec.exits, book.lots.values()
        if not exits.model_fields_set <= _WATCHED or any(lot.highest is None for lot in lots):
            return None
        is_held = True
        is_funded = is_funded or spec.profile == "perp"
        for level, below in _levels(sleeve, charges):
            down, up = (max(down, level), up) if below else (down, min(up, level))
        trailing += [(lot, exits) for lot in lots if lot.trails(exits)]
        if exits.max_hold_candles is not None:
            width_ms = parse_interval(spec.interval).typical_ms
            until_ms = min(until_ms, min(lot.entry_ms for lot in lots) + exits.max_hold_candles * width_ms)
    return Calm(is_held, is_funded, until_ms, down, min(up, _MOST), tuple(trailing))


def _rests(order: Order) -> tuple[int, bool, int] | None:
    """The price at which an order rests, whether it is reached from above, and its expiry; None if it does not rest,
    or is not known to be at the venue yet.
    """
    if order.price is None or order.expires_ms is None or order.status != OrderStatus.OPEN:
        return None
    return to_units(order.price), (order.type == "LIMIT") == (order.side == "BUY"), order.expires_ms


def _levels(sleeve: Sleeve, charges: Charges) -> Iterator[tuple[int, bool]]:
    """The prices at which something happens to what is held, and whether each is reached from above."""
    is_long = sleeve.book.position > 0
    for lot in sleeve.book.lots.values():
        levels = lot.levels(sleeve.spec.exits)
        if levels.stop is not None:
            yield levels.stop, is_long
        if levels.target is not None:
            yield levels.target, not is_long
    limit = liquidation_price(sleeve.book, charges) if sleeve.spec.profile == "perp" else None
    if limit is not None:
        # A multiple of 10**-8.
        yield int(limit.scaleb(8)), is_long


def _untrailed(lot: HeldLot, exits: Exits, high: Integers, low: Integers) -> int:
    """Up to how many minutes the stop that follows the price is surely not reached.

    It is compared where the best price of them all would put it, which is no farther than it gets in any of them.
    """
    count = len(high)
    while count > _SHORT:
        best, worst = (high, low) if lot.is_long else (low, high)
        reach = (best[:count].max(), worst[:count].min()) if lot.is_long else (best[:count].min(), worst[:count].max())
        level = lot.trail(exits, int(reach[0]))
        if level is None or (int(reach[1]) > level if lot.is_long else int(reach[1]) < level):
            return count
        count //= 2
    return 0
