"""From decisions to trades to a score, touching only the minutes in which something happens.

The money is that of ``trading.accounts``: an order decided at a close fills at the open of the next minute, a price
``slippage`` worse, in whole lots; funding comes before fills; a liquidation is taken inside the minute that reaches it;
everything is marked at each close.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.sweep.kernel.bits import is_set
from backtest.sweep.kernel.compiling import inlined, uncounted
from backtest.sweep.kernel.exact import (
    add,
    approximate,
    is_less,
    subtract,
    times,
    whole,
)
from backtest.sweep.kernel.marks import Marks, deepest_of, marked, range_of
from backtest.sweep.kernel.money import MOST_LOTS, Tally, begun, bought, finished, limit_of, may_reach, write_trade
from backtest.sweep.kernel.turns import lost, next_turn

__all__ = ["INEXACT", "OK", "Minutes", "Terms", "walk"]

OK, INEXACT = 0, 1


class Minutes(NamedTuple):
    """Prices at 10**-8, and of the arrays of a ``Tape`` those that a walk reads. The last are the lowest and the
    highest of each ``BLOCK``. Rows of ``seams`` are the close before a minute and its open: what an order needs of both
    minutes lies together.
    """

    opens: Any
    highs: Any
    lows: Any
    closes: Any
    first: int
    fundings: Any
    funded: Any
    day_places: Any
    least_closes: Any
    most_closes: Any
    least_lows: Any
    most_highs: Any
    seams: Any
    day_closes: Any


class Terms(NamedTuple):
    """What is charged, as whole numbers: ``unit`` is one unit of the book's currency in the smallest step of money.

    Of one lot, for each 10**-8 of the price before slippage, in steps of money: ``buys`` and ``sells`` are what it is
    worth when bought and sold, ``buy_costs`` and ``sell_costs`` the same with the fee, ``sell_gets`` without it,
    ``lot`` what it is marked at, and ``funding`` what it pays. ``buy`` and ``sell`` are what slippage makes of a price.
    ``stake`` of ``stake_of`` is what of all equity an entry may spend, ``least`` the smallest value of an order, and
    ``ruin`` the equity below which the run ends; with less than ``most_refused`` no order is large enough, whatever the
    price. ``fee`` is a share, ``margin`` of ``margin_of`` the maintenance margin. With at most ``most_lots`` and
    ``most_cash`` no amount comes near 2**127, whatever the price.
    """

    capital: Any
    unit: Any
    buy: int
    sell: int
    buys: Any
    sells: Any
    buy_costs: Any
    sell_costs: Any
    sell_gets: Any
    lot: int
    funding: int
    fee: float
    stake: int
    stake_of: int
    least: Any
    most_refused: Any
    margin: int
    margin_of: int
    ruin: Any
    most_lots: float
    most_cash: float
    is_perp: bool
    may_short: bool


@uncounted
def walk(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - one trade after another, nothing kept
    longs: Any,
    shorts: Any,
    flats: Any,
    fills: Any,
    minutes: Any,
    terms: Any,
    ahead: Any,
    pending: Any,
    trades: Any,
    daily: Any,
    out: Any,
) -> Any:
    """Trade one combination's decisions; returns whether all was exact, and how many trades there were.

    ``longs``, ``shorts`` and ``flats`` have a bit for each candle. Rows of ``trades`` are side, entry minute, exit
    minute (-1 while open), lots, and entry and exit price as ``Exact``, at 10**-8 times what slippage scales by.
    ``daily`` takes the capital and equity at the end of each day, ``out`` takes ``FIGURES``; ``ahead`` of ``AHEAD`` and
    ``pending`` of ``PENDING`` are scratch.
    """
    end, count = len(minutes.opens), len(fills)
    nothing = whole(0)
    spent = nothing
    gains = losses = turnover = 0.0
    wins = closed = held = entered = side = funding = 0
    day = begun(daily, minutes, terms)
    lots = 0.0
    status = OK
    place = minutes.first
    cash = terms.capital
    lost(ahead)
    marks = Marks(approximate(cash), 0.0, day, place, False, 0)
    unit, buys, sells = approximate(terms.unit), approximate(terms.buys), approximate(terms.sells)
    candle: Any = 0
    # Where a trade was closed for one of the other side, whose candle ``candle`` is then; else -1.
    turning = -1
    while True:
        stop = turning
        if turning < 0:
            candle = next_turn(longs, shorts, flats, 0, candle, terms.may_short, fills, minutes.seams, ahead)
            stop = fills[candle] if candle < count and not is_less(cash, terms.most_refused) else end
        if stop > marks.place:
            marks = marked(marks, pending, cash, nothing, stop, daily, minutes, unit, terms)
        if marks.is_ruined or stop >= end:
            break
        turning = -1
        side = 1 if is_set(longs, candle) else -1
        candle += 1
        lots, spent, value = bought(minutes.seams[stop, 1], side, cash, terms)
        if lots >= MOST_LOTS:
            status = INEXACT
            break
        if lots == 0.0:
            lost(ahead)
            continue
        entered = stop
        cash = subtract(cash, spent)
        turnover += value
        worth = times(whole(side * lots), terms.lot)
        leave = next_turn(longs, shorts, flats, side, candle, terms.may_short, fills, minutes.seams, ahead)
        until = fills[leave] if leave < count else end
        is_forced = False
        reference = np.int64(0)
        if terms.is_perp:
            while funding < len(minutes.fundings) and minutes.fundings[funding] <= stop:
                funding += 1
        while True:
            stop, pays = until, False
            if terms.is_perp:
                if funding < len(minutes.fundings) and minutes.fundings[funding] <= until:
                    stop, pays = minutes.fundings[funding], True
                if may_reach(minutes, marks.place, stop, cash, lots, side, terms):
                    limit = limit_of(cash, lots, side, terms)
                    hit = _reached(minutes.lows, minutes.highs, marks.place, stop, limit, side)
                    if hit < stop:
                        is_forced, stop = True, hit
                        reference = min(limit, minutes.opens[hit]) if side > 0 else max(limit, minutes.opens[hit])
            if stop > marks.place:
                first = marks.place
                marks = marked(marks, pending, cash, worth, stop, daily, minutes, unit, terms)
                held += marks.place - first
            if marks.is_ruined or is_forced or not pays:
                break
            # Before this minute's open, on what was held until then.
            paid = times(times(whole(side * lots), minutes.seams[stop, 1]), terms.funding)
            cash = subtract(cash, times(paid, minutes.funded[funding]))
            funding += 1
            if abs(approximate(cash)) > terms.most_cash:
                status = INEXACT
                break
        if marks.is_ruined or stop >= end or status != OK:
            break
        if not is_forced:
            reference = minutes.seams[stop, 1]
        got = times(times(terms.sell_gets if side > 0 else terms.buy_costs, reference), side * lots)
        cash = add(cash, got)
        turnover += (sells if side > 0 else buys) * np.float64(reference) * lots
        profit = approximate(subtract(got, spent))
        if profit > 0.0:
            wins += 1
            gains += profit
        elif profit < 0.0:
            losses -= profit
        if closed < len(trades):
            entry = times(whole(minutes.opens[entered]), terms.buy if side > 0 else terms.sell)
            price = times(whole(reference), terms.sell if side > 0 else terms.buy)
            write_trade(trades[closed], side, entered, stop, lots, entry, price)
        closed += 1
        lots = 0.0
        if is_forced:
            # What was decided until this minute opened found the trade open.
            candle = np.searchsorted(fills, stop, side="right")
            lost(ahead)
        elif (terms.may_short and side > 0 and is_set(shorts, leave)) or (side < 0 and is_set(longs, leave)):
            candle, turning = leave, stop
        else:
            candle = leave + 1
    if lots > 0.0 and closed < len(trades):
        entry = times(whole(minutes.opens[entered]), terms.buy if side > 0 else terms.sell)
        write_trade(trades[closed], side, entered, -1, lots, entry, nothing)
    fees = turnover / unit * terms.fee
    deepest = deepest_of(pending, marks.pending, marks.deepest, minutes.closes)
    tally = Tally(cash, side * lots, 1 if lots > 0.0 else 0, closed, wins, gains, losses, fees, deepest, held,
                  marks.place, marks.day, marks.is_ruined)  # fmt: skip
    finished(tally, minutes, terms, daily, out)
    return status, closed + (1 if lots > 0.0 else 0)


@inlined
def _reached(lows: Any, highs: Any, a: int, b: int, limit: int, side: int) -> int:
    """The first minute from ``a`` up to ``b`` that reaches ``limit``, or ``b``."""
    if side > 0:
        if limit <= 0 or range_of(lows, a, b)[0] > limit:
            return b
        for i in range(a, b):
            if lows[i] <= limit:
                return i
        return b
    if range_of(highs, a, b)[1] < limit:
        return b
    for i in range(a, b):
        if highs[i] >= limit:
            return i
    return b
