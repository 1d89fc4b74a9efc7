"""The order desk over a real venue and a real database, killed at every step and lied to on the wire: the books come
out as in the reference, with each order once at the venue.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.trading.accounts.ledger import PAID, D, market, minute, signal, spec
from tests.trading.series import MARKET, at
from trading.accounts.books import SleeveSpec
from trading.accounts.broker import EXPIRED, request_of
from trading.accounts.desk import OrderDesk
from trading.accounts.execution import ExecutionState
from trading.accounts.paper_run import PaperRun
from trading.accounts.records import Decision, Fill, Order, Record, Transfer
from trading.accounts.resting import WITHDRAWN
from trading.candles import Candle
from trading.config.model import Book
from trading.config.rules import Entries, Exits
from trading.events import Signal
from trading.storage import candles, cursors, rebuild, records
from trading.storage.database import Connection, Database, connect
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget
from trading.venues.paper.broker import PaperBroker
from trading.venues.paper.faults import BrokerFault

pytestmark = pytest.mark.long(2)

Item = Candle | Signal
SPECS = (spec("a", leverage=D(3)), spec("a", interval="5m", size=D("0.7")), spec("b", profile="spot"))
BOOK = Book(capital=D(3000), costs=PAID, late_after_s=120)
START = at("2025-06-02 15:40")
GUARDS = Exits(stop_loss_percent=D(4), take_profit_percent=D(3), trailing_stop_percent=D(2))
GUARDED = tuple(replace(item, exits=GUARDS) for item in SPECS)
RESTING = (
    replace(SPECS[0], entries=Entries(order_type="stop", offset_bps=D(120), expires_candles=3), exits=GUARDS),
    replace(SPECS[1], entries=Entries(order_type="limit", offset_bps=D(200), expires_candles=1), exits=GUARDS),
    replace(SPECS[2], entries=Entries(order_type="limit", offset_bps=D(150), expires_candles=2)),
)
SLOW = BOOK.model_copy(update={"costs": PAID.model_copy(update={"order_latency_minutes": 2})})


class Killed(BaseException):
    """The process is gone."""


def series(seed: int, minutes: int = 45, *, dip: float = 0.1) -> list[Item]:
    """Minutes over a funding time, some absent, each with a low ``dip`` below, with signals that flip often."""
    source = random.Random(seed)
    items: list[Item] = []
    price = 100.0
    for number in range(minutes):
        if number and source.random() < 0.1:
            continue
        opened, price = price, round(price * (1 + source.uniform(-0.02, 0.02)), 2)
        low = f"{min(opened, price) * (1 - dip):.2f}"
        candle = minute(number, f"{opened:.2f}", f"{price:.2f}", low=low, start=START)
        items.append(candle)
        for item in SPECS:
            if source.random() < (0.6 if item.interval == "1m" else 0.2):
                target = source.choice(("LONG", "SHORT", "FLAT", "HOLD"))
                items.append(signal(candle, target, name=item.instance_id, interval=item.interval))
    return items


def known(book_id: str, book: Book = BOOK, specs: tuple[SleeveSpec, ...] = SPECS) -> ExecutionState:
    return ExecutionState(book_id, book, specs, [market(lot="0.001")])


def reference(items: Iterable[Item], state: ExecutionState, book: Book = BOOK) -> list[Record]:
    run = PaperRun(state, book.costs)
    out: list[Record] = list(run.state.start())
    for item in items:
        out += run.handle(item)
    return out


class Office:
    """One book's desk that can be killed and started again on what it committed."""

    def __init__(self, target: DatabaseTarget, book_id: str, items: list[Item], *faults: BrokerFault) -> None:
        self.book_id = book_id
        self.book, self.specs = BOOK, SPECS
        self.items = items
        self.faults = faults
        self.steps: list[str] = []
        self.cancels: list[int] = []
        self.lives = 0
        self.counts: Counter[str] = Counter()
        self.told: list[tuple[str, bool]] = []
        self.alert_after_s = 30.0
        self._target = target
        self._kill_at: int | None = None
        self._desk: OrderDesk | None = None

    async def run(self, kill_at: Iterable[int] = ()) -> None:
        """Live until everything is handled; die once at each step number of ``kill_at``, counted over all lives."""
        for number in (*kill_at, None):
            self._kill_at = number
            try:
                await self._live()
            except Killed:
                continue
            return

    def known(self) -> ExecutionState:
        return known(self.book_id, self.book, self.specs)

    def _step(self, name: str, _position_ms: int) -> None:
        self.steps.append(name)
        if self._desk is not None and self._desk.counts["canceled"] > len(self.cancels):
            self.cancels.append(len(self.steps))
        if self._kill_at is not None and len(self.steps) > self._kill_at:
            raise Killed

    async def _live(self) -> None:
        self.lives += 1
        async with Database(self._target) as database:
            state = self.known()
            broker = PaperBroker(self._target, self.book_id, self.book.costs, state.markets, self.faults)
            self._desk = desk = None
            try:
                position = await database.run(lambda conn: cursors.get_cursor(conn, f"desk:{self.book_id}"))
                positions = {MARKET: position} if position is not None else {}
                restart = await database.run(lambda conn: rebuild.read_restart(conn, self.book_id, positions))
                state.restore(**restart._asdict())
                state.validate()
                await database.run(lambda conn: records.insert_transfers(conn, state.start()))
                self._desk = desk = OrderDesk(
                    state, broker, self._store(database, state), boundary=self._step, trouble=self._trouble,
                    alert_after_s=self.alert_after_s, ask_again_s=0.001,
                )  # fmt: skip
                await desk.reconcile(MARKET, position or START)
                await self._trade(desk, position or START)
                state.validate()
            finally:
                await broker.close()
                self.counts.update(desk.counts if desk is not None else {})

    async def _trouble(self, cause: str, _title: str, message: str, over: bool) -> None:
        assert self.book_id in message
        self.told.append((cause, over))

    async def _trade(self, desk: OrderDesk, position: int) -> None:
        left = [item for item in self.items if item.close_time_ms > position]
        source = random.Random(self.lives)
        while left:
            # Whole closes at a time, some in one batch.
            upto = left[min(len(left), source.choice((1, 3, 20))) - 1].close_time_ms
            batch = [item for item in left if item.close_time_ms <= upto]
            await desk.trade(MARKET, batch, position, upto, lambda event_ms: event_ms)
            left, position = left[len(batch) :], upto

    def _store(self, database: Database, state: ExecutionState) -> Callable[[str, int, list[Record]], Any]:
        async def store(key: str, position_ms: int, out: list[Record]) -> None:
            async def write(connection: Connection) -> None:
                await records.store_records(connection, out, state.positions(key))
                await cursors.set_cursor(connection, f"desk:{self.book_id}", position_ms)

            self._step("before_commit", position_ms)
            await database.run(write)
            self._step("after_commit", position_ms)

        return store


@pytest.fixture
async def storage(database: DatabaseTarget) -> AsyncIterator[Connection]:
    connection = await connect(database)
    await upsert_market(connection, market(lot="0.001"))
    yield connection
    await connection.close()


async def prepare(storage: Connection, book_id: str, items: list[Item]) -> None:
    await records.upsert_book(storage, book_id, BOOK)
    await candles.upsert_candles(storage, [item for item in items if isinstance(item, Candle)])


def facts(item: Fill) -> tuple[Any, ...]:
    return (
        item.sleeve, item.time_ms, item.trade_no, item.role, item.side, item.price, item.quantity, item.fee,
        item.realized_pnl, item.slippage, item.reason,
    )  # fmt: skip


async def assert_as_reference(storage: Connection, office: Office, *, parts: bool = False) -> None:
    book_id, expected = office.book_id, reference(office.items, office.known(), office.book)
    stored = await records.read_run(storage, book_id)
    final = {record.order_id: record for record in expected if isinstance(record, Order)}
    assert sorted(stored.decisions, key=lambda d: d.decision_id) == sorted(
        (record for record in expected if isinstance(record, Decision)), key=lambda d: d.decision_id
    )
    assert {order.order_id: order for order in stored.orders} == final
    theirs = sorted(facts(record) for record in expected if isinstance(record, Fill))
    if not parts:
        assert sorted(map(facts, stored.fills)) == theirs
    assert len({fill.fill_id for fill in stored.fills}) == len(stored.fills)
    assert {item.transfer_id: item.amount for item in stored.transfers} == {
        record.transfer_id: record.amount for record in expected if isinstance(record, Transfer)
    }
    run = PaperRun(office.known(), office.book.costs)
    run.state.start()
    for item in office.items:
        run.handle(item)
    assert {p.as_of_ms: p for p in stored.positions if p.quantity} == {
        p.as_of_ms: p for p in run.state.positions(MARKET) if p.quantity
    }
    assert [(p.cash, p.equity) for p in stored.positions] == [
        (p.cash, p.equity) for p in sorted(run.state.positions(MARKET), key=lambda p: (p.instance_id, p.interval))
    ]
    # I6: what was decided is at the venue once, and nothing else is; liquidations are the margin rule's own.
    at_venue = await storage.fetch("select client_id from paper_orders where account = $1", book_id)
    assert sorted(row["client_id"] for row in at_venue) == sorted(
        key for key, order in final.items() if order.decision_id
    )


@pytest.mark.covers("S1-39", "W2", "W3")
async def test_an_undisturbed_desk_trades_as_the_reference(database: DatabaseTarget, storage: Connection) -> None:
    for seed in range(4):
        items = series(seed, 120)
        office = Office(database, f"book{seed}", items)
        await prepare(storage, office.book_id, items)
        await office.run()
        await assert_as_reference(storage, office)
        assert {"before_send", "after_send", "after_ack", "before_commit", "after_commit"} <= set(office.steps)


@pytest.mark.slow
@pytest.mark.covers("W2", "W3")
async def test_killed_at_any_step_the_books_come_out_the_same(database: DatabaseTarget, storage: Connection) -> None:
    items = series(7, 30)
    calm = Office(database, "calm", items)
    await prepare(storage, calm.book_id, items)
    await calm.run()
    total = len(calm.steps)
    assert total > 100
    for step in range(total):
        office = Office(database, f"killed{step}", items)
        await prepare(storage, office.book_id, items)
        await office.run([step])
        assert office.lives == 2
        await assert_as_reference(storage, office)


async def test_killed_again_and_again_the_books_come_out_the_same(
    database: DatabaseTarget, storage: Connection
) -> None:
    items = series(11, 60)
    for seed in range(6):
        source = random.Random(seed)
        office = Office(database, f"often{seed}", items)
        await prepare(storage, office.book_id, items)
        deaths: list[int] = []
        for _ in range(40):
            deaths.append((deaths[-1] if deaths else 0) + source.randint(1, 12))
        await office.run(deaths)
        assert office.lives > 10
        await assert_as_reference(storage, office)


@pytest.mark.covers("W2", "W3")
async def test_orders_that_exits_overtake_are_canceled_wherever_the_desk_dies(
    database: DatabaseTarget, storage: Connection
) -> None:
    """Two minutes from a decision to its fill: exits strike while orders are on their way. It dies between the commit
    that says so and the cancel, between the cancel and its answer, and at random.
    """
    items = series(27, 50, dip=0.01)

    async def lived(name: str, *deaths: int) -> Office:
        office = Office(database, name, items)
        office.book, office.specs = SLOW, GUARDED
        await prepare(storage, office.book_id, items)
        await office.run(deaths)
        assert (office.counts["canceled"] > 2, office.counts["foreign"]) == (True, 0)
        await assert_as_reference(storage, office)
        return office

    cancels = (await lived("slow")).cancels
    for number, step in enumerate(cancels[:4]):
        # The step counted is the one after the cancel.
        await lived(f"slow{number}", step - 2 + number % 2)
    assert (await lived("often", *range(5, 200, 9))).lives > 10


@pytest.mark.covers("W2", "W3")
@pytest.mark.parametrize("latency", [0, 1])
async def test_entries_that_rest_come_out_the_same_wherever_the_desk_dies(
    database: DatabaseTarget, storage: Connection, latency: int
) -> None:
    """It dies between an order's placing and its fill or expiry, when the venue is ahead of what was committed, between
    the commit of a cancel and its answer, and at random.
    """
    items = series(13, 50, dip=0.01)
    costs = PAID.model_copy(update={"order_latency_minutes": latency})

    async def lived(name: str, *deaths: int) -> Office:
        office = Office(database, f"{name}{latency}", items)
        office.book, office.specs = BOOK.model_copy(update={"costs": costs}), RESTING
        await prepare(storage, office.book_id, items)
        await office.run(deaths)
        assert office.counts["foreign"] == 0
        await assert_as_reference(storage, office)
        return office

    calm = await lived("rests")
    ends = Counter(
        (order.type, order.status, order.reason) for order in (await records.read_run(storage, calm.book_id)).orders
    )
    for kind in ("LIMIT", "STOP"):
        assert min(ends[kind, "filled", ""], ends[kind, "canceled", EXPIRED], ends[kind, "canceled", WITHDRAWN]) > 0
    for number, step in enumerate(calm.cancels[:4]):
        # The step counted is the one after the cancel.
        await lived(f"cancel{number}", step - 2 + number % 2)
    assert (await lived("often", *range(5, 200, 9))).lives > 10
    assert (await lived("seldom", *range(20, len(calm.steps), 31))).lives > 3


@pytest.mark.covers("W2")
@pytest.mark.parametrize("kind", ["lose_answer", "lose_request", "lose_event", "double_event", "reorder_events"])
async def test_entries_that_rest_come_out_the_same_whatever_the_wire_does(
    database: DatabaseTarget, storage: Connection, kind: Any
) -> None:
    items = series(13, 50, dip=0.01)
    office = Office(database, "wire", items, BrokerFault(kind, times=25))
    office.specs = RESTING
    await prepare(storage, office.book_id, items)
    await office.run(range(9, 90, 17))
    await assert_as_reference(storage, office)


@pytest.mark.parametrize(
    ("faults", "sign"),
    [
        ([BrokerFault("lose_answer", times=1000)], "unknown"),
        ([BrokerFault("lose_request", times=25)], "sent_again"),
        ([BrokerFault("delay", times=3, seconds=0.02)], "sent"),
        ([BrokerFault("lose_event", times=1000)], "asked"),
        ([BrokerFault("double_event", times=1000)], "sent"),
        ([BrokerFault("reorder_events", times=1000)], "asked"),
        ([BrokerFault("split", times=1000, parts=3)], "sent"),
    ],
    ids=lambda value: value[0].kind if isinstance(value, list) else value,
)
@pytest.mark.covers("W2")
async def test_whatever_the_wire_does_the_books_come_out_the_same(
    database: DatabaseTarget, storage: Connection, faults: list[BrokerFault], sign: str
) -> None:
    items = series(3, 90)
    office = Office(database, "faulty", items, *faults)
    await prepare(storage, office.book_id, items)
    await office.run()
    assert office.counts[sign] > 0
    await assert_as_reference(storage, office, parts=faults[0].kind == "split")


async def test_faults_and_deaths_together_change_nothing(
    database: DatabaseTarget, storage: Connection, tmp_path
) -> None:
    items = series(5, 60)
    for seed in range(5):
        source = random.Random(seed)
        faults = [
            BrokerFault(
                kind, at_ms=START + source.randint(0, 40) * 60_000, times=4, marker=str(tmp_path / f"{seed}{kind}")
            )
            for kind in ("lose_answer", "lose_request", "lose_event", "double_event", "reorder_events")
        ]
        office = Office(database, f"both{seed}", items, *faults)
        await prepare(storage, office.book_id, items)
        await office.run(sorted(source.sample(range(200), 12)))
        await assert_as_reference(storage, office)


async def test_a_refused_order_ends_its_decision_and_the_books_still_add_up(
    database: DatabaseTarget, storage: Connection
) -> None:
    items = series(9, 90)
    office = Office(database, "refused", items, BrokerFault("reject", at_ms=START + 20 * 60_000, times=3))
    await prepare(storage, office.book_id, items)
    await office.run()
    stored = await records.read_run(storage, office.book_id)
    refused = [order for order in stored.orders if order.reason == "refused by the venue"]
    assert len(refused) == 3
    for order in refused:
        later = [item for item in stored.orders if item.decision_id == order.decision_id and item.leg > order.leg]
        assert later == []
    # The state is whole: it was validated at the end, and decides on what it truly holds.
    for position in stored.positions:
        fills = [fill for fill in stored.fills if fill.sleeve == (position.instance_id, MARKET, position.interval)]
        assert position.quantity == sum(fill.quantity if fill.side == "BUY" else -fill.quantity for fill in fills)


async def test_an_order_at_the_venue_that_is_not_ours_is_noticed(database: DatabaseTarget, storage: Connection) -> None:
    items = series(1, 5)
    office = Office(database, "mine", items)
    await prepare(storage, office.book_id, items)
    stranger = PaperBroker(database, office.book_id, PAID, {MARKET: market()})
    order = next(record for record in reference(series(2), known("mine")) if isinstance(record, Order))
    await stranger.place(replace(request_of(order), client_id="stranger", placed_ms=at("2030-01-01 00:00")))
    await stranger.close()
    await office.run()
    assert office.counts["foreign"] == 1
    assert office.told == [("foreign:stranger", False)]


async def test_an_order_that_stays_unknown_is_told_once_and_once_when_it_is_known(
    database: DatabaseTarget, storage: Connection
) -> None:
    items = series(3, 40)
    office = Office(database, "unknown", items, BrokerFault("lose_request", times=8))
    office.alert_after_s = 0.0
    await prepare(storage, office.book_id, items)
    await office.run()
    await assert_as_reference(storage, office)
    ids = [cause.split(":")[1] for cause, over in office.told if not over]
    assert ids
    assert office.told == [
        pair for one in ids for pair in ((f"order:{one}:unknown", False), (f"order:{one}:known", True))
    ]
