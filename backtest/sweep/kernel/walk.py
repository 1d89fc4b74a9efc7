"""From decisions to trades to a score, touching only the minutes in which something happens.

The money is that of ``trading.accounts``: an order decided at a close fills at the open of the next minute, a price
``slippage`` worse, in whole lots; funding comes before fills; a liquidation is taken inside the minute that reaches it;
everything is marked at each close. Marks between two events follow from the closes alone, so only their lowest, their
highest and those that end a day are looked at, and a run of them is gone through only where it can deepen the drawdown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from backtest.sweep.kernel.bits import next_bit
from backtest.sweep.kernel.exact import add, divided, floor_divided, subtract, times

__all__ = ["FIGURES", "OK", "Minutes", "Terms", "walk"]

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
    """Prices at 10**-8, and of the arrays of a ``Tape`` those that a walk reads."""

    opens: Any
    highs: Any
    lows: Any
    closes: Any
    first: int
    fundings: Any
    funded: Any
    day_places: Any


class Terms(NamedTuple):
    """What is charged, as whole numbers: ``unit`` is one unit of the book's currency in the smallest step of money.

    Of one lot, for each 10**-8 of the price before slippage, in steps of money: ``buys`` and ``sells`` are what it is
    worth when bought and sold, ``buy_costs`` and ``sell_costs`` the same with the fee, ``sell_gets`` without it,
    ``lot`` what it is marked at, and ``funding`` what it pays. ``buy`` and ``sell`` are what slippage makes of a price.
    ``stake`` of ``stake_of`` is what of all equity an entry may spend, ``least`` the smallest value of an order, and
    ``ruin`` the equity below which the run ends; with less than ``most_refused`` no order is large enough, whatever the
    price. ``fee`` is a share, ``margin`` of ``margin_of`` the maintenance margin.
    """

    capital: Any
    unit: Any
    buy: float
    sell: float
    buys: Any
    sells: Any
    buy_costs: Any
    sell_costs: Any
    sell_gets: Any
    lot: float
    funding: float
    fee: float
    stake: float
    stake_of: float
    least: Any
    most_refused: Any
    margin: float
    margin_of: float
    ruin: Any
    is_perp: bool
    may_short: bool


class Marks(NamedTuple):
    """Equity marked so far: the highest, the deepest fall from one as its share, how many days have ended, the first
    minute that is not marked, and whether the run is over because no order can be paid. Floats are enough here.
    """

    peak: float
    deepest: float
    day: int
    place: int
    is_ruined: bool


@njit
def walk(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - one trade after another, nothing kept
    longs: Any, shorts: Any, flats: Any, fills: Any, minutes: Any, terms: Any, trades: Any, daily: Any, out: Any
) -> Any:
    """Trade one combination's decisions; returns whether all was exact, and how many trades there were.

    ``longs``, ``shorts`` and ``flats`` have a bit for each candle. Rows of ``trades`` are side, entry minute, exit
    minute (-1 while open), lots, and entry and exit price as pairs, at 10**-8 times what slippage scales by. ``daily``
    takes the capital and equity at the end of each day, ``out`` takes ``FIGURES``.
    """
    end, count, days = len(minutes.opens), len(fills), len(minutes.day_places)
    daily[0] = divided(terms.capital, terms.unit)
    nothing = (0.0, 0.0)
    spent, entry = nothing, nothing
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
    marks = Marks(cash[0], 0.0, day, place, False)
    candle: Any = 0
    # Where a trade was closed for one of the other side, whose candle ``candle`` is then; else -1.
    turning = -1
    while True:
        stop = turning
        if turning < 0:
            candle = (
                next_bit(longs, shorts, candle, count) if terms.may_short else next_bit(longs, longs, candle, count)
            )
            stop = fills[candle] if candle < count and subtract(cash, terms.most_refused)[0] >= 0.0 else end
        if stop > marks.place:
            marks = _marked(marks, cash, nothing, stop, daily, minutes.closes, minutes.day_places, terms)
        if marks.is_ruined or stop >= end:
            break
        turning = -1
        side = 1 if _is_set(longs, candle) else -1
        candle += 1
        opened = np.float64(minutes.opens[stop])
        lots, spent, value = _bought(opened, side, cash, terms)
        if lots >= _MOST_LOTS:
            status = INEXACT
            break
        if lots == 0.0:
            continue
        entry, entered = times((opened, 0.0), terms.buy if side > 0 else terms.sell), stop
        cash = subtract(cash, spent)
        turnover += value
        worth = times((side * lots, 0.0), terms.lot)
        while funding < len(minutes.fundings) and minutes.fundings[funding] <= stop:
            funding += 1
        leave = next_bit(flats, shorts, candle, count) if side > 0 else next_bit(flats, longs, candle, count)
        until = fills[leave] if leave < count else end
        is_forced = False
        while True:
            pays = terms.is_perp and funding < len(minutes.fundings) and minutes.fundings[funding] <= until
            stop = minutes.fundings[funding] if pays else until
            reference = np.int64(0)
            if terms.is_perp:
                limit = _limit(cash, lots, side, terms)
                hit = _reached(minutes.lows, minutes.highs, marks.place, stop, limit, side)
                if hit < stop:
                    is_forced, stop = True, hit
                    reference = min(limit, minutes.opens[hit]) if side > 0 else max(limit, minutes.opens[hit])
            if stop > marks.place:
                first = marks.place
                marks = _marked(marks, cash, worth, stop, daily, minutes.closes, minutes.day_places, terms)
                held += marks.place - first
            if marks.is_ruined or is_forced or not pays:
                break
            # Before this minute's open, on what was held until then.
            value = times(times((lots, 0.0), np.float64(minutes.opens[stop])), terms.funding)
            value = times(value, np.float64(side * minutes.funded[funding]))
            cash = subtract(cash, value)
            funding += 1
        if marks.is_ruined or stop >= end:
            break
        if not is_forced:
            reference = minutes.opens[stop]
        value = times(times(terms.sells if side > 0 else terms.buys, np.float64(reference)), lots)
        got = times(times(terms.sell_gets if side > 0 else terms.buy_costs, np.float64(reference)), side * lots)
        cash = add(cash, got)
        turnover += value[0]
        profit = subtract(got, spent)[0]
        if profit > 0.0:
            wins += 1
            gains += profit
        elif profit < 0.0:
            losses -= profit
        if closed < len(trades):
            price = times((np.float64(reference), 0.0), terms.sell if side > 0 else terms.buy)
            _write(trades[closed], side, entered, stop, lots, entry, price)
        closed += 1
        lots = 0.0
        if is_forced:
            # What was decided until this minute opened found the trade open.
            candle = np.searchsorted(fills, stop, side="right")
        elif (terms.may_short and side > 0 and _is_set(shorts, leave)) or (side < 0 and _is_set(longs, leave)):
            candle, turning = leave, stop
        else:
            candle = leave + 1
    if lots > 0.0 and closed < len(trades):
        _write(trades[closed], side, entered, -1, lots, entry, (np.nan, np.nan))
    day = marks.day
    newest = cash
    if lots > 0.0:
        newest = add(cash, times(times((side * lots, 0.0), terms.lot), np.float64(minutes.closes[marks.place - 1])))
    if marks.is_ruined:
        # The day of the last mark is the last of all.
        day = np.searchsorted(minutes.day_places, marks.place - 1) + 1
        daily[day] = divided(newest, terms.unit)
    _figures(daily[: day + 1], out)
    out[0] = closed
    out[1] = 1.0 if lots > 0.0 else 0.0
    out[2] = divided(subtract(newest, terms.capital), terms.capital)
    out[3] = divided(newest, terms.unit)
    out[6] = marks.deepest
    out[7] = wins / closed if closed else np.nan
    out[8] = gains / losses if losses > 0.0 else np.nan
    out[9] = turnover / terms.unit[0] * terms.fee
    out[10] = held / (marks.place - place) if marks.place > place else np.nan
    return status, closed + (1 if lots > 0.0 else 0)


@njit(forceinline=True)
def _is_set(words: Any, place: Any) -> Any:
    return (words[place >> 6] >> np.uint64(place & 63)) & np.uint64(1) == np.uint64(1)


@njit(forceinline=True)
def _write(row: Any, side: Any, entered: Any, left: Any, lots: Any, entry: Any, price: Any) -> None:
    row[0], row[1], row[2], row[3] = side, entered, left, lots
    row[4], row[5] = entry
    row[6], row[7] = price


@njit
def _bought(opened: float, side: int, cash: Any, terms: Any) -> Any:
    """As many lots as the stake pays at the open, fee included: their number (0 if refused), what is spent, and their
    value.
    """
    one = times(terms.buy_costs if side > 0 else terms.sell_costs, opened)
    if terms.stake == terms.stake_of:
        lots = floor_divided(cash, one)
    else:
        lots = floor_divided(times(cash, terms.stake), times(one, terms.stake_of))
    value = times(times(terms.buys if side > 0 else terms.sells, opened), lots)
    if cash[0] <= 0.0 or subtract(value, terms.least)[0] < 0.0:
        lots = 0.0
    if side > 0:
        return lots, times(one, lots), value[0]
    return lots, times(times(terms.sell_gets, opened), -lots), value[0]


@njit(forceinline=True)
def _marked(marks: Any, cash: Any, worth: Any, stop: Any, daily: Any, closes: Any, day_places: Any, terms: Any) -> Any:
    """Mark ``cash`` and a position of ``worth`` a price unit at each close from ``marks.place`` up to ``stop``."""
    first, last, day = marks.place, stop - 1, marks.day
    peak, deepest = marks.peak, marks.deepest
    worst = best = cash[0]
    if worth[0] != 0.0:
        low, high = _range(closes, first, stop)
        worst += worth[0] * np.float64(low if worth[0] > 0.0 else high)
        best += worth[0] * np.float64(high if worth[0] > 0.0 else low)
    # Where a float might be in doubt, all digits decide.
    is_ruined = False
    if worst < terms.ruin[0] * (1.0 + _DOUBT) or worst <= _DOUBT * abs(cash[0]):
        last = first
        while last < stop - 1 and not _is_ruin(add(cash, times(worth, np.float64(closes[last]))), terms):
            last += 1
        is_ruined = _is_ruin(add(cash, times(worth, np.float64(closes[last]))), terms)
    if is_ruined or (best >= peak and best - worst > deepest * best):
        for i in range(first, last + 1):
            now = cash[0] + worth[0] * np.float64(closes[i])
            if now >= peak:
                peak = now
            else:
                deepest = max(deepest, (peak - now) / peak)
    elif best >= peak:
        peak = best
    else:
        deepest = max(deepest, (peak - worst) / peak)
    while day < len(day_places) and day_places[day] <= last:
        close = np.float64(closes[day_places[day]])
        day += 1
        daily[day] = (cash[0] + worth[0] * close) / terms.unit[0]
    return Marks(peak, deepest, day, last + 1, is_ruined)


@njit
def _is_ruin(worth: Any, terms: Any) -> Any:
    return worth[0] <= 0.0 or subtract(worth, terms.ruin)[0] < 0.0


@njit
def _limit(cash: Any, lots: float, side: int, terms: Any) -> Any:
    """The price of liquidation at 10**-8, rounded against us: 0 for a long and the highest for a short without one."""
    size = times(
        times((lots, 0.0), terms.lot), terms.margin_of - terms.margin if side > 0 else terms.margin_of + terms.margin
    )
    owed = times(cash, terms.margin_of)
    if side > 0:
        if owed[0] >= 0.0:
            return np.int64(0)
        return np.int64(floor_divided((-owed[0], -owed[1]), size))
    if owed[0] <= 0.0:
        return np.int64(1)
    found = floor_divided(owed, size)
    if found >= _MOST_LOTS:
        return np.int64(2**62)
    if subtract(owed, times(size, found))[0] > 0.0:
        found += 1.0
    return max(np.int64(1), np.int64(found))


@njit(forceinline=True)
def _reached(lows: Any, highs: Any, a: int, b: int, limit: int, side: int) -> int:
    """The first minute from ``a`` up to ``b`` that reaches ``limit``, or ``b``."""
    if side > 0:
        if limit <= 0 or _range(lows, a, b)[0] > limit:
            return b
        for i in range(a, b):
            if lows[i] <= limit:
                return i
        return b
    if _range(highs, a, b)[1] < limit:
        return b
    for i in range(a, b):
        if highs[i] >= limit:
            return i
    return b


@njit(forceinline=True)
def _range(closes: Any, a: int, b: int) -> Any:
    low = high = closes[min(a, len(closes) - 1)]
    for i in range(a, b):
        low = min(low, closes[i])
        high = max(high, closes[i])
    return low, high


@njit
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
    total, squares, down = (0.0, 0.0), 0.0, 0.0
    for i in range(count):
        total = add(total, (daily[i + 1] / daily[i] - 1, 0.0))
    mean = total[0] / count
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
