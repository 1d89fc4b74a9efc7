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
    divided,
    floor_divided,
    is_less,
    is_negative,
    subtract,
    times,
    whole,
)
from backtest.sweep.kernel.marks import Marks, blocks_of, deepest_of, marked, range_of
from backtest.sweep.kernel.turns import lost, next_turn

__all__ = ["FIGURES", "INEXACT", "OK", "Minutes", "Terms", "walk"]

OK, INEXACT = 0, 1

FIGURES = (
    "trades", "open_trades", "total_return", "final_equity", "sharpe", "sortino", "max_drawdown", "win_rate",
    "profit_factor", "fees", "exposure", "days",
)  # fmt: skip

_DAYS_A_YEAR = 365
_NO_VARIATION = 1e-12
_MOST_LOTS = 2.0**52
_DOUBT = 1e-9


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
    end, count, days = len(minutes.opens), len(fills), len(minutes.day_places)
    daily[0] = divided(terms.capital, terms.unit)
    nothing = whole(0)
    spent = nothing
    gains = losses = turnover = 0.0
    wins = closed = held = entered = side = funding = 0
    day: Any = 0
    lots = 0.0
    status = OK
    place = minutes.first
    # Days that end before the first mark.
    while day < days and minutes.day_places[day] < minutes.first:
        day += 1
        daily[day] = daily[0]
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
        lots, spent, value = _bought(minutes.seams[stop, 1], side, cash, terms)
        if lots >= _MOST_LOTS:
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
                if _may_reach(minutes, marks.place, stop, cash, lots, side, terms):
                    limit = _limit(cash, lots, side, terms)
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
            _write(trades[closed], side, entered, stop, lots, entry, price)
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
        _write(trades[closed], side, entered, -1, lots, entry, nothing)
    day = marks.day
    newest = cash
    if lots > 0.0:
        newest = add(cash, times(times(whole(side * lots), terms.lot), minutes.closes[marks.place - 1]))
    if marks.is_ruined:
        # The day of the last mark is the last of all.
        day = np.searchsorted(minutes.day_places, marks.place - 1) + 1
        daily[day] = divided(newest, terms.unit)
    _figures(daily[: day + 1], out)
    out[0] = closed
    out[1] = 1.0 if lots > 0.0 else 0.0
    out[2] = divided(subtract(newest, terms.capital), terms.capital)
    out[3] = divided(newest, terms.unit)
    out[6] = deepest_of(pending, marks.pending, marks.deepest, minutes.closes)
    out[7] = wins / closed if closed else np.nan
    out[8] = gains / losses if losses > 0.0 else np.nan
    out[9] = turnover / unit * terms.fee
    out[10] = held / (marks.place - place) if marks.place > place else np.nan
    return status, closed + (1 if lots > 0.0 else 0)


@uncounted
def _write(row: Any, side: Any, entered: Any, left: Any, lots: Any, entry: Any, price: Any) -> None:
    row[0], row[1], row[2], row[3] = side, entered, left, np.int64(lots)
    row[4], row[5] = entry
    row[6], row[7] = price


@inlined
def _bought(opened: Any, side: int, cash: Any, terms: Any) -> Any:
    """As many lots as the stake pays at the open, fee included: their number, which is 0 if refused and ``_MOST_LOTS``
    if it cannot be counted exactly, what is spent, and their value as a float.
    """
    one = times(terms.buy_costs if side > 0 else terms.sell_costs, opened)
    if abs(approximate(cash)) > terms.most_cash:
        return _MOST_LOTS, one, 0.0
    if terms.stake == terms.stake_of:
        lots = floor_divided(cash, one)
    else:
        lots = floor_divided(times(cash, terms.stake), times(one, terms.stake_of))
    if lots > terms.most_lots:
        return _MOST_LOTS, one, 0.0
    value = times(times(terms.buys if side > 0 else terms.sells, opened), lots)
    if is_negative(cash) or is_less(value, terms.least):
        lots = 0.0
    if side > 0:
        return lots, times(one, lots), approximate(value)
    return lots, times(times(terms.sell_gets, opened), -lots), approximate(value)


@inlined
def _may_reach(minutes: Any, a: int, b: int, cash: Any, lots: float, side: int, terms: Any) -> Any:
    """Whether a minute from ``a`` up to ``b`` may reach the price of liquidation, as far as whole blocks tell."""
    if side > 0 and not is_negative(cash):
        return False
    low, high = blocks_of(minutes.least_lows, minutes.most_highs, a, b)
    owed = approximate(cash) * np.float64(terms.margin_of)
    size = lots * np.float64(terms.lot)
    if side > 0:
        size *= np.float64(terms.margin_of - terms.margin)
        return size * np.float64(low) <= -owed * (1.0 + _DOUBT)
    size *= np.float64(terms.margin_of + terms.margin)
    return size * np.float64(high) >= owed * (1.0 - _DOUBT)


@uncounted
def _limit(cash: Any, lots: float, side: int, terms: Any) -> Any:
    """The price of liquidation at 10**-8, rounded against us: 0 for a long and the highest for a short without one."""
    size = times(
        times(whole(lots), terms.lot), terms.margin_of - terms.margin if side > 0 else terms.margin_of + terms.margin
    )
    owed = times(cash, terms.margin_of)
    if side > 0:
        return np.int64(floor_divided(subtract(whole(0), owed), size)) if is_negative(owed) else np.int64(0)
    if is_negative(subtract(owed, whole(1))):
        return np.int64(1)
    found = floor_divided(owed, size)
    if found >= _MOST_LOTS:
        return np.int64(2**62)
    if is_less(times(size, found), owed):
        found += 1.0
    return max(np.int64(1), np.int64(found))


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


@uncounted
def _figures(daily: Any, out: Any) -> None:
    """Sharpe, Sortino and the number of days as ``trading.accounts.score`` has them."""
    count = len(daily) - 1
    for value in daily:
        if value <= 0.0:
            count = 0
    out[4] = out[5] = np.nan
    out[11] = count
    if count < 2:
        return
    total = rest = squares = down = 0.0
    for i in range(count):
        change = daily[i + 1] / daily[i] - 1
        # What the rounding of each sum loses is summed beside it (Neumaier 1974).
        now = total + change
        rest += (total - now) + change if abs(total) >= abs(change) else (change - now) + total
        total = now
    mean = (total + rest) / count
    for i in range(count):
        change = daily[i + 1] / daily[i] - 1
        squares += (change - mean) ** 2
        down += min(change, 0.0) ** 2
    deviation = np.sqrt(squares / (count - 1))
    downside = np.sqrt(down / count)
    if deviation > _NO_VARIATION:
        out[4] = mean / deviation * np.sqrt(_DAYS_A_YEAR)
    if downside > _NO_VARIATION:
        out[5] = mean / downside * np.sqrt(_DAYS_A_YEAR)
