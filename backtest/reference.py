"""The reference backtest: plain Python, one closed candle at a time, the judge of every faster or livelier way.

It shares features, rules, books and the fill model with paper trading, and nothing else: candles are aggregated by the
batch fold, and no actor, queue, database or clock is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter

from trading.accounts.books import SleeveSpec, divide_capital
from trading.accounts.decisions import SUPPRESSED
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Record, SleeveKey, Transfer
from trading.accounts.score import EquityCurve, Score, score
from trading.accounts.trades import Trade, trades_from_fills
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole
from trading.config.model import Book, Costs, FeatureSpec
from trading.events import Signal
from trading.fold import fold
from trading.instances import Instance
from trading.intervals import HOUR_MS, parse_interval
from trading.markets import Market

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

    def suppressed(self) -> dict[str, tuple[str, str]]:
        """Decision id → outcome and reason of what would have acted but was late, stale or refused."""
        return {item.decision_id: (item.outcome, item.reason) for item in self.decisions if item.outcome in SUPPRESSED}


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """A finished run: its records, trades and scores, of all and of each sleeve, and how many minutes it traded over.

    ``twin`` is the score of the same signals at other costs, if those were asked for.
    """

    records: RunRecords
    trades: list[Trade]
    candles: int
    score: Score
    sleeves: dict[SleeveKey, Score]
    twin: Score | None = None


class _Account:
    """One book walked through the run: its state, what it wrote, and its equity curves.

    Without ``every_mark`` only the equity marks at full hours and the last one are kept: enough for a chart.
    """

    def __init__(self, state: ExecutionState, sleeves: Sequence[SleeveSpec], market: str, every_mark: bool) -> None:
        mine = [spec for spec in sleeves if spec.market == market]
        start_ms = min((spec.live_from_ms for spec in mine), default=0)
        self.records = RunRecords()
        self.records.take(state.start())
        self.curve = EquityCurve(sum((spec.deposit for spec in mine), Decimal(0)), start_ms)
        self.curves = {spec.key: EquityCurve(spec.deposit, spec.live_from_ms) for spec in mine}
        self._state = state
        self._market = market
        self._every_mark = every_mark
        self._last: EquityMark | None = None

    def candle(self, candle: Candle) -> None:
        for record in self._state.handle(candle):
            if isinstance(record, EquityMark):
                self._mark(record)
            else:
                self.records.take_one(record)

    def signal(self, signal: Signal) -> None:
        self.records.take(self._state.handle(signal))

    def finish(self) -> tuple[list[Trade], Score, dict[SleeveKey, Score]]:
        """The trades, their score, and that of each sleeve."""
        self._state.validate()
        if self._last is not None:
            self.records.equity.append(self._last)
        self.records.positions = self._state.positions(self._market)
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
        held = False
        if len(self.curves) > 1:
            for key, equity, holds in self._state.equities(self._market):
                self.curves[key].add(mark.time_ms, equity, holds)
                held = held or holds
        else:
            held = bool(mark.position_value)
        self.curve.add(mark.time_ms, mark.equity, held)
        kept = self._every_mark or mark.time_ms % HOUR_MS == 0
        self._last = None if kept else mark
        if kept:
            self.records.equity.append(mark)


def run_reference(  # noqa: PLR0913 - one call says all that a run depends on
    candles: Sequence[Candle],
    *,
    instances: Sequence[Instance],
    book_id: str,
    book: Book,
    markets: Sequence[Market],
    live_from_ms: int,
    features: Sequence[FeatureSpec] = (),
    holes: Sequence[Hole] = (),
    on_progress: Callable[[int], None] | None = None,
    suppressed: Mapping[str, tuple[str, str]] | None = None,
    twin_costs: Costs | None = None,
    every_mark: bool = True,
) -> ReferenceResult:
    """Run ``instances`` of one book over 1m ``candles`` of one market, in order of time.

    Candles that close at or before ``live_from_ms`` only warm up: to equal a live run, begin with the candle that it
    began with, because a longer history may be warm where it was not. ``holes`` are the *missing* minutes; every other
    minute without a candle counts as absent. ``on_progress`` is told the close time reached, now and then.
    ``suppressed`` names decisions that a live run did not act on: they are not acted on here either, so that everything
    after them can be compared. ``twin_costs`` trades the same signals a second time at these costs.
    """
    market = candles[0].market
    brain = BrainState(instances, features, [market])
    sleeves = divide_capital(instances, book_id, book.capital)
    state = ExecutionState(book_id, book, sleeves, markets, suppressed=suppressed)
    accounts = [_Account(state, sleeves, market, every_mark)]
    if twin_costs is not None:
        twin_book = book.model_copy(update={"costs": twin_costs})
        accounts.append(_Account(ExecutionState(book_id, twin_book, sleeves, markets), sleeves, market, False))
    records = accounts[0].records
    tell = on_progress or (lambda _position_ms: None)
    seen = 0
    for closed in _in_order(candles, _intervals(instances, features), holes):
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
    return ReferenceResult(records, trades, seen, whole, parts, twins[0][1] if twins else None)


def _intervals(instances: Sequence[Instance], features: Sequence[FeatureSpec]) -> list[str]:
    listed = [item.intervals for item in instances] + [item.intervals for item in features]
    names = {name for intervals in listed for name in intervals} - {"1m"}
    return sorted(names, key=lambda name: parse_interval(name).typical_ms)


def _in_order(candles: Sequence[Candle], intervals: Sequence[str], holes: Sequence[Hole]) -> Iterable[Candle | Hole]:
    """All candles by close time, then width: the order in which a live pipeline closes them.

    A derived candle comes before the first minute that closes later, also when its own last minutes are absent.
    """
    last_ms = candles[-1].close_time_ms
    told: list[tuple[int, int, Candle | Hole]] = [(hole.to_ms, -1, hole) for hole in holes]
    for name in intervals:
        width = parse_interval(name).typical_ms
        told.extend(
            (candle.close_time_ms, width, candle)
            for candle in fold(candles, name, holes)
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
