"""From decisions to trades that an exit of their own may end: stops, targets, time, and what may open after one.

The meaning is that of ``trading.accounts`` (``guard``, ``lots``, ``legs``): levels are whole at 10**-8 and rounded
against us, a minute that reaches a stop and a target counts as stopped, and what opens beyond a level is filled at the
open. Combinations are walked together, a few thousand candles at a time, while the prices and the values of features
are in the processor's cache: what a combination is amid of waits in its ``STATE`` for the next stretch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.sweep.kernel.bits import is_set, next_bit, next_clear
from backtest.sweep.kernel.compiling import inlined, uncounted
from backtest.sweep.kernel.distances import NOT_EXACT, POWERS, decimal_of, units_of
from backtest.sweep.kernel.exact import (
    approximate,
    floor_divided,
    is_less,
    is_negative,
    subtract,
    times,
    whole,
)
from backtest.sweep.kernel.marks import BLOCK, deepest_of
from backtest.sweep.kernel.money import (
    MOST_LOTS,
    booked,
    bought,
    fresh,
    limit_of,
    may_reach,
    paid,
    passed,
    scored,
    write_trade,
)
from backtest.sweep.kernel.walk import INEXACT

__all__ = ["STATE", "Decided", "Exits", "Market", "advance", "begin", "distance_of", "finish"]

NO_LEVEL = 2**62
# Relative error of an estimate of how many lots a share pays, and what is counted exactly where that leaves a doubt.
_DOUBT = 2.0**-48
_MOST_MONEY, _MOST_FACTOR = 2.0**121, 2.0**53

# How a trade ends: by a decision, by its own stop or time, at its target, or by liquidation.
_DECIDED, _STOPPED, _TARGET, _LIQUIDATED = 0, 1, 2, 3

STATE = np.dtype(
    [(name, np.float64) for name in ("lots", "gains", "losses", "taken", "waited", "peak", "deepest")]
    + [
        (name, np.int64)
        for name in (
            "cash_high", "cash_low", "spent_high", "spent_low", "side", "entered", "stop", "target", "expires",
            "slipped", "best", "behind", "candle", "turning", "funding", "place", "day", "pending", "is_waiting",
            "last", "exit_ms", "wins", "closed", "held", "is_over", "is_ruined", "status",
        )
    ],
    align=True,
)  # fmt: skip
"""What a combination is amid of.

Money as in ``walk``; ``taken`` and ``waited`` are what was traded for the taker's and for the maker's fee. ``side`` is
that of the open trade, 0 for none, ``entered`` its first minute, ``stop`` and ``target`` its levels, ``expires`` the
minute that ends it, ``slipped`` the price it was entered at (10**-8 times what slippage scales by), ``best`` the best
price it saw, ``behind`` how far behind it the stop follows, -1 if in percent. ``candle`` is the next to be decided on,
``turning`` the minute at which it opens the other side. ``is_waiting`` says that a target equal to ``last``, that of
the newest signal, opens nothing. ``exit_ms`` is when a trade was closed last, -1 before the first.
"""


class Exits(NamedTuple):
    """What ends a trade and what may open one.

    Percentages are ``stop``, ``target`` and ``trail`` of ``whole``, multiples of the ATR ``stop_atr`` … of ``atr_of``;
    0 is none. ``order`` is what one pays that waits at its price. A trade is held for ``hold_ms`` at most, and none is
    opened for ``cool_ms`` after another; where ``is_patient``, a target that has led to an exit opens nothing more.
    """

    stop: int
    target: int
    trail: int
    whole: int
    stop_atr: int
    target_atr: int
    trail_atr: int
    atr_of: int
    order: Any
    in_atr: bool
    trails: bool
    hold_ms: int
    cool_ms: int
    is_patient: bool


class Market(NamedTuple):
    """What all combinations read besides ``Minutes``: the open time of each, of candles the close time, and bits of
    those that are no signal, or that may open nothing.
    """

    open_ms: Any
    close_ms: Any
    natives: Any
    closed: Any


class Decided(NamedTuple):
    """The decisions of the candles from ``first`` up to ``last``, in bits from ``first`` on; of each candle the
    distances of stop and target (-1 for none), the share to put in, and the ATR. Minutes before ``upto`` may be walked.
    """

    first: int
    last: int
    upto: int
    longs: Any
    shorts: Any
    flats: Any
    natives: Any
    closed: Any
    told: Any
    atr: Any


@uncounted
def begin(s: Any, daily: Any, minutes: Any, terms: Any) -> None:
    """Make ``s`` that of a combination that has done nothing yet."""
    fresh(s, daily, minutes, terms)
    s.turning = s.exit_ms = -1


@uncounted
def advance(  # noqa: PLR0913, PLR0917 - all that a walk reads
    s: Any,
    decided: Any,
    fills: Any,
    minutes: Any,
    market: Any,
    terms: Any,
    exits: Any,
    pending: Any,
    trades: Any,
    daily: Any,
) -> None:
    """Walk on through the minutes before ``decided.upto``."""
    s.candle = max(s.candle, decided.first)
    if s.is_waiting and not s.is_over:
        _wait(s, s.last, decided, terms, exits)
    while not s.is_over:
        if s.side == 0:
            place = _sought(s, decided, fills, market, terms, exits)
            passed(s, min(place, decided.upto), pending, daily, minutes, terms)
            if s.is_over or place >= decided.upto:
                break
            _enter(s, place, decided, minutes, market, terms, exits)
        elif not _live(s, decided, fills, minutes, market, terms, exits, pending, trades, daily):
            break
    place = decided.last - decided.first - 1
    while place >= 0 and is_set(decided.natives, place):
        place -= 1
    if place >= 0:
        s.last = 1 if is_set(decided.longs, place) else (-1 if is_set(decided.shorts, place) else 0)


@uncounted
def finish(s: Any, minutes: Any, terms: Any, exits: Any, pending: Any, trades: Any, daily: Any, out: Any) -> None:
    """Put ``FIGURES`` into ``out`` once all minutes are walked, and what is open behind the other ``trades``."""
    if s.side != 0 and s.closed < len(trades):
        write_trade(trades[s.closed], s.side, s.entered, -1, s.lots, whole(s.slipped), whole(0))
    fees = (s.taken * terms.fee + s.waited * exits.order.fee) / approximate(terms.unit)
    deepest = deepest_of(pending, s.pending, s.deepest, minutes.closes)
    scored(s, 1 if s.side != 0 else 0, fees, deepest, daily, minutes, terms, out)


@uncounted
def _wait(s: Any, side: int, decided: Any, terms: Any, exits: Any) -> None:
    """Pass over the signals from ``s.candle`` on that want what was just closed: ``side``, 0 for nothing."""
    s.is_waiting = 0
    if side == 0 or (side < 0 and not terms.may_short):
        return
    plane = decided.longs if side > 0 else decided.shorts
    first, end = s.candle - decided.first, decided.last - decided.first
    place = next_clear(plane, decided.natives, first, end)
    for n in range(first, place):
        # What opens nothing for another reason ends the waiting, as in ``legs``.
        if _is_still(n, decided, exits) and is_set(plane, n):
            place = n
            break
    s.candle = decided.first + place
    s.is_waiting = 1 if place == end else 0


@inlined
def _is_still(n: int, decided: Any, exits: Any) -> Any:
    """Whether exits are in ATR and that is 0."""
    return exits.in_atr and decided.atr[n] == 0.0


@inlined
def _sought(s: Any, decided: Any, fills: Any, market: Any, terms: Any, exits: Any) -> Any:
    """The minute at whose open the decision at ``s.candle`` opens a trade; none before ``decided.upto``: that."""
    if s.turning >= 0:
        place = s.turning
        s.turning = -1
        return place
    first, end = decided.first, decided.last - decided.first
    shorts = decided.shorts if terms.may_short else decided.longs
    if is_less((s.cash_high, s.cash_low), terms.most_refused):
        s.candle = decided.last
    while s.candle < decided.last:
        n = next_bit(decided.longs, shorts, s.candle - first, end)
        s.candle = first + n
        if n == end:
            break
        if exits.cool_ms and s.exit_ms >= 0 and market.close_ms[s.candle] < s.exit_ms + exits.cool_ms:
            times_ms = market.close_ms[s.candle : decided.last]
            s.candle += np.searchsorted(times_ms, s.exit_ms + exits.cool_ms)
        elif is_set(decided.closed, n) or _is_still(n, decided, exits):
            s.candle += 1
        else:
            return fills[s.candle]
    return decided.upto


@inlined
def _enter(s: Any, place: int, decided: Any, minutes: Any, market: Any, terms: Any, exits: Any) -> None:
    """Buy or sell at the open of minute ``place`` what the decision at ``s.candle`` wants, if it can be paid."""
    n = s.candle - decided.first
    s.candle += 1
    side = 1 if is_set(decided.longs, n) else -1
    price = minutes.opens[place]
    cash = s.cash_high, s.cash_low
    share = decided.told[2, n]
    if share == 1.0:
        lots, spent, value = bought(price, side, cash, terms)
    else:
        lots, spent, value = _shared(price, side, cash, share, terms)
    slipped = price * (terms.buy if side > 0 else terms.sell)
    s.side, s.entered, s.lots, s.slipped, s.best = side, place, lots, slipped, price
    if lots == 0.0:
        s.side = 0
        return
    if lots >= MOST_LOTS or not _set_levels(s, n, decided, exits):
        s.status, s.is_over = INEXACT, 1
        return
    s.spent_high, s.spent_low = spent
    s.cash_high, s.cash_low = subtract(cash, spent)
    s.taken += value
    s.expires = NO_LEVEL
    if exits.hold_ms:
        s.expires = np.searchsorted(market.open_ms, market.open_ms[place] + exits.hold_ms)
    while s.funding < len(minutes.fundings) and minutes.fundings[s.funding] <= place:
        s.funding += 1


@uncounted
def _shared(opened: int, side: int, cash: Any, share: float, terms: Any) -> Any:
    """What ``_bought`` does with ``share`` of the stake."""
    one = times(terms.buy_costs if side > 0 else terms.sell_costs, opened)
    money = approximate(cash)
    if abs(money) > terms.most_cash:
        return MOST_LOTS, one, 0.0
    estimate = max(money, 0.0) * (terms.stake / terms.stake_of) * share / approximate(one)
    lots = np.floor(estimate)
    beyond = estimate - lots
    if min(beyond, 1.0 - beyond) <= estimate * _DOUBT and estimate > 0.0:
        number, power = decimal_of(share)
        by = np.float64(number) * terms.stake
        of = POWERS[max(power, 0)] * terms.stake_of
        # Exactly, where that stays below 2**127.
        if power < 0 or max(by * money, of * approximate(one)) > _MOST_MONEY or max(by, of) > _MOST_FACTOR:
            return MOST_LOTS, one, 0.0
        lots = floor_divided(times(cash, by), times(one, of))
    if lots > terms.most_lots:
        return MOST_LOTS, one, 0.0
    value = times(times(terms.buys if side > 0 else terms.sells, opened), lots)
    if is_negative(cash) or is_less(value, terms.least):
        lots = 0.0
    if side > 0:
        return lots, times(one, lots), approximate(value)
    return lots, times(times(terms.sell_gets, opened), -lots), approximate(value)


@inlined
def _set_levels(s: Any, n: int, decided: Any, exits: Any) -> Any:
    """Set where the trade that begins is closed; False where that is not certain to the last digit."""
    stop: Any = np.int64(-1)
    target: Any = np.int64(-1)
    s.behind = np.int64(-1)
    if exits.in_atr:
        atr = decided.atr[n]
        if exits.stop_atr:
            stop = _in_atr(atr, exits.stop_atr, exits)
        if exits.target_atr:
            target = _in_atr(atr, exits.target_atr, exits)
        if exits.trail_atr:
            s.behind = _in_atr(atr, exits.trail_atr, exits)
    if stop == -1 and not exits.stop and decided.told[0, n] >= 0.0:
        stop = units_of(decided.told[0, n], 1, 1)
    if target == -1 and not exits.target and decided.told[1, n] >= 0.0:
        target = units_of(decided.told[1, n], 1, 1)
    s.stop = _level(s.slipped, -1, s.side, exits.stop, stop, exits)
    s.target = _level(s.slipped, 1, s.side, exits.target, target, exits)
    return min(stop, target, s.behind) > NOT_EXACT


@inlined
def _in_atr(atr: float, multiple: int, exits: Any) -> Any:
    """So many times the ATR; what is less than a step of the price counts as one."""
    found = units_of(atr, multiple, exits.atr_of)
    return found if found == NOT_EXACT else max(np.int64(1), found)


@inlined
def _level(price: int, gain: int, side: int, percent: int, distance: int, exits: Any) -> Any:
    """The level on the winning side of ``price`` (a slipped one) where ``gain`` is 1, on the other where it is -1.

    It lies ``percent`` away, or ``distance`` if that is 0, and is rounded against us: a stop away from the price, a
    target too. Where no price can be, it is one that none reaches.
    """
    up = side * gain
    if percent:
        found = _over(price, exits.whole + up * percent, exits.order.scale * exits.whole, up)
    elif distance >= 0:
        found = _over(price, 1, exits.order.scale, up) + up * distance
    else:
        found = NO_LEVEL if up > 0 else 0
    return max(found, 0)


@inlined
def _over(number: int, by: int, of: int, up: int) -> Any:
    """``number * by / of``, rounded up where ``up`` is 1 and else down."""
    by = -by if up > 0 else by
    found = number // of * by + number % of * by // of
    return -found if up > 0 else found


@inlined
def _trail(s: Any, exits: Any) -> Any:
    """Where the stop stands that follows the best price."""
    best = s.best * exits.order.scale
    best = max(best, s.slipped) if s.side > 0 else min(best, s.slipped)
    return _level(best, -1, s.side, exits.trail, s.behind, exits)


@inlined
def _live(  # noqa: PLR0913, PLR0917 - as ``advance``
    s: Any,
    decided: Any,
    fills: Any,
    minutes: Any,
    market: Any,
    terms: Any,
    exits: Any,
    pending: Any,
    trades: Any,
    daily: Any,
) -> Any:
    """Hold what is open until it is closed, and tell so, or until ``decided.upto``."""
    side, first, end = s.side, decided.first, decided.last - decided.first
    n = next_bit(decided.flats, decided.shorts if side > 0 else decided.longs, s.candle - first, end)
    leaves = fills[first + n] if n < end else decided.upto
    until = min(leaves, s.expires, decided.upto)
    while True:
        pays = terms.is_perp and s.funding < len(minutes.fundings) and minutes.fundings[s.funding] <= until
        stop = minutes.fundings[s.funding] if pays else until
        limit: Any = np.int64(0) if side > 0 else np.int64(NO_LEVEL)
        if terms.is_perp:
            cash = s.cash_high, s.cash_low
            if may_reach(minutes, s.place, stop, cash, s.lots, side, terms):
                limit = limit_of(cash, s.lots, side, terms)
        hit = _reached(s, minutes, exits, stop, limit)
        passed(s, hit, pending, daily, minutes, terms)
        if s.is_over:
            return True
        if hit < stop:
            kind, price = _ended(s, hit, minutes, limit, exits)
            _close(s, hit, kind, price, market, terms, exits, trades)
            _go_on(s, hit, kind, decided, fills, terms, exits)
            return True
        if not pays:
            break
        if not _fund(s, stop, minutes, terms):
            return True
    if until >= decided.upto:
        return False
    kind = _DECIDED if leaves <= s.expires else _STOPPED
    _close(s, until, kind, minutes.opens[until], market, terms, exits, trades)
    if kind == _DECIDED:
        s.candle = first + n + 1
        _turn(s, side, n, until, decided, terms, exits)
    else:
        _go_on(s, until, kind, decided, fills, terms, exits)
    return True


@inlined
def _turn(s: Any, side: int, n: int, place: int, decided: Any, terms: Any, exits: Any) -> None:
    """Have the other side opened where the decision that closed a trade in minute ``place`` wants that and may."""
    wants = (terms.may_short and side > 0 and is_set(decided.shorts, n)) or (side < 0 and is_set(decided.longs, n))
    if wants and not exits.cool_ms and not is_set(decided.closed, n) and not _is_still(n, decided, exits):
        s.candle, s.turning = decided.first + n, place


@inlined
def _fund(s: Any, place: int, minutes: Any, terms: Any) -> Any:
    """Pay what is due before the open of minute ``place`` on what was held until then; False if it is too much."""
    paid(s, place, minutes, terms)
    if abs(approximate((s.cash_high, s.cash_low))) > terms.most_cash:
        s.status, s.is_over = INEXACT, 1
        return False
    return True


@uncounted
def _go_on(s: Any, place: int, kind: int, decided: Any, fills: Any, terms: Any, exits: Any) -> None:
    """After a trade that no decision closed, in minute ``place``: what was decided until then found it open."""
    s.candle = decided.first + np.searchsorted(fills[decided.first : decided.last], place, side="right")
    if exits.is_patient and kind != _LIQUIDATED:
        before = s.candle - decided.first - 1
        while before >= 0 and is_set(decided.natives, before):
            before -= 1
        side = s.last
        if before >= 0:
            side = 1 if is_set(decided.longs, before) else (-1 if is_set(decided.shorts, before) else 0)
        _wait(s, side, decided, terms, exits)


@inlined
def _close(s: Any, place: int, kind: int, price: int, market: Any, terms: Any, exits: Any, trades: Any) -> None:
    """Close the trade in minute ``place`` at ``price``, before slippage."""
    side, waits = s.side, kind == _TARGET
    if waits:
        worth = exits.order.gets if side > 0 else exits.order.costs
        s.waited += np.float64(terms.lot) * np.float64(price) * s.lots
    else:
        worth = terms.sell_gets if side > 0 else terms.buy_costs
        s.taken += approximate(terms.sells if side > 0 else terms.buys) * np.float64(price) * s.lots
    got = times(times(worth, price), side * s.lots)
    if s.closed < len(trades):
        by = exits.order.scale if waits else (terms.sell if side > 0 else terms.buy)
        write_trade(trades[s.closed], side, s.entered, place, s.lots, whole(s.slipped), times(whole(price), by))
    booked(s, got, (s.spent_high, s.spent_low))
    s.exit_ms = market.open_ms[place]
    s.side = 0
    s.lots = 0.0


@inlined
def _ended(s: Any, place: int, minutes: Any, limit: int, exits: Any) -> Any:
    """How the minute at ``place`` ends the trade, and the price before slippage."""
    opened = minutes.opens[place]
    stop = s.stop
    if s.side > 0:
        if exits.trails:
            stop = max(stop, _trail(s, exits))
        is_stopped = minutes.lows[place] <= stop
        if minutes.lows[place] <= limit and not (is_stopped and stop >= limit):
            return _LIQUIDATED, min(limit, opened)
        if is_stopped:
            return _STOPPED, min(stop, opened)
        return _TARGET, max(s.target, opened)
    if exits.trails:
        stop = min(stop, _trail(s, exits))
    is_stopped = minutes.highs[place] >= stop
    if minutes.highs[place] >= limit and not (is_stopped and stop <= limit):
        return _LIQUIDATED, max(limit, opened)
    if is_stopped:
        return _STOPPED, max(stop, opened)
    return _TARGET, min(s.target, opened)


@inlined
def _reached(s: Any, minutes: Any, exits: Any, end: int, limit: int) -> Any:
    """The first minute before ``end`` that reaches a level, or ``end``."""
    if s.side > 0:
        down, up = max(s.stop, limit), s.target
    else:
        down, up = s.target, min(s.stop, limit)
    if exits.trails:
        return _trailed(s, minutes, exits, end, down, up)
    place = s.place
    lows, highs = minutes.lows, minutes.highs
    while place < end:
        if place % BLOCK == 0:
            block = place // BLOCK
            while (block + 1) * BLOCK <= end and minutes.least_lows[block] > down and minutes.most_highs[block] < up:
                block += 1
            place = block * BLOCK
        for i in range(place, min(end, place - place % BLOCK + BLOCK)):
            if lows[i] <= down or highs[i] >= up:
                return i
        place = place - place % BLOCK + BLOCK
    return end


@uncounted
def _trailed(s: Any, minutes: Any, exits: Any, end: int, down: int, up: int) -> Any:
    """The same with a stop that follows the best price, which ``s.best`` is made to be."""
    place = s.place
    level = _trail(s, exits)
    is_long = s.side > 0
    while place < end:
        if place % BLOCK == 0 and place + BLOCK <= end:
            # As if the best price of them all came first: no stop gets farther than that.
            lowest, highest, best = minutes.least_lows[place // BLOCK], minutes.most_highs[place // BLOCK], s.best
            s.best = max(best, highest) if is_long else min(best, lowest)
            follows = _trail(s, exits)
            nearest, farthest = (max(down, follows), up) if is_long else (down, min(up, follows))
            if lowest > nearest and highest < farthest:
                level = follows
                place += BLOCK
                continue
            s.best = best
        for i in range(place, min(end, place - place % BLOCK + BLOCK)):
            opened, high, low = minutes.opens[i], minutes.highs[i], minutes.lows[i]
            if opened > s.best if is_long else opened < s.best:
                s.best = opened
                level = _trail(s, exits)
            if low <= max(down, level) or high >= up if is_long else high >= min(up, level) or low <= down:
                return i
            if high > s.best if is_long else low < s.best:
                s.best = high if is_long else low
                level = _trail(s, exits)
        place = place - place % BLOCK + BLOCK
    return end


@uncounted
def distance_of(value: Any) -> Any:
    """A distance that a bracket returned, -1 for None, and 0 for what is none."""
    if value is None:
        return -1.0
    distance = value * 1.0
    return distance if 0.0 < distance < np.inf else 0.0
