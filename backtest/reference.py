"""The reference backtest: plain Python, one closed candle at a time, the judge of every faster or livelier way.

It shares features, rules, books and the fill model with paper trading, and nothing else: candles are aggregated by the
batch fold, and no actor, queue, database or clock is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from heapq import merge
from operator import itemgetter
from typing import NamedTuple

from backtest.account import Account
from backtest.minutes import Minutes
from backtest.run_records import RunRecords
from backtest.several import add_together, put_together
from trading.accounts.books import SleeveSpec, divide_capital
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import SleeveKey
from trading.accounts.score import EquityCurve, Score, score
from trading.accounts.trades import Trade, trades_from_fills
from trading.brain import BrainState, FeatureValue, Reseed
from trading.candle_series import CandleSeries, by_market
from trading.candles import Candle, Hole
from trading.config.model import Book, Costs, FeatureSpec
from trading.events import Signal, end_ms
from trading.fold import fold
from trading.instances import Instance
from trading.intervals import MINUTE, parse_interval
from trading.markets import Market
from trading.natives import merge_natives

__all__ = ["ReferenceResult", "RunRecords", "run_reference"]

_TELL_EVERY = 2_000


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """A finished run: its records, trades and scores, of all and of each sleeve, and how many minutes it traded over.

    ``equity`` is the curve of all sleeves together. ``twin`` is the score of the same signals at other costs, if those
    were asked for. ``ruined_ms`` is the close at which the run stopped because no order could be paid any more.
    """

    records: RunRecords
    trades: list[Trade]
    candles: int
    score: Score
    sleeves: dict[SleeveKey, Score]
    equity: EquityCurve
    twin: Score | None = None
    ruined_ms: int | None = None


def run_reference(  # noqa: PLR0913 - one call says all that a run depends on
    candles: Sequence[Candle] | Sequence[CandleSeries],
    *,
    instances: Sequence[Instance],
    book_id: str,
    book: Book,
    markets: Sequence[Market],
    live_from_ms: int,
    features: Sequence[FeatureSpec] = (),
    holes: Sequence[Hole] = (),
    natives: Sequence[Candle] = (),
    on_progress: Callable[[int], None] | None = None,
    suppressed: Mapping[str, tuple[str, str]] | None = None,
    twin_costs: Costs | None = None,
    every_mark: bool = True,
    stop_when_ruined: bool = False,
    by_minute: bool = False,
) -> ReferenceResult:
    """Run ``instances`` of one book over 1m ``candles`` of one market or several, those of each in order of time, or a
    series of each market.

    Candles that close at or before ``live_from_ms`` only warm up: to equal a live run, begin with the candle that it
    began with, because a longer history may be warm where it was not. ``holes`` are the *missing* minutes; every other
    minute without a candle counts as absent. ``natives`` are the venue's own longer candles, which count where minutes
    make no complete one. ``on_progress`` is told the close time reached, now and then.
    ``suppressed`` names decisions that a live run did not act on: they are not acted on here either, so that everything
    after them can be compared. ``twin_costs`` trades the same signals a second time at these costs. With
    ``stop_when_ruined`` the run ends when all equity together is below the least order that any market takes.

    Minutes in which a book has nothing to do are passed over, many at once and one market after the other, with the
    same result. ``by_minute``, and ``every_mark``, handle each by itself and all markets side by side, as a live run
    does.
    """
    candles_of = by_market(candles)
    names = list(candles_of)
    least = _least_order(markets, candles_of) if stop_when_ruined else None
    sleeves = divide_capital(instances, book_id, book.capital)
    tell = on_progress or _tell_nobody
    intervals = _intervals(instances, features)

    def papers() -> list[PaperRun]:
        """The book and its twin, as they begin."""
        made = [PaperRun(ExecutionState(book_id, book, sleeves, markets, suppressed=suppressed), book.costs)]
        if twin_costs is not None:
            twin = book.model_copy(update={"costs": twin_costs})
            made.append(PaperRun(ExecutionState(book_id, twin, sleeves, markets), twin_costs))
        return made

    brain = BrainState(instances, features, names)
    if not by_minute and not every_mark and _passes_over(names, sleeves, live_from_ms):
        passes = [
            _Pass(Minutes(own), [item for item in holes if item.market == name],
                  [item for item in natives if item.market == name])
            for name, own in candles_of.items()
        ]  # fmt: skip
        found = _pass_over(passes, brain, papers(), sleeves, intervals, live_from_ms, least, tell)
        if found is not None:
            return found
        brain = BrainState(instances, features, names)
    accounts = [
        Account(paper, sleeves, names, every_mark=every_mark and not number, least=least)
        for number, paper in enumerate(papers())
    ]
    run = _Run(brain, accounts, live_from_ms, tell)
    run.step(_together(candles_of, intervals, holes, natives))
    return _result(accounts, run.seen)


def _passes_over(names: Sequence[str], sleeves: Sequence[SleeveSpec], live_from_ms: int) -> bool:
    """Whether markets can be passed over: each is traded, and of several no sleeve comes alive later than others."""
    is_traded = {*names} <= {spec.market for spec in sleeves}
    return is_traded and (len(names) == 1 or all(spec.live_from_ms <= live_from_ms for spec in sleeves))


class _Pass(NamedTuple):
    """One market to pass over."""

    minutes: Minutes
    holes: list[Hole]
    natives: list[Candle]


def _pass_over(
    passes: Sequence[_Pass],
    brain: BrainState,
    papers: Sequence[PaperRun],
    sleeves: Sequence[SleeveSpec],
    intervals: Sequence[str],
    live_from_ms: int,
    least: Decimal | None,
    tell: Callable[[int], None],
) -> ReferenceResult | None:
    """The run with calm minutes passed over; of several markets None if all their money may ever be below ``least``,
    because only side by side it is known what still happened then.
    """
    is_one = len(passes) == 1
    span_ms = max(int(item.minutes.close_ms[-1]) for item in passes) - live_from_ms
    done: list[list[Account]] = []
    seen = 0

    def share(number: int, position_ms: int) -> None:
        """How far time would have come if the markets were run side by side."""
        tell(live_from_ms + (number * span_ms + position_ms - live_from_ms) // len(passes))

    for number, (minutes, holes, natives) in enumerate(passes):
        [first] = minutes.closed_by([live_from_ms])
        accounts = [
            Account(
                paper, sleeves, [minutes.market], every_mark=False, least=least if is_one else None, minutes=minutes,
                first=first, is_one_of_several=not is_one,
            )
            for paper in papers
        ]  # fmt: skip
        run = _Run(brain, accounts, live_from_ms, partial(share, number))
        last_ms = int(minutes.close_ms[-1])
        run.pass_over(minutes, _longer(minutes.fold, last_ms, intervals, holes, natives))
        seen += run.seen
        done.append(accounts)
    if is_one:
        return _result(done[0], seen)
    return _joined_result([list(part) for part in zip(*done, strict=True)], sleeves, seen, least)


def _result(accounts: Sequence[Account], seen: int) -> ReferenceResult:
    (trades, whole, parts), *twins = [account.finish() for account in accounts]
    account = accounts[0]
    twin = twins[0][1] if twins else None
    return ReferenceResult(account.records, trades, seen, whole, parts, account.curve, twin, account.ruined_ms)


def _joined_result(
    books: Sequence[Sequence[Account]], sleeves: Sequence[SleeveSpec], seen: int, least: Decimal | None
) -> ReferenceResult | None:
    """The result of a book, and perhaps its twin, of each of which there is an account on every market."""
    finished = []
    for accounts in books:
        scores = {key: one for account in accounts for key, one in account.finish()[2].items()}
        courses = [account.course for account in accounts if account.course is not None]
        deposits = sum((course.deposit for course in courses), Decimal(0))
        curve = EquityCurve(deposits, min(account.curve.start_ms for account in accounts))
        if not add_together(curve, courses, least):
            return None
        records = put_together(courses)
        trades = trades_from_fills(records.fills)
        finished.append((records, trades, score(trades, curve), scores, curve))
    (records, trades, whole, scores, curve), *twins = finished
    parts = {spec.key: scores[spec.key] for spec in sleeves if spec.key in scores}
    return ReferenceResult(records, trades, seen, whole, parts, curve, twins[0][2] if twins else None)


class _Run:
    """Brain and accounts, through the closed candles in order until the first account is ruined.

    ``seen`` counts the minutes that were traded.
    """

    def __init__(
        self, brain: BrainState, accounts: Sequence[Account], live_from_ms: int, tell: Callable[[int], None]
    ) -> None:
        self._brain = brain
        self._accounts = accounts
        self._main = accounts[0]
        self._live_from_ms = live_from_ms
        self._tell = tell
        self.seen = 0

    def step(self, items: Iterable[Candle | Hole]) -> None:
        """Handle every minute by itself."""
        for item in items:
            if self._main.ruined_ms is not None:
                return
            for told in self._brain.handle(item):
                if not isinstance(told, Candle):
                    self._take(told)
                elif told.close_time_ms > self._live_from_ms:
                    for account in self._accounts:
                        account.candle(told)
                    self.seen += 1
                    if self.seen % _TELL_EVERY == 0:
                        self._tell(told.close_time_ms)

    def pass_over(self, minutes: Minutes, longer: Sequence[tuple[int, int, Candle | Hole]]) -> None:
        """Handle the ``longer`` candles and the holes, and of ``minutes`` those in which something happens."""
        is_read = any(need.interval == MINUTE.name for need in self._brain.needs(minutes.market))
        [first, *closed] = minutes.closed_by([self._live_from_ms, *(close_ms for close_ms, *_ in longer)])
        at = 0
        for upto, (*_, item) in zip(closed, longer, strict=True):
            at = self._close(minutes, first, at, upto, is_read=is_read)
            if self._main.ruined_ms is not None:
                return
            for told in self._brain.handle(item):
                self._take(told)
            self._note(end_ms(item))
        self._close(minutes, first, at, len(minutes), is_read=is_read)

    def _close(self, minutes: Minutes, first: int, at: int, upto: int, *, is_read: bool) -> int:
        """Close the minutes at ``at`` up to ``upto``, those from ``first`` on with the accounts.

        The brain wants each when a lane of it ``is_read`` on minutes, and the next while a candle waits for one that
        may not come; any other changes nothing there.
        """
        while at < upto and self._main.ruined_ms is None:
            if not is_read and not self._brain.is_waiting(minutes.market):
                at = upto
                self._reach(minutes, first, at)
                continue
            at += 1
            for told in self._brain.handle(minutes.candles[at - 1]):
                if isinstance(told, Candle):
                    self._reach(minutes, first, at)
                else:
                    self._take(told)
            self._note(int(minutes.close_ms[at - 1]))
        return at

    def _note(self, time_ms: int) -> None:
        for account in self._accounts:
            if account.course is not None:
                account.course.note(time_ms)

    def _reach(self, minutes: Minutes, first: int, place: int) -> None:
        self._main.reach(place)
        for account in self._accounts[1:]:
            account.reach(self._main.reached)
        told, self.seen = self.seen // _TELL_EVERY, max(0, self._main.reached - first)
        for times in range(told + 1, self.seen // _TELL_EVERY + 1):
            self._tell(int(minutes.close_ms[first + times * _TELL_EVERY - 1]))

    def _take(self, told: FeatureValue | Signal | Reseed | Candle) -> None:
        if isinstance(told, FeatureValue) and told.close_time_ms > self._live_from_ms:
            self._main.records.features.append(told)
        elif isinstance(told, Signal):
            self._main.records.signals.append(told)
            for account in self._accounts:
                account.signal(told)


def _tell_nobody(_position_ms: int) -> None:
    """Progress that nobody asked for."""


def _least_order(markets: Sequence[Market], traded: Collection[str]) -> Decimal:
    """The smallest value of an order that any of the ``traded`` markets takes."""
    return min(market.min_notional for market in markets if market.key in traded)


def _together(
    candles_of: Mapping[str, Sequence[Candle]],
    intervals: Sequence[str],
    holes: Sequence[Hole],
    natives: Sequence[Candle],
) -> Iterable[Candle | Hole]:
    """The closed candles of all markets in order of time; those of one close in the order of the markets."""
    streams = [
        _in_order(
            minutes,
            intervals,
            [hole for hole in holes if hole.market == name],
            [item for item in natives if item.market == name],
        )
        for name, minutes in candles_of.items()
    ]
    return streams[0] if len(streams) == 1 else merge(*streams, key=end_ms)


def _intervals(instances: Sequence[Instance], features: Sequence[FeatureSpec]) -> list[str]:
    listed = [item.intervals for item in instances] + [item.intervals for item in features]
    listed += [item.load().other_intervals(item.intervals) for item in instances]
    names = {name for intervals in listed for name in intervals} - {"1m"}
    return sorted(names, key=lambda name: parse_interval(name).typical_ms)


def _in_order(
    candles: Sequence[Candle], intervals: Sequence[str], holes: Sequence[Hole], natives: Sequence[Candle]
) -> Iterable[Candle | Hole]:
    """All candles by close time, then width: the order in which a live pipeline closes them.

    A derived candle comes before the first minute that closes later, also when its own last minutes are absent.
    """
    told = _longer(partial(fold, candles), candles[-1].close_time_ms, intervals, holes, natives)
    at = 0
    for minute in candles:
        while at < len(told) and told[at][0] < minute.close_time_ms:
            yield told[at][2]
            at += 1
        yield minute
        while at < len(told) and told[at][0] == minute.close_time_ms:
            yield told[at][2]
            at += 1
    while at < len(told):
        yield told[at][2]
        at += 1


def _longer(
    folded: Callable[[str, Sequence[Hole]], list[Candle]],
    last_ms: int,
    intervals: Sequence[str],
    holes: Sequence[Hole],
    natives: Sequence[Candle],
) -> list[tuple[int, int, Candle | Hole]]:
    """Holes and longer candles with close time and width, in the order in which they are told.

    ``folded`` makes the candles of an interval; what closes after ``last_ms`` is left out.
    """
    told: list[tuple[int, int, Candle | Hole]] = [(hole.to_ms, -1, hole) for hole in holes]
    for name in intervals:
        width = parse_interval(name).typical_ms
        told.extend(
            (candle.close_time_ms, width, candle)
            for candle in merge_natives(folded(name, holes), [item for item in natives if item.interval == name])
            if candle.close_time_ms <= last_ms
        )
    told.sort(key=itemgetter(0, 1))
    return told
