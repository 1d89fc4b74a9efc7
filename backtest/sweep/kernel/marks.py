"""Equity marked at each close between two events, touching as few closes as it can.

Marks between two events follow from the closes alone, so only their lowest, their highest and those that end a day are
looked at, and a run of them is gone through only where it can deepen the drawdown or end the run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backtest.sweep.kernel.compiling import inlined, uncounted
from backtest.sweep.kernel.exact import add, approximate, is_less, is_negative, subtract, times, whole

__all__ = ["BLOCK", "PENDING", "Marks", "blocks_of", "deepest_of", "marked", "range_of"]

_DOUBT = 1e-9
# Minutes whose lowest and highest prices are known together.
BLOCK = 64
_SHIFT = 6
# Rows and columns of what is put off until it is known which of it matters.
PENDING = 256, 6


class Marks(NamedTuple):
    """Equity marked so far: the highest, the deepest fall from one as its share, how many days have ended, the first
    minute that is not marked, whether the run is over because no order can be paid, and how many stretches are
    ``pending``. Floats are enough here.
    """

    peak: float
    deepest: float
    day: int
    place: int
    is_ruined: bool
    pending: int


@uncounted
def deepest_of(pending: Any, count: int, deepest: float, closes: Any) -> float:
    """The deepest fall of all, once the first ``count`` stretches are gone through whose worst could be deeper.

    Their rows are the first minute, the one after the last, cash, worth a price unit, the peak, and the worst equity
    as far as whole blocks tell.
    """
    for row in pending[:count]:
        first, stop, cash, worth, peak, worst = row
        a: Any = np.int64(first)
        b: Any = np.int64(stop)
        if peak - worst > deepest * peak:
            low, high = range_of(closes, a, b)
            worst = cash + worth * np.float64(low if worth > 0.0 else high)
            deepest = max(deepest, (peak - worst) / peak)
    return deepest


@inlined
def marked(  # noqa: C901, PLR0912, PLR0913, PLR0917 - every branch spares a scan
    marks: Any, pending: Any, cash: Any, worth: Any, stop: Any, daily: Any, minutes: Any, unit: float, terms: Any
) -> Any:
    """Mark ``cash`` and a position of ``worth`` a price unit at each close from ``marks.place`` up to ``stop``.

    The closes are gone through only where whole blocks do not tell enough: where equity may be higher than ever, or
    the run be over. Where it may be deeper below the peak than ever, the stretch is put off: later ones of a run that
    goes on falling make most of them needless.
    """
    first, last, day, closes = marks.place, stop - 1, marks.day, minutes.closes
    peak, deepest, waiting = marks.peak, marks.deepest, marks.pending
    money, value = approximate(cash), approximate(worth)
    worst = best = money
    if value != 0.0:
        low, high = blocks_of(minutes.least_closes, minutes.most_closes, first, stop)
        worst += value * np.float64(low if value > 0.0 else high)
        best += value * np.float64(high if value > 0.0 else low)
    # Where a float might be in doubt, all digits decide.
    may_end = worst < approximate(terms.ruin) * (1.0 + _DOUBT) or worst <= _DOUBT * abs(money)
    is_ruined = False
    if may_end or best >= peak:
        if value != 0.0:
            low, high = range_of(closes, first, stop)
            worst = money + value * np.float64(low if value > 0.0 else high)
            best = money + value * np.float64(high if value > 0.0 else low)
        if worst < approximate(terms.ruin) * (1.0 + _DOUBT) or worst <= _DOUBT * abs(money):
            last = first
            while last < stop - 1 and not _is_ruin(add(cash, times(worth, closes[last])), terms):
                last += 1
            is_ruined = _is_ruin(add(cash, times(worth, closes[last])), terms)
        if is_ruined or (best >= peak and best - worst > deepest * best):
            for i in range(first, last + 1):
                now = money + value * np.float64(closes[i])
                if now >= peak:
                    peak = now
                else:
                    deepest = max(deepest, (peak - now) / peak)
        elif best >= peak:
            peak = best
        else:
            deepest = max(deepest, (peak - worst) / peak)
    elif peak - worst > deepest * peak:
        if value == 0.0:
            deepest = (peak - worst) / peak
        else:
            now = money + value * np.float64(minutes.seams[stop, 0])
            deepest = max(deepest, (peak - now) / peak)
            if waiting == len(pending):
                deepest, waiting = deepest_of(pending, waiting, deepest, closes), 0
            pending[waiting, 0], pending[waiting, 1], pending[waiting, 2] = first, stop, money
            pending[waiting, 3], pending[waiting, 4], pending[waiting, 5] = value, peak, worst
            waiting += 1
    while day < len(minutes.day_places) and minutes.day_places[day] <= last:
        close = np.float64(minutes.day_closes[day])
        day += 1
        daily[day] = (money + value * close) / unit
    return Marks(peak, deepest, day, last + 1, is_ruined, waiting)


@uncounted
def _is_ruin(worth: Any, terms: Any) -> Any:
    return is_negative(subtract(worth, whole(1))) or is_less(worth, terms.ruin)


@inlined
def range_of(prices: Any, a: int, b: int) -> Any:
    """The lowest and the highest from ``a`` up to ``b``, or where there is none, what is at ``a`` or last."""
    a = min(a, len(prices) - 1)
    low = high = prices[a]
    for price in prices[a:b]:
        low = min(low, price)
        high = max(high, price)
    return low, high


@inlined
def blocks_of(least: Any, most: Any, a: int, b: int) -> Any:
    """No higher than the lowest and no lower than the highest from ``a`` up to ``b``: those of whole blocks."""
    a = min(a >> _SHIFT, len(least) - 1)
    low, high = least[a], most[a]
    for block in range(a + 1, ((b - 1) >> _SHIFT) + 1):
        low = min(low, least[block])
        high = max(high, most[block])
    return low, high
