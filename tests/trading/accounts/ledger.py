"""A book's world for tests: markets, sleeves, minutes and signals, and what storage would give back after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, TypeVar

from tests.trading.series import MARKET, at
from trading.accounts.books import SleeveSpec
from trading.accounts.decisions import LastDecision
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import Decision, EquityMark, Fill, LotExtremes, Order, Position, Record, Transfer
from trading.candles import UNIT, Candle, to_units
from trading.config.model import Book, Costs
from trading.events import Signal
from trading.intervals import MINUTE_MS, parse_interval
from trading.markets import Market

D = Decimal
R = TypeVar("R", bound=Record)
OTHER = "binance:ETHUSDT"
NOON = at("2025-06-02 12:00")
FREE = Costs(taker_fee=D(0), maker_fee=D(0), slippage=D(0), funding_per_8h=D(0), maintenance_margin=D("0.005"))
PAID = Costs(taker_fee=D("0.001"), slippage=D("0.0002"), funding_per_8h=D("0.0001"), maintenance_margin=D("0.005"))


def market(key: str = MARKET, *, lot: str = "0.001", least: str = "5") -> Market:
    venue, symbol = key.split(":")
    return Market(venue, symbol, "spot", symbol[:3], "USDT", 2, 5, D("0.01"), D(lot), D(least))


def spec(name: str = "a", **changes: Any) -> SleeveSpec:
    """A perp sleeve on 1m with 1000 USDT, leverage 1, the whole equity per entry."""
    base = SleeveSpec(name, MARKET, "1m", "perp", D(1), D(1), D(1000), 0)
    return replace(base, **changes)


class Trading(PaperRun):
    """A book that trades on paper, asked in one place for what tests want to see."""

    def start(self) -> list[Transfer]:
        return self.state.start()

    def positions(self, key: str) -> list[Position]:
        return self.state.positions(key)

    def validate(self) -> None:
        self.state.validate()


def state(
    *specs: SleeveSpec,
    costs: Costs = FREE,
    lot: str = "0.001",
    least: str = "5",
    capital: Decimal | None = None,
    **settings: Any,
) -> Trading:
    """``capital`` is by default what the sleeves begin with; ``settings`` are the book's."""
    total = sum((item.deposit for item in specs), D(0)) if capital is None else capital
    book = Book(capital=total, costs=costs, **settings)
    markets = [market(key, lot=lot, least=least) for key in (MARKET, OTHER)]
    return Trading(ExecutionState("paper", book, specs, markets), costs)


def minute(
    number: int,
    opened: str | int,
    close: str | int | None = None,
    *,
    high: str | int | None = None,
    low: str | int | None = None,
    start: int = NOON,
    key: str = MARKET,
) -> Candle:
    """The 1m candle that opens ``number`` minutes after ``start``."""
    first = to_units(opened)
    last = first if close is None else to_units(close)
    top = max(first, last) if high is None else to_units(high)
    bottom = min(first, last) if low is None else to_units(low)
    open_ms = start + number * MINUTE_MS
    return Candle(key, "1m", open_ms, open_ms + MINUTE_MS, first, top, bottom, last, UNIT)


def signal(
    candle: Candle, target: str, *, name: str = "a", interval: str = "1m", status: str = "ready", have: int = 44
) -> Signal:
    """A signal at the close of ``candle``."""
    width_ms = parse_interval(interval).typical_ms
    close_ms = candle.close_time_ms
    return Signal(
        name, candle.market, interval, close_ms - width_ms, close_ms, target, 0.5, status, have, 44, candle.close,
        {"ma": 1 / 3}, 0, 7,
    )  # fmt: skip


@dataclass
class Ledger:
    """Everything an execution returned, as storage would hold it; money goes through text, as numeric does."""

    records: list[Record] = field(default_factory=list)
    last: dict[str, Candle] = field(default_factory=dict)

    def take(self, records: Iterable[Record]) -> list[Record]:
        kept = list(records)
        self.records += kept
        return kept

    def run(self, execution: Trading, items: Iterable[Candle | Signal]) -> list[Record]:
        out: list[Record] = []
        for item in items:
            out += self.take(execution.handle(item))
            execution.validate()
            if isinstance(item, Candle):
                self.last[item.market] = item
        return out

    def fills(self) -> list[Fill]:
        """In the order that storage reads them."""
        found = [stored(record) for record in self.records if isinstance(record, Fill)]
        return sorted(found, key=lambda fill: (fill.time_ms, *fill.sleeve, fill.trade_no, fill.role, fill.fill_id))

    def transfers(self) -> list[Transfer]:
        found = [stored(record) for record in self.records if isinstance(record, Transfer)]
        return sorted(found, key=lambda transfer: (transfer.time_ms, transfer.transfer_id))

    def decisions(self) -> list[Decision]:
        return [record for record in self.records if isinstance(record, Decision)]

    def marks(self) -> list[EquityMark]:
        return [record for record in self.records if isinstance(record, EquityMark)]

    def orders(self) -> dict[str, Order]:
        """Each in its newest state."""
        return {record.order_id: stored(record) for record in self.records if isinstance(record, Order)}

    def restore(self, execution: Trading) -> Trading:
        """Bring a new state to where the one that wrote this ledger stands; its orders are placed at a new venue."""
        causes = {decision.decision_id: decision for decision in self.decisions()}
        decided = {(item.instance_id, item.market, item.interval): LastDecision.of(item) for item in self.decisions()}
        waiting = [order for order in self.orders().values() if order.status in {"intent", "open", "canceling"}]
        execution.state.restore(
            fills=self.fills(),
            transfers=self.transfers(),
            open_orders=[(order, stored(causes[str(order.decision_id)])) for order in waiting],
            decided=decided,
            last_candles=list(self.last.values()),
            extremes=[stored(record) for record in self.records if isinstance(record, LotExtremes)],
        )
        self.take(execution.resume())
        execution.validate()
        return execution


def stored(record: R) -> R:
    """``record`` after its Decimals were text."""
    texts = {
        item.name: Decimal(str(value))
        for item in fields(record)
        if isinstance(value := getattr(record, item.name), Decimal)
    }
    return replace(record, **texts)
