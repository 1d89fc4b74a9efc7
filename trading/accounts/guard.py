"""Exits within a candle: what its high and low do to the trades that are open. Stops first, if both were reached.

Adverse levels (stops, trailing stops, the liquidation price) are taken in the order in which a price that runs against
the position reaches them; one that the candle opened beyond is filled at the open. Targets come after, of what is left.
A trade that was entered inside this very candle can be stopped in it but takes no profit, because nobody knows what
came first.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from trading.accounts.fills import liquidation_price
from trading.accounts.lots import STOP_LOSS, TAKE_PROFIT, TIME_EXIT, TRAILING_STOP, HeldLot
from trading.accounts.sleeve import Sleeve
from trading.candles import Candle, from_units
from trading.config.costs import Charges
from trading.intervals import parse_interval

__all__ = ["LIQUIDATION", "Exit", "adverse", "overdue", "see", "targets"]

LIQUIDATION = "liquidation"


class Exit(NamedTuple):
    """``lots`` are closed at ``reference``, before slippage; ``waited``: by an order that stood at this price."""

    lots: tuple[HeldLot, ...]
    reference: Decimal
    reason: str
    waited: bool = False


def overdue(sleeve: Sleeve, candle: Candle) -> Exit | None:
    """What was held for as many candles as are allowed, closed at the open."""
    candles = sleeve.spec.exits.max_hold_candles
    if candles is None:
        return None
    entered_ms = candle.open_time_ms - candles * parse_interval(sleeve.spec.interval).typical_ms
    lots = tuple(lot for lot in sleeve.book.lots.values() if lot.entry_ms <= entered_ms)
    return Exit(lots, from_units(candle.open), TIME_EXIT) if lots else None


def adverse(sleeve: Sleeve, candle: Candle, costs: Charges) -> Exit | None:
    """The first level that a price running against the position reaches; None when the candle reached none."""
    book = sleeve.book
    if not book.position:
        return None
    is_long = book.position > 0
    stop = _first_stop(sleeve, candle)
    limit = liquidation_price(book, costs) if sleeve.spec.profile == "perp" else None
    opened, extreme = from_units(candle.open), from_units(candle.low if is_long else candle.high)
    if limit is not None and (extreme <= limit if is_long else extreme >= limit):
        beyond = stop is not None and (stop.reference >= limit if is_long else stop.reference <= limit)
        if not beyond:
            lots = tuple(book.lots.values())
            # What was bought within the candle had no such price when it opened.
            if not any(_just_entered(lot, candle) for lot in lots):
                limit = min(limit, opened) if is_long else max(limit, opened)
            return Exit(lots, limit, LIQUIDATION)
    if stop is None or _just_entered(stop.lots[0], candle):
        return stop
    return stop._replace(reference=min(stop.reference, opened) if is_long else max(stop.reference, opened))


def _first_stop(sleeve: Sleeve, candle: Candle) -> Exit | None:
    """The stop that is reached first, at its own level."""
    exits = sleeve.spec.exits
    is_long = sleeve.book.position > 0
    found: Exit | None = None
    nearest = 0
    for lot in sleeve.book.lots.values():
        for level, reason in ((lot.levels(exits).stop, STOP_LOSS), (_trail(sleeve, lot, candle), TRAILING_STOP)):
            if level is None or (candle.low > level if is_long else candle.high < level):
                continue
            if found is None or (level > nearest if is_long else level < nearest):
                found, nearest = Exit((lot,), from_units(level), reason), level
    return found


def targets(sleeve: Sleeve, candle: Candle) -> list[Exit]:
    """The trades whose target the candle reached."""
    found = []
    for lot in sleeve.book.lots.values():
        target = lot.levels(sleeve.spec.exits).target
        if target is None or _just_entered(lot, candle):
            continue
        if lot.is_long and candle.high >= target:
            found.append(Exit((lot,), from_units(max(target, candle.open)), TAKE_PROFIT, waited=True))
        elif not lot.is_long and candle.low <= target:
            found.append(Exit((lot,), from_units(min(target, candle.open)), TAKE_PROFIT, waited=True))
    return found


def see(sleeve: Sleeve, candle: Candle) -> list[HeldLot]:
    """Show the candle to the trades that outlived it; returns those that saw a new high or low."""
    changed = []
    for lot in sleeve.book.lots.values():
        high, low = (candle.close, candle.close) if _just_entered(lot, candle) else (candle.high, candle.low)
        if lot.see(high, low):
            changed.append(lot)
    return changed


def _trail(sleeve: Sleeve, lot: HeldLot, candle: Candle) -> int | None:
    return None if _just_entered(lot, candle) else lot.trail(sleeve.spec.exits, candle.open)


def _just_entered(lot: HeldLot, candle: Candle) -> bool:
    """Whether it was bought inside this candle, at a moment that the candle does not tell."""
    return lot.within and lot.entry_ms == candle.open_time_ms
