"""The reference backtest: plain Python, one closed candle at a time, the judge of every faster or livelier way.

It shares features, rules, books and the fill model with paper trading, and nothing else: candles are aggregated by the batch
fold, and no actor, queue, database or clock is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from trading.accounts.books import divide_capital
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Decision, EquityMark, Fill, Order, Position, Record, Transfer
from trading.accounts.trades import Trade, trades_from_fills
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole
from trading.config.model import Book, FeatureSpec
from trading.events import Signal
from trading.fold import fold
from trading.instances import Instance
from trading.intervals import parse_interval
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


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """A finished run: its records, its trades, and how many minutes each market was looked at."""

    records: RunRecords
    trades: list[Trade]
    candles: int


def run_reference(
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
) -> ReferenceResult:
    """Run ``instances`` of one book over 1m ``candles`` of one market, in order of time.

    Candles that close at or before ``live_from_ms`` only warm up. ``holes`` are the *missing* minutes; every other minute
    without a candle counts as absent. ``on_progress`` is told the close time reached, now and then.
    """
    market = candles[0].market
    brain = BrainState(instances, features, [market])
    state = ExecutionState(book_id, book, divide_capital(instances, book_id, book.capital), markets)
    records = RunRecords()
    records.take(state.start())
    seen = 0
    for closed in _in_order(candles, _intervals(instances, features), holes):
        for item in brain.handle(closed):
            if isinstance(item, FeatureValue):
                if item.close_time_ms > live_from_ms:
                    records.features.append(item)
            elif isinstance(item, Signal):
                records.signals.append(item)
                records.take(state.handle(item))
            elif isinstance(item, Candle) and item.close_time_ms > live_from_ms:
                records.take(state.handle(item))
                seen += 1
                if on_progress is not None and seen % _TELL_EVERY == 0:
                    on_progress(item.close_time_ms)
    state.validate()
    records.positions = state.positions(market)
    return ReferenceResult(records, trades_from_fills(records.fills), seen)


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
