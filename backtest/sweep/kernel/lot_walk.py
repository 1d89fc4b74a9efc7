"""From lots that a strategy drops and opens to trades: the walk of ``walk`` for a position in several parts.

The meaning is that of ``trading.accounts``: what a candle decides is done at the open of the next minute, first one
order that closes all lots dropped, then one for each lot opened, whose stake is what equity then allows; one that is
refused takes those after it along. Each lot has a stop and a target of its own, from the first minute it is held in.
Within a minute stops and the price of liquidation come first, the nearest before the farther, then targets, which are
filled where they wait.

Combinations are walked a stretch of minutes at a time: what each is amid of waits in its ``STATE`` and its lots in a
row of ``HELD``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.sweep.kernel.compiling import inlined, uncounted
from backtest.sweep.kernel.distances import NOT_EXACT, decimal_of, units_of
from backtest.sweep.kernel.exact import (
    add,
    approximate,
    divided,
    floor_divided,
    is_less,
    is_negative,
    subtract,
    times,
    whole,
)
from backtest.sweep.kernel.marks import BLOCK, deepest_of
from backtest.sweep.kernel.money import booked, fresh, limit_of, paid, passed, scored, write_trade
from backtest.sweep.kernel.walk import INEXACT, OK

__all__ = ["HELD", "MOST_HELD", "STATE", "Waits", "advance", "begin", "finish"]

MOST_HELD = 256
"""Lots that a combination may hold at once; one with more runs in the reference engine."""

NO_LEVEL = 2**62
_LARGEST = 2.0**121
_DOUBT = 2.0**-49

HELD = np.dtype(
    [(name, np.int64) for name in ("opened_ms", "place", "entered", "number", "stop", "target", "spent_0", "spent_1")]
    + [("lots", np.float64)],
    align=True,
)
"""A lot that was bought: its name in the strategy, the minute it was bought in, its trade's number from 0, the levels
at 10**-8 that end it, what was spent, and how many lots of the market it is."""

STATE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "cash_high", "cash_low", "count", "side", "numbers", "looked", "funding", "place", "day", "wins", "closed",
            "held", "pending", "is_over", "is_ruined", "status",
        )
    ]
    + [(name, np.float64) for name in ("lots", "gains", "losses", "taken", "waited", "peak", "deepest")],
    align=True,
)  # fmt: skip
"""What a combination is amid of.

``count`` of its ``HELD`` are held, all on ``side``, together ``lots``; ``numbers`` trades have begun. ``looked`` is the
first minute whose prices were not looked at, ``place`` the first that is not marked. ``taken`` and ``waited`` are what
was traded for the taker's and for the maker's fee. The rest is as in ``walk``.
"""


class Waits(NamedTuple):
    """What an order pays that waits at its price: of one lot, for each 10**-8 of the price, in steps of money, what a
    sale ``gets`` and a purchase ``costs``, the maker's ``fee`` counted. ``scale`` is what prices are slipped in.
    """

    gets: Any
    costs: Any
    fee: float
    scale: int


@uncounted
def begin(s: Any, daily: Any, minutes: Any, terms: Any) -> None:
    """Make ``s`` that of a combination that has done nothing yet."""
    fresh(s, daily, minutes, terms)
    s.looked = minutes.first


@uncounted
def advance(  # noqa: PLR0913, PLR0917 - all that a walk reads
    s: Any, held: Any, changes: Any, first: int, last: int, upto: int, fills: Any, minutes: Any, terms: Any, waits: Any,
    trades: Any, daily: Any, pending: Any,
) -> None:  # fmt: skip
    """Walk on through the minutes before ``upto``, with the ``changes`` from ``first`` up to ``last``.

    ``pending`` is room of the shape ``PENDING``.
    """
    at = first
    while s.is_over == 0:
        place = fills[np.int64(changes[at, 0])] if at < last else upto
        _live(s, held, place, minutes, terms, waits, trades, daily, pending)
        if s.is_over != 0 or at >= last:
            break
        if place >= len(minutes.opens):
            s.is_over = 1
            break
        at = _change(s, held, changes, at, last, place, minutes, terms, waits, trades)
        if s.status != OK or abs(approximate((s.cash_high, s.cash_low))) > terms.most_cash:
            s.status, s.is_over = INEXACT, 1
    s.deepest, s.pending = deepest_of(pending, s.pending, s.deepest, minutes.closes), 0


@uncounted
def finish(s: Any, held: Any, minutes: Any, terms: Any, waits: Any, trades: Any, daily: Any, out: Any) -> None:
    """Put the figures of a combination that was walked to the end into ``out``."""
    for n in range(s.count):
        h = held[n]
        if h.number < len(trades):
            write_trade(trades[h.number], s.side, h.entered, -1, h.lots, _entry(h, s.side, minutes, terms), whole(0))
    unit = approximate(terms.unit)
    fees = s.taken / unit * terms.fee + s.waited / unit * waits.fee
    scored(s, s.count, fees, s.deepest, daily, minutes, terms, out)


# Between two decisions


@inlined
def _live(  # noqa: PLR0913, PLR0917
    s: Any, held: Any, upto: int, minutes: Any, terms: Any, waits: Any, trades: Any, daily: Any, pending: Any
) -> None:
    """Look at the prices of the minutes before ``upto``, pay the funding due before then, and mark them all."""
    while True:
        stop, pays = upto, False
        if s.count > 0 and terms.is_perp and s.funding < len(minutes.fundings) and minutes.fundings[s.funding] < upto:
            stop, pays = minutes.fundings[s.funding], True
        hit = stop
        if s.count > 0:
            down, up = _bounds(s, held, terms)
            hit = _reached(minutes, s.looked, stop, down, up)
        passed(s, hit, pending, daily, minutes, terms)
        if s.is_over:
            return
        s.looked = hit
        if hit < stop:
            _end(s, held, hit, minutes, terms, waits, trades)
            s.looked = hit + 1
        elif pays:
            paid(s, stop, minutes, terms)
        else:
            return


@inlined
def _bounds(s: Any, held: Any, terms: Any) -> Any:
    """A price at or below which, and one at or above which something happens to what is held."""
    down, up = np.int64(0), np.int64(NO_LEVEL)
    for n in range(s.count):
        stop, target = held[n].stop, held[n].target
        if s.side > 0:
            down, up = max(down, stop), min(up, target)
        else:
            down, up = max(down, target), min(up, stop)
    if terms.is_perp:
        limit = limit_of((s.cash_high, s.cash_low), s.lots, s.side, terms)
        if s.side > 0:
            down = max(down, limit)
        else:
            up = min(up, limit)
    return down, up


@inlined
def _reached(minutes: Any, first: int, stop: int, down: int, up: int) -> int:
    """The first minute from ``first`` up to ``stop`` that reaches ``down`` or ``up``, or ``stop``."""
    if down <= 0 and up >= NO_LEVEL:
        return stop
    a = first
    while a < stop:
        block = a // BLOCK
        b = min((block + 1) * BLOCK, stop)
        if minutes.least_lows[block] <= down or minutes.most_highs[block] >= up:
            for i in range(a, b):
                if minutes.lows[i] <= down or minutes.highs[i] >= up:
                    return i
        a = b
    return stop


@inlined
def _end(s: Any, held: Any, place: int, minutes: Any, terms: Any, waits: Any, trades: Any) -> None:
    """Close what the minute at ``place`` stops, liquidates or brings to its target."""
    opened, low, high = minutes.opens[place], minutes.lows[place], minutes.highs[place]
    while s.count > 0:
        found, level = -1, np.int64(0)
        for n in range(s.count):
            stop = held[n].stop
            is_hit = low <= stop if s.side > 0 else high >= stop
            if is_hit and (found < 0 or (stop > level if s.side > 0 else stop < level)):
                found, level = n, stop
        if terms.is_perp:
            limit = limit_of((s.cash_high, s.cash_low), s.lots, s.side, terms)
            is_hit = (limit > 0 and low <= limit) if s.side > 0 else high >= limit
            is_first = found < 0 or (level < limit if s.side > 0 else level > limit)
            if is_hit and is_first:
                reference = min(limit, opened) if s.side > 0 else max(limit, opened)
                for n in range(s.count):
                    _close(s, held[n], reference, place, minutes, terms, trades)
                s.count = 0
                break
        if found < 0:
            break
        reference = min(level, opened) if s.side > 0 else max(level, opened)
        _close(s, held[found], reference, place, minutes, terms, trades)
        _remove(s, held, found)
    n = 0
    while n < s.count:
        h = held[n]
        if (high >= h.target) if s.side > 0 else (low <= h.target):
            reference = max(h.target, opened) if s.side > 0 else min(h.target, opened)
            one = times(waits.gets if s.side > 0 else waits.costs, reference)
            s.waited += approximate(times(times(whole(h.lots), terms.lot), reference))
            price = times(whole(reference), waits.scale)
            _book(s, h, times(one, s.side * h.lots), price, place, minutes, terms, trades)
            _remove(s, held, n)
        else:
            n += 1


@inlined
def _close(s: Any, h: Any, reference: int, place: int, minutes: Any, terms: Any, trades: Any) -> None:
    """Close a lot at ``reference`` and what slippage makes of it."""
    one = times(terms.sell_gets if s.side > 0 else terms.buy_costs, reference)
    s.taken += approximate(times(times(terms.sells if s.side > 0 else terms.buys, reference), h.lots))
    price = times(whole(reference), terms.sell if s.side > 0 else terms.buy)
    _book(s, h, times(one, s.side * h.lots), price, place, minutes, terms, trades)


@inlined
def _book(s: Any, h: Any, got: Any, price: Any, place: int, minutes: Any, terms: Any, trades: Any) -> None:
    booked(s, got, (h.spent_0, h.spent_1))
    s.lots -= h.lots
    if h.number < len(trades):
        write_trade(trades[h.number], s.side, h.entered, place, h.lots, _entry(h, s.side, minutes, terms), price)


@inlined
def _entry(h: Any, side: int, minutes: Any, terms: Any) -> Any:
    return times(whole(minutes.opens[h.entered]), terms.buy if side > 0 else terms.sell)


@inlined
def _remove(s: Any, held: Any, place: int) -> None:
    for n in range(place + 1, s.count):
        held[n - 1] = held[n]
    s.count -= 1


# At a decision


@inlined
def _change(  # noqa: PLR0913, PLR0917
    s: Any, held: Any, changes: Any, first: int, last: int, place: int, minutes: Any, terms: Any, waits: Any,
    trades: Any,
) -> int:  # fmt: skip
    """Do at the open of the minute at ``place`` what one candle changed; returns the first change of a later one."""
    candle, at = changes[first, 0], first
    # The first order of a decision is sized when that is made, before funding.
    cash, lots = (s.cash_high, s.cash_low), s.lots
    if s.count > 0 and terms.is_perp and s.funding < len(minutes.fundings) and minutes.fundings[s.funding] == place:
        paid(s, place, minutes, terms)
    while s.funding < len(minutes.fundings) and minutes.fundings[s.funding] <= place:
        s.funding += 1
    closes = False
    while at < last and changes[at, 0] == candle and changes[at, 3] == 0.0:
        for n in range(s.count):
            if held[n].opened_ms == np.int64(changes[at, 1]) and held[n].place == np.int64(changes[at, 2]):
                _close(s, held[n], minutes.opens[place], place, minutes, terms, trades)
                _remove(s, held, n)
                closes = True
                break
        at += 1
    if closes:
        cash, lots = (s.cash_high, s.cash_low), s.lots
    goes_on = True
    while at < last and changes[at, 0] == candle:
        if goes_on and (changes[at, 3] > 0.0 or terms.may_short):
            goes_on = _open(s, held, changes[at], cash, lots, place, minutes, terms, waits)
            cash, lots = (s.cash_high, s.cash_low), s.lots
        at += 1
    return at


@inlined
def _open(  # noqa: PLR0913, PLR0917
    s: Any, held: Any, change: Any, cash: Any, lots: float, place: int, minutes: Any, terms: Any, waits: Any
) -> bool:
    """Buy a lot, with the stake of ``cash`` and ``lots`` held; returns whether the venue took the order."""
    side = 1 if change[3] > 0.0 else -1
    opened = minutes.opens[place]
    one = times(terms.buy_costs if side > 0 else terms.sell_costs, opened)
    # Both in steps of money times ``stake_of``: what all may be put in, and what of it is bound.
    equity, bound = cash, whole(0)
    if lots > 0.0:
        position = times(times(whole(lots), terms.lot), minutes.closes[place - 1])
        equity = add(cash, times(position, s.side))
        bound = times(position, terms.stake_of)
    if abs(approximate(equity)) > terms.most_cash or approximate(bound) > _LARGEST:
        s.status = INEXACT
        return False
    stake, price = times(equity, terms.stake), times(one, terms.stake_of)
    bought = floor_divided(subtract(stake, bound), price)
    if change[5] > 0.0:
        wanted = _times_fit(terms.unit, one, change[5])
    else:
        wanted = _times_fit(stake, price, change[4]) if change[4] < 1.0 else floor_divided(stake, price)
    bought = min(bought, wanted)
    if wanted < 0.0 or bought + s.lots > terms.most_lots or s.count == MOST_HELD:
        s.status = INEXACT
        return False
    value = times(times(terms.buys if side > 0 else terms.sells, opened), bought)
    if bought == 0.0 or is_less(value, terms.least):
        return False
    h = held[s.count]
    spent = times(one, bought) if side > 0 else times(times(terms.sell_gets, opened), -bought)
    h.spent_0, h.spent_1 = spent
    h.opened_ms, h.place, h.entered = np.int64(change[1]), np.int64(change[2]), place
    h.lots, h.number = bought, s.numbers
    if not _levels(h, side, change[6], change[7], opened, terms, waits.scale):
        s.status = INEXACT
        return False
    s.side = side
    s.count += 1
    s.numbers += 1
    s.lots += bought
    s.taken += approximate(value)
    s.cash_high, s.cash_low = subtract((s.cash_high, s.cash_low), spent)
    return True


@inlined
def _times_fit(amount: Any, one: Any, factor: float) -> Any:
    """How often ``one`` fits whole into ``factor`` times ``amount``, ``factor`` meant as the decimal that it is written
    as; -1 if that is not certain.
    """
    if is_negative(amount):
        return 0.0
    estimate = divided(amount, one) * factor
    if estimate > 2.0**50:
        return -1.0
    near = np.rint(estimate)
    if abs(estimate - near) > estimate * _DOUBT:
        return np.floor(estimate)
    number, power = decimal_of(factor)
    if power < 0 or power > 18 or max(approximate(amount) * number, approximate(one) * near * 10.0**power) > _LARGEST:
        return -1.0
    shift = np.int64(1)
    for _ in range(power):
        shift *= 10
    return near - 1.0 if is_less(times(amount, number), times(times(one, near), shift)) else near


@inlined
def _levels(h: Any, side: int, stop: float, profit: float, opened: int, terms: Any, scale: int) -> bool:
    """Set the levels of a lot entered at ``opened`` from its distances, NaN for none; False if one is not certain."""
    slipped = opened * (terms.buy if side > 0 else terms.sell)
    below = slipped // scale
    above = below + (1 if slipped % scale else 0)
    h.stop, h.target = (0, NO_LEVEL) if side > 0 else (NO_LEVEL, 0)
    if not np.isnan(stop):
        away = units_of(stop, 1, 1)
        if away == NOT_EXACT:
            return False
        h.stop = max(0, below - away) if side > 0 else above + away
    if not np.isnan(profit):
        away = units_of(profit, 1, 1)
        if away == NOT_EXACT:
            return False
        h.target = above + away if side > 0 else max(0, below - away)
    return True
