"""The paper venue as somebody else's book: what it took, it keeps, whoever asks, and takes once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.trading.accounts.ledger import OTHER, PAID, D, market, minute
from tests.trading.series import MARKET
from trading.accounts.broker import OrderRequest, OrderStatus
from trading.errors import OutcomeUnknown
from trading.storage.database import connect
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget
from trading.venues.paper.broker import PaperBroker
from trading.venues.paper.faults import BrokerFault

BUY = OrderRequest("o", MARKET, "BUY", None, D(1000), minute(1, 100).open_time_ms)


class Venue:
    """Makes callers of one venue."""

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target
        self._made: list[PaperBroker] = []

    def caller(self, *faults: BrokerFault, account: str = "paper") -> PaperBroker:
        known = {key: market(key) for key in (MARKET, OTHER)}
        broker = PaperBroker(self._target, account, PAID, known, faults)
        self._made.append(broker)
        return broker

    async def close(self) -> None:
        for broker in self._made:
            await broker.close()


@pytest.fixture
async def venue(database: DatabaseTarget) -> AsyncIterator[Venue]:
    connection = await connect(database)
    for key in (MARKET, OTHER):
        await upsert_market(connection, market(key))
    await connection.close()
    venue = Venue(database)
    yield venue
    await venue.close()


@pytest.mark.covers("W2")
async def test_an_id_is_taken_once_whoever_sends_it(venue: Venue) -> None:
    one, two = venue.caller(), venue.caller()
    first = await one.place(BUY)
    assert (first.status, first.filled) == (OrderStatus.OPEN, 0)
    assert await two.place(replace(BUY, quote_amount=D(7))) == first
    await two.observe(minute(1, 100))
    done = await one.query("o")
    assert done is not None
    assert (done.status, done.filled, len(done.fills)) == (OrderStatus.FILLED, D("9.988"), 1)
    assert await one.place(BUY) == done
    assert await venue.caller(account="other").query("o") is None


async def test_working_orders_survive_their_caller_and_fill_at_the_next_minute_shown(venue: Venue) -> None:
    await venue.caller().place(BUY)
    heir = venue.caller()
    assert [update.client_id for update in await heir.open_orders()] == ["o"]
    await heir.observe(minute(0, 100))
    await heir.observe(minute(1, 100, key=OTHER))
    assert await heir.open_orders()
    assert heir.take_events() == []
    await heir.observe(minute(3, 100))
    assert await heir.open_orders() == []
    (event,) = heir.take_events()
    assert (event.status, event.updated_ms) == (OrderStatus.FILLED, minute(3, 100).open_time_ms)
    # Shown again, by anybody, nothing happens twice.
    await venue.caller().observe(minute(3, 100))
    assert (await heir.query("o")) == event


async def test_what_is_left_can_be_canceled_and_what_is_over_cannot(venue: Venue) -> None:
    broker = venue.caller()
    assert await broker.cancel("nobody's") is None
    await broker.place(BUY)
    canceled = await broker.cancel("o")
    assert canceled is not None
    assert canceled.status is OrderStatus.CANCELED
    await broker.observe(minute(1, 100))
    assert await broker.query("o") == canceled
    await broker.place(replace(BUY, client_id="p"))
    done = await broker.query("p")
    assert done is not None
    assert done.status is OrderStatus.FILLED
    assert await broker.cancel("p") == done


async def test_a_lost_answer_hides_an_order_that_is_there(venue: Venue) -> None:
    broker = venue.caller(BrokerFault("lose_answer"))
    with pytest.raises(OutcomeUnknown):
        await broker.place(BUY)
    found = await broker.query("o")
    assert found is not None
    assert found.status is OrderStatus.OPEN


async def test_a_lost_request_leaves_nothing(venue: Venue) -> None:
    broker = venue.caller(BrokerFault("lose_request"))
    with pytest.raises(OutcomeUnknown):
        await broker.place(BUY)
    assert await broker.query("o") is None
    assert (await broker.place(BUY)).status is OrderStatus.OPEN


async def test_a_refusal_is_final(venue: Venue) -> None:
    broker = venue.caller(BrokerFault("reject"))
    refused = await broker.place(BUY)
    assert (refused.status, refused.fills, refused.reason) == (OrderStatus.REJECTED, (), "refused by the venue")
    assert await broker.place(BUY) == refused


async def test_parts_have_numbers_and_one_sum(venue: Venue) -> None:
    broker = venue.caller(BrokerFault("split", parts=3))
    await broker.place(BUY)
    await broker.observe(minute(1, 100))
    done = await broker.query("o")
    assert done is not None
    assert [fill.number for fill in done.fills] == [1, 2, 3]
    assert sum(fill.quantity for fill in done.fills) == done.filled == D("9.988")


@pytest.mark.parametrize(
    ("kind", "arrived"),
    [("lose_event", ["filled"]), ("double_event", ["open", "open", "filled"]), ("reorder_events", ["filled", "open"])],
)
async def test_events_may_be_lost_doubled_or_overtaken(venue: Venue, kind, arrived: list[str]) -> None:
    broker = venue.caller(BrokerFault(kind))
    await broker.place(BUY)
    await broker.observe(minute(1, 100))
    assert [event.status.value for event in broker.take_events()] == arrived


async def test_a_fault_with_a_marker_strikes_once_also_after_a_restart(venue: Venue, tmp_path) -> None:
    fault = BrokerFault("lose_answer", marker=str(tmp_path / "fault"))
    with pytest.raises(OutcomeUnknown):
        await venue.caller(fault).place(BUY)
    assert (await venue.caller(fault).place(replace(BUY, client_id="p"))).status is OrderStatus.OPEN
    late = BrokerFault("lose_answer", at_ms=BUY.placed_ms + 1)
    assert (await venue.caller(late).place(replace(BUY, client_id="q"))).status is OrderStatus.OPEN
