"""The reference backtest: plain Python, one closed candle at a time, the judge of every faster or livelier way.

It shares features, rules, books and the fill model with paper trading, and nothing else: candles are aggregated by the
batch fold, and no actor, queue, database or clock is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from heapq import merge
from operator import itemgetter

from trading.accounts.books import MONEY, SleeveSpec, divide_capital
from trading.accounts.decisions import SUPPRESSED
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import (
    Decision,
    EquityMark,
    Fill,
    LotExtremes,
    Order,
    Position,
    Record,
    SleeveKey,
    Transfer,
)
from trading.accounts.score import EquityCurve, Score, score
from trading.accounts.trades import Trade, trades_from_fills
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole
from trading.config.model import Book, Costs, FeatureSpec
from trading.events import Signal, end_ms
from trading.fold import fold
from trading.instances import Instance
from trading.intervals import HOUR_MS, parse_interval
from trading.markets import Market
from trading.natives import merge_natives

__all__ = ["ReferenceResult", "RunRecords", "run_reference"]

_TELL_EVERY = 2_000


@dataclass(slots=True)
class RunRecords:
    """What a run wrote, in the order it happened, whether it was live or not."""

    signals: list[Signal] = field(default_factory=list)
    features: list[FeatureValue] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    equity: list[EquityMark] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    extremes: list[LotExtremes] = field(default_factory=list)

    def take(self, records: Iterable[Record]) -> None:
        """Sort records into their lists; of an order the newest state counts."""
        for record in records:
            self.take_one(record)

    def take_one(self, record: Record) -> None:
        match record:
            case EquityMark():
                self.equity.append(record)
            case Decision():
                self.decisions.append(record)
            case Order():
                self.orders[record.order_id] = record
            case Fill():
                self.fills.append(record)
            case Transfer():
                self.transfers.append(record)
            case LotExtremes():
                self.extremes.append(record)

    def suppressed(self) -> dict[str, tuple[str, str]]:
        """Decision id → outcome and reason of what would have acted but was late, stale or refused."""
        return {item.decision_id: (item.outcome, item.reason) for item in self.decisions if item.outcome in SUPPRESSED}


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


class _Account:
    """One book walked through the run: its state, what it wrote, and its equity curves.

    Without ``every_mark`` only the equity marks at full hours and the last one are kept: enough for a chart. ``least``
    is the equity below which it is ruined and does nothing more; None: it goes on whatever happens.
    """

    def __init__(
        self,
        paper: PaperRun,
        sleeves: Sequence[SleeveSpec],
        markets: Sequence[str],
        *,
        every_mark: bool,
        least: Decimal | None,
    ) -> None:
        mine = [spec for spec in sleeves if spec.market in markets]
        start_ms = min((spec.live_from_ms for spec in mine), default=0)
        self.records = RunRecords()
        self._paper, self._state = paper, paper.state
        self.records.take(self._state.start())
        self.curve = EquityCurve(sum((spec.deposit for spec in mine), Decimal(0)), start_ms)
        self.curves = {spec.key: EquityCurve(spec.deposit, spec.live_from_ms) for spec in mine}
        self._markets = markets
        self._every_mark = every_mark
        self._least = least
        self.ruined_ms: int | None = None
        self._last: dict[str, EquityMark] = {}
        # Of each market that was not marked yet, what its sleeves began with.
        self._worth = {
            name: sum((spec.deposit for spec in mine if spec.market == name), Decimal(0)) for name in markets
        }
        self._held = dict.fromkeys(markets, False)
        self._marked_ms: int | None = None

    def candle(self, candle: Candle) -> None:
        if self.ruined_ms is not None:
            return
        for record in self._paper.handle(candle):
            if isinstance(record, EquityMark):
                self._mark(record)
            else:
                self.records.take_one(record)

    def signal(self, signal: Signal) -> None:
        if self.ruined_ms is None:
            self.records.take(self._paper.handle(signal))

    def finish(self) -> tuple[list[Trade], Score, dict[SleeveKey, Score]]:
        """The trades, their score, and that of each sleeve."""
        self._state.validate()
        self._close_moment()
        self.records.equity += self._last.values()
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
            worth = sum(self._worth.values(), Decimal(0))
        self.curve.add(at_ms, worth, any(self._held.values()))
        if self._least is not None and (worth <= 0 or worth < self._least):
            self.ruined_ms = at_ms


def run_reference(  # noqa: C901, PLR0913 - one call says all that a run depends on, one loop drives it
    candles: Sequence[Candle],
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
) -> ReferenceResult:
    """Run ``instances`` of one book over 1m ``candles`` of one market or several, those of each in order of time.

    Candles that close at or before ``live_from_ms`` only warm up: to equal a live run, begin with the candle that it
    began with, because a longer history may be warm where it was not. ``holes`` are the *missing* minutes; every other
    minute without a candle counts as absent. ``natives`` are the venue's own longer candles, which count where minutes
    make no complete one. ``on_progress`` is told the close time reached, now and then.
    ``suppressed`` names decisions that a live run did not act on: they are not acted on here either, so that everything
    after them can be compared. ``twin_costs`` trades the same signals a second time at these costs. With
    ``stop_when_ruined`` the run ends when all equity together is below the least order that any market takes.
    """
    by_market = _by_market(candles)
    names = list(by_market)
    least = _least_order(markets, by_market) if stop_when_ruined else None
    brain = BrainState(instances, features, names)
    sleeves = divide_capital(instances, book_id, book.capital)
    state = ExecutionState(book_id, book, sleeves, markets, suppressed=suppressed)
    accounts = [_Account(PaperRun(state, book.costs), sleeves, names, every_mark=every_mark, least=least)]
    if twin_costs is not None:
        twin_book = book.model_copy(update={"costs": twin_costs})
        twin = ExecutionState(book_id, twin_book, sleeves, markets)
        accounts.append(_Account(PaperRun(twin, twin_costs), sleeves, names, every_mark=False, least=least))
    records = accounts[0].records
    tell = on_progress or _tell_nobody
    seen = 0
    for closed in _together(by_market, _intervals(instances, features), holes, natives):
        if accounts[0].ruined_ms is not None:
            break
        for item in brain.handle(closed):
            if isinstance(item, FeatureValue) and item.close_time_ms > live_from_ms:
                records.features.append(item)
            elif isinstance(item, Signal):
                records.signals.append(item)
                for account in accounts:
                    account.signal(item)
            elif isinstance(item, Candle) and item.close_time_ms > live_from_ms:
                for account in accounts:
                    account.candle(item)
                seen += 1
                if seen % _TELL_EVERY == 0:
                    tell(item.close_time_ms)
    (trades, whole, parts), *twins = [account.finish() for account in accounts]
    account = accounts[0]
    twin_score = twins[0][1] if twins else None
    return ReferenceResult(records, trades, seen, whole, parts, account.curve, twin_score, account.ruined_ms)


def _tell_nobody(_position_ms: int) -> None:
    """Progress that nobody asked for."""


def _least_order(markets: Sequence[Market], traded: Collection[str]) -> Decimal:
    """The smallest value of an order that any of the ``traded`` markets takes."""
    return min(market.min_notional for market in markets if market.key in traded)


def _by_market(candles: Sequence[Candle]) -> dict[str, Sequence[Candle]]:
    """The candles of each market, by its key in the order of their first."""
    if candles[0].market == candles[-1].market and all(item.market == candles[0].market for item in candles):
        return {candles[0].market: candles}
    found: dict[str, list[Candle]] = {}
    for candle in candles:
        found.setdefault(candle.market, []).append(candle)
    return dict(found)


def _together(
    by_market: Mapping[str, Sequence[Candle]],
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
        for name, minutes in by_market.items()
    ]
    return streams[0] if len(streams) == 1 else merge(*streams, key=end_ms)


def _intervals(instances: Sequence[Instance], features: Sequence[FeatureSpec]) -> list[str]:
    listed = [item.intervals for item in instances] + [item.intervals for item in features]
    listed += [item.load().other_intervals for item in instances]
    names = {name for intervals in listed for name in intervals} - {"1m"}
    return sorted(names, key=lambda name: parse_interval(name).typical_ms)


def _in_order(
    candles: Sequence[Candle], intervals: Sequence[str], holes: Sequence[Hole], natives: Sequence[Candle]
) -> Iterable[Candle | Hole]:
    """All candles by close time, then width: the order in which a live pipeline closes them.

    A derived candle comes before the first minute that closes later, also when its own last minutes are absent.
    """
    last_ms = candles[-1].close_time_ms
    told: list[tuple[int, int, Candle | Hole]] = [(hole.to_ms, -1, hole) for hole in holes]
    for name in intervals:
        width = parse_interval(name).typical_ms
        told.extend(
            (candle.close_time_ms, width, candle)
            for candle in merge_natives(fold(candles, name, holes), [item for item in natives if item.interval == name])
            if candle.close_time_ms <= last_ms
        )
    told.sort(key=itemgetter(0, 1))
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
