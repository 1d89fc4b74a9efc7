"""What every walk does with money: it begins, buys, pays, books, marks and is scored in the same way.

The walk of trades that only decisions end keeps what it is amid of in variables; the others keep it in a record ``s``
of their own, whose fields here have one name: ``cash_high`` and ``cash_low``, ``side``, ``lots``, ``wins``, ``closed``,
``gains``, ``losses``, ``held``, ``funding``, and what ``Marks`` has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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
from backtest.sweep.kernel.marks import Marks, blocks_of, marked

__all__ = [
    "FIGURES",
    "MOST_LOTS",
    "Tally",
    "begun",
    "booked",
    "bought",
    "finished",
    "fresh",
    "limit_of",
    "may_reach",
    "paid",
    "passed",
    "scored",
    "write_trade",
]  # fmt: skip

MOST_LOTS = 2.0**52
"""As many lots, or more, are not counted exactly."""

FIGURES = (
    "trades", "open_trades", "total_return", "final_equity", "sharpe", "sortino", "max_drawdown", "win_rate",
    "profit_factor", "fees", "exposure", "days",
)  # fmt: skip

_DAYS_A_YEAR = 365
_NO_VARIATION = 1e-12
_DOUBT = 1e-9


class Tally(NamedTuple):
    """What a combination has when all minutes are walked: ``quantity`` lots are held, less than 0 when short, in
    ``opened`` trades; ``fees`` in units of money; ``held`` minutes of those before ``place`` had a position.
    """

    cash: Any
    quantity: Any
    opened: int
    closed: int
    wins: int
    gains: float
    losses: float
    fees: float
    deepest: float
    held: int
    place: int
    day: int
    is_ruined: bool


@uncounted
def begun(daily: Any, minutes: Any, terms: Any) -> Any:
    """Put the capital into ``daily`` for the beginning and each day that ends before the first mark: how many do."""
    day = 0
    daily[0] = divided(terms.capital, terms.unit)
    while day < len(minutes.day_places) and minutes.day_places[day] < minutes.first:
        day += 1
        daily[day] = daily[0]
    return day


@uncounted
def fresh(s: Any, daily: Any, minutes: Any, terms: Any) -> None:
    """Make ``s``, which is zero throughout, that of a combination that has done nothing yet."""
    s.cash_high, s.cash_low = terms.capital
    s.peak = approximate(terms.capital)
    s.place = minutes.first
    s.day = begun(daily, minutes, terms)


@inlined
def bought(opened: Any, side: int, cash: Any, terms: Any) -> Any:
    """As many lots as the stake pays at the open, fee included: their number, which is 0 if refused and ``MOST_LOTS``
    if it cannot be counted exactly, what is spent, and their value as a float.
    """
    one = times(terms.buy_costs if side > 0 else terms.sell_costs, opened)
    if abs(approximate(cash)) > terms.most_cash:
        return MOST_LOTS, one, 0.0
    if terms.stake == terms.stake_of:
        lots = floor_divided(cash, one)
    else:
        lots = floor_divided(times(cash, terms.stake), times(one, terms.stake_of))
    if lots > terms.most_lots:
        return MOST_LOTS, one, 0.0
    value = times(times(terms.buys if side > 0 else terms.sells, opened), lots)
    if is_negative(cash) or is_less(value, terms.least):
        lots = 0.0
    if side > 0:
        return lots, times(one, lots), approximate(value)
    return lots, times(times(terms.sell_gets, opened), -lots), approximate(value)


@inlined
def may_reach(minutes: Any, a: int, b: int, cash: Any, lots: float, side: int, terms: Any) -> Any:
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
def limit_of(cash: Any, lots: float, side: int, terms: Any) -> Any:
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
    if found >= MOST_LOTS:
        return np.int64(2**62)
    if is_less(times(size, found), owed):
        found += 1.0
    return max(np.int64(1), np.int64(found))


@inlined
def passed(s: Any, stop: int, pending: Any, daily: Any, minutes: Any, terms: Any) -> None:
    """Mark everything at the closes up to ``stop``; the run is over with the first that ruins it."""
    if stop <= s.place:
        return
    first = s.place
    marks = marked(
        Marks(s.peak, s.deepest, s.day, first, False, s.pending), pending, (s.cash_high, s.cash_low),
        times(whole(s.side * s.lots), terms.lot), stop, daily, minutes, approximate(terms.unit), terms,
    )  # fmt: skip
    s.peak, s.deepest, s.day, s.place, s.pending = marks.peak, marks.deepest, marks.day, marks.place, marks.pending
    if s.lots > 0.0:
        s.held += s.place - first
    if marks.is_ruined:
        s.is_over = s.is_ruined = 1


@inlined
def paid(s: Any, place: int, minutes: Any, terms: Any) -> None:
    """Pay what is due before the open of the minute at ``place`` on what was held until then."""
    due = s.side * minutes.funded[s.funding]
    value = times(times(times(whole(s.lots), minutes.opens[place]), terms.funding), due)
    s.cash_high, s.cash_low = subtract((s.cash_high, s.cash_low), value)
    s.funding += 1


@inlined
def booked(s: Any, got: Any, spent: Any) -> None:
    """Take in what closing a trade gave that had cost ``spent``."""
    s.cash_high, s.cash_low = add((s.cash_high, s.cash_low), got)
    profit = approximate(subtract(got, spent))
    if profit > 0.0:
        s.wins += 1
        s.gains += profit
    elif profit < 0.0:
        s.losses -= profit
    s.closed += 1


@inlined
def scored(s: Any, opened: int, fees: float, deepest: float, daily: Any, minutes: Any, terms: Any, out: Any) -> None:
    """Put ``FIGURES`` into ``out`` for a combination that was walked to the end."""
    tally = Tally((s.cash_high, s.cash_low), s.side * s.lots, opened, s.closed, s.wins, s.gains, s.losses, fees,
                  deepest, s.held, s.place, s.day, s.is_ruined != 0)  # fmt: skip
    finished(tally, minutes, terms, daily, out)


@uncounted
def finished(tally: Any, minutes: Any, terms: Any, daily: Any, out: Any) -> None:
    """Put ``FIGURES`` into ``out``; ``daily`` ends with the day of the last mark."""
    newest, day = tally.cash, tally.day
    if tally.opened > 0:
        worth = times(whole(tally.quantity), terms.lot)
        newest = add(newest, times(worth, minutes.closes[tally.place - 1]))
    if tally.is_ruined:
        # The day of the last mark is the last of all.
        day = np.searchsorted(minutes.day_places, tally.place - 1) + 1
        daily[day] = divided(newest, terms.unit)
    _ratios(daily[: day + 1], out)
    walked = tally.place - minutes.first
    out[0] = tally.closed
    out[1] = tally.opened
    out[2] = divided(subtract(newest, terms.capital), terms.capital)
    out[3] = divided(newest, terms.unit)
    out[6] = tally.deepest
    out[7] = tally.wins / tally.closed if tally.closed else np.nan
    out[8] = tally.gains / tally.losses if tally.losses > 0.0 else np.nan
    out[9] = tally.fees
    out[10] = tally.held / walked if walked > 0 else np.nan


@uncounted
def write_trade(row: Any, side: Any, entered: Any, left: Any, lots: Any, entry: Any, price: Any) -> None:
    row[0], row[1], row[2], row[3] = side, entered, left, np.int64(lots)
    row[4], row[5] = entry
    row[6], row[7] = price


@uncounted
def _ratios(daily: Any, out: Any) -> None:
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
