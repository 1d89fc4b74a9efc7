"""One book walked through a reference run: minute by minute, or over calm minutes at once, with one result."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from backtest.minutes import Minutes, within
from backtest.run_records import RunRecords
from backtest.several import Course
from trading.accounts.books import MONEY, SleeveSpec
from trading.accounts.calm import NOTHING_TO_DO
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import EquityMark, LotExtremes, SleeveKey
from trading.accounts.score import EquityCurve, Score, score
from trading.accounts.trades import Trade, trades_from_fills
from trading.candle_columns import Integers
from trading.candles import UNIT, Candle, from_units
from trading.events import Signal
from trading.intervals import HOUR_MS

__all__ = ["Account"]

Flags = NDArray[np.bool_]

_ZERO = Decimal(0)
_MOST = 2**62
# Minutes that are looked through at once for the next that is not calm.
_AHEAD = 512


class Account:
    """The state of the book, what it wrote, and its equity curves.

    It is given either each ``candle``, or by ``reach`` how far time has come in the ``minutes`` of its one market, of
    which those from ``first`` on are traded. Both give the same records and curves. ``reach`` handles calm minutes
    (``trading.accounts.calm``) only when one comes that is not, or when a signal acts: until then the book stands at
    the newest, and marks, extremes and curves are behind.

    Without ``every_mark`` only the equity marks at full hours and the last one are kept, enough for a chart, and no
    extremes of open trades. ``least`` is the equity below which it is ruined and does nothing more; None: it goes on
    whatever happens.
    """

    def __init__(
        self,
        paper: PaperRun,
        sleeves: Sequence[SleeveSpec],
        markets: Sequence[str],
        *,
        every_mark: bool,
        least: Decimal | None,
        minutes: Minutes | None = None,
        first: int = 0,
        is_one_of_several: bool = False,
    ) -> None:
        mine = [spec for spec in sleeves if spec.market in markets]
        start_ms = min((spec.live_from_ms for spec in mine), default=0)
        self.records = RunRecords()
        self._paper, self._state = paper, paper.state
        self.records.take(self._state.start())
        self.curve = EquityCurve(sum((spec.deposit for spec in mine), _ZERO), start_ms)
        self.curves = {spec.key: EquityCurve(spec.deposit, spec.live_from_ms) for spec in mine}
        self._markets = markets
        self._every_mark = every_mark
        self._least = least
        self.ruined_ms: int | None = None
        self._last: dict[str, EquityMark] = {}
        # Of each market that was not marked yet, what its sleeves began with.
        self._worth = {name: sum((spec.deposit for spec in mine if spec.market == name), _ZERO) for name in markets}
        self._held = dict.fromkeys(markets, False)
        self._marked_ms: int | None = None
        self._minutes = minutes
        # Minutes before ``done`` are handled; from there to ``calm_to`` they are calm; time has come to ``reached``.
        self._done = self._calm_to = self.reached = first
        self._is_funding = False
        self.course: Course | None = None
        if minutes is not None and is_one_of_several:
            self.course = Course(minutes, first, self.curve.capital, self.records)
            self.course.note(-1)

    def candle(self, candle: Candle) -> None:
        if self.ruined_ms is not None:
            return
        for record in self._paper.handle(candle):
            if isinstance(record, EquityMark):
                self._mark(record)
            elif self._every_mark or not isinstance(record, LotExtremes):
                self.records.take_one(record)
        if self.course is not None:
            self._hold(self._done)
            self.course.note(candle.close_time_ms)

    def signal(self, signal: Signal) -> None:
        if self.ruined_ms is not None:
            return
        decided = self._state.decide(signal)
        # Most decide to hold, and send nothing.
        if len(decided) > 1:
            if (minutes := self._minutes) is not None and self.reached:
                self._pass(self.reached)
                self._calm_to, self._is_funding = self._done, False
                self._paper.show(minutes.candles[self.reached - 1])
            decided = self._paper.sent(decided)
        self.records.take(decided)

    def reach(self, place: int) -> None:
        """Let the minutes before ``place`` close; after ruin it stays where it was ruined."""
        minutes = self._minutes
        if minutes is None or place <= self.reached or self.ruined_ms is not None:
            return
        while place > self._calm_to:
            self._pass(self._calm_to)
            candle = minutes.candles[self._done]
            if self._is_funding:
                # The rest of this minute may be as calm as those before it.
                self.records.take(self._state.open(candle))
                if self.course is not None:
                    self.course.note(candle.close_time_ms)
                self._calm_to = self._done + self._calm(minutes, self._done, funded=True)
                if self._calm_to > self._done:
                    continue
            self.candle(candle)
            self._done += 1
            self._calm_to = self.reached = self._done
            if self.ruined_ms is not None:
                return
            self._calm_to += self._calm(minutes, self._done)
        if place > self.reached:
            self.reached = place
            self._stand_at(minutes, place)

    def finish(self) -> tuple[list[Trade], Score, dict[SleeveKey, Score]]:
        """The trades, their score, and that of each sleeve."""
        self._pass(self.reached)
        self._state.validate()
        self._close_moment()
        self.records.equity += [self._last[name] for name in self._markets if name in self._last]
        self.records.positions = [item for name in self._markets for item in self._state.positions(name)]
        trades = trades_from_fills(self.records.fills)
        whole = score(trades, self.curve)
        if len(self.curves) == 1:
            return trades, whole, dict.fromkeys(self.curves, whole)
        parts = {}
        for key, curve in self.curves.items():
            own = [trade for trade in trades if (trade.instance_id, trade.market, trade.interval) == key]
            parts[key] = score(own, curve)
        return trades, whole, parts

    def _mark(self, mark: EquityMark) -> None:
        if self._marked_ms is not None and mark.time_ms > self._marked_ms:
            self._close_moment()
        self._marked_ms = mark.time_ms
        held = bool(mark.position_value)
        if len(self.curves) > 1:
            for key, equity, holds in self._state.equities(mark.market):
                self.curves[key].add(mark.time_ms, equity, holds)
                held = held or holds
        self._worth[mark.market], self._held[mark.market] = mark.equity, held
        if len(self._markets) == 1:
            self._close_moment()
        self._keep(mark)

    def _keep(self, mark: EquityMark) -> None:
        if self._every_mark or mark.time_ms % HOUR_MS == 0:
            self._last.pop(mark.market, None)
            self.records.equity.append(mark)
        else:
            self._last[mark.market] = mark

    def _close_moment(self) -> None:
        """All markets are marked that have a candle of this close: what they are worth together is one value."""
        if self._marked_ms is None:
            return
        at_ms, self._marked_ms = self._marked_ms, None
        with localcontext(MONEY):
            worth = sum(self._worth.values(), _ZERO)
        self.curve.add(at_ms, worth, any(self._held.values()))
        if self._least is not None and (worth <= 0 or worth < self._least):
            self.ruined_ms = at_ms

    # Calm minutes

    def _calm(self, minutes: Minutes, first: int, *, funded: bool = False) -> int:
        """How many minutes from ``first`` on are known to be calm; ``funded``: what is due at its open is paid already.

        ``_is_funding`` says afterwards whether the minute after them is no longer calm for its funding alone.
        """
        self._is_funding = False
        calm = self._state.calm(minutes.market)
        if calm is None:
            return 0
        if calm == NOTHING_TO_DO:
            return len(minutes) - first
        last = first + _AHEAD
        due = _MOST
        if calm.is_funded:
            fundings = minutes.fundings
            at = bisect_left(fundings, first + funded)
            due = fundings[at] if at < len(fundings) else due
            last = min(last, due)
        part = slice(first, last)
        count = calm.lasts(minutes.open_ms[part], minutes.high[part], minutes.low[part])
        if self._least is not None:
            cash, position = _together(self._state.holdings(minutes.market))
            ruined = _below(minutes.close[first : first + count], cash, position, self._least)
            count = int(ruined.argmax()) if ruined.any() else count
        self._is_funding = first + count == due
        return count

    def _pass(self, last: int) -> None:
        """Handle the calm minutes from the first that is not handled up to ``last``, which is left out."""
        minutes, first = self._minutes, self._done
        if minutes is None or last <= first:
            return
        market, part = minutes.market, slice(first, last)
        self._done = last
        self._stand_at(minutes, last)
        if self.course is not None:
            self._hold(first)
        holdings = self._state.holdings(market)
        cash, position = _together(holdings)
        is_held = any(quantity for _, _, quantity in holdings)
        if is_held:
            self._state.pass_over(market, int(minutes.high[part].max()), int(minutes.low[part].min()))
        hours = within(minutes.hours, first, last)
        turns = _turns(minutes, first, last, cash, position, self.curve.peak)
        places = sorted({*hours, *turns, last - 1})
        closes = list(zip(minutes.close_ms[places].tolist(), minutes.close[places].tolist(), strict=True))
        marks = dict(zip(places, self._state.marks(market, closes), strict=True))
        for place in hours:
            self._keep(marks[place])
        if marks[last - 1].time_ms % HOUR_MS:
            self._keep(marks[last - 1])
        told = [marks[place] for place in turns]
        self.curve.add_turns([(mark.time_ms, MONEY.add(_ZERO, mark.equity)) for mark in told], last - first, is_held)
        for key, own, quantity in holdings if len(self.curves) > 1 else ():
            curve = self.curves[key]
            worths = [
                (int(minutes.close_ms[place]), _worth(own, quantity, int(minutes.close[place])))
                for place in _turns(minutes, first, last, own, quantity, curve.peak)
            ]
            curve.add_turns(worths, last - first, bool(quantity))

    def _hold(self, place: int) -> None:
        """Say what is held in the minute at ``place`` and those after it."""
        if self.course is not None:
            holdings = self._state.holdings(self.course.minutes.market)
            with localcontext(MONEY):
                cash = sum((money for _, money, _ in holdings), _ZERO)
            self.course.hold(place, cash, [held for *_, held in holdings if held])

    def _stand_at(self, minutes: Minutes, place: int) -> None:
        """Let the last minute before ``place`` be the newest."""
        self._state.stand_at(minutes.market, int(minutes.close_ms[place - 1]), int(minutes.close[place - 1]))


def _together(holdings: Sequence[tuple[SleeveKey, Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    """Cash and position of all."""
    with localcontext(MONEY):
        return sum((cash for _, cash, _ in holdings), _ZERO), sum((held for *_, held in holdings), _ZERO)


def _worth(cash: Decimal, position: Decimal, close: int) -> Decimal:
    return MONEY.add(cash, MONEY.multiply(position, from_units(close))) if position else cash


def _close_at(worth: Decimal, cash: Decimal, position: Decimal) -> int:
    """The close at 10**-8 (of a short, less than 0) at which they are worth ``worth``, one or two units too low."""
    with localcontext(MONEY):
        units = (worth - cash) / abs(position) * UNIT
    return min(max(int(units.to_integral_value(ROUND_FLOOR)), -_MOST), _MOST) - 1


def _below(closes: Integers, cash: Decimal, position: Decimal, least: Decimal) -> Flags:
    """At which closes they may be worth less than ``least``, or nothing; never too few."""
    if not position:
        return np.zeros(len(closes), np.bool_)
    return _signed(closes, position) <= _close_at(max(least, _ZERO), cash, position) + 3


def _turns(minutes: Minutes, first: int, last: int, cash: Decimal, position: Decimal, peak: Decimal) -> list[int]:
    """The places from ``first`` up to ``last`` whose marks ``EquityCurve.add_turns`` has to know."""
    days = within(minutes.day_ends, first, last)
    if not position:
        return sorted({first, *days, last - 1})
    values = _signed(minutes.close[first:last], position)
    highs = np.flatnonzero(values >= _close_at(peak, cash, position))
    if len(highs):
        highs = highs[values[highs] == np.maximum.accumulate(values[highs])]
    places, begin = {*days, last - 1}, 0
    for high in [*highs.tolist(), len(values)]:
        if high > begin:
            places.add(first + begin + int(values[begin:high].argmin()))
        if high < len(values):
            places.add(first + high)
        begin = high + 1
    return sorted(places)


def _signed(closes: Integers, position: Decimal) -> Integers:
    return closes if position > 0 else -closes
