"""An inbox that a slow actor cannot let grow."""

import asyncio

from actors.inbox import MAX_MESSAGES, MAX_WEIGHT, Inbox
from trading.candles import Hole, HoleReason
from trading.events import Batch, Heal, StreamItem
from trading.intervals import MINUTE_MS

MARKET = "binance:BTCUSDT"
HOLE = Hole(MARKET, 0, MINUTE_MS, HoleReason.ABSENT.value)


def batch(count: int, item: StreamItem = HOLE) -> Batch:
    return Batch(MARKET, 0, MINUTE_MS, (item,) * count)


async def filled(inbox: Inbox, message: object) -> int:
    """Put ``message`` until it has to wait; how often it went in."""
    count = 0
    while not inbox.full():
        await inbox.put(message)
        count += 1
    return count


async def test_messages_without_candles_are_bounded_by_their_number() -> None:
    assert await filled(Inbox(), "note") == MAX_MESSAGES


async def test_batches_are_bounded_by_what_they_carry() -> None:
    inbox = Inbox()
    assert await filled(inbox, batch(1000)) == MAX_WEIGHT // 1000
    assert inbox.weight == MAX_WEIGHT


async def test_a_repair_weighs_what_it_brings() -> None:
    assert await filled(Inbox(), batch(1, Heal(MARKET, 0, MINUTE_MS, (), (HOLE,) * 900))) == 6


async def test_a_waiting_sender_goes_on_when_there_is_room_and_order_is_kept() -> None:
    inbox = Inbox()
    await filled(inbox, batch(1000))
    last = batch(1)
    waiting = asyncio.create_task(inbox.put(last))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.get()
    await waiting
    assert [await inbox.get() for _ in range(MAX_WEIGHT // 1000)][-1] == last
    assert inbox.weight == 0


async def test_one_message_is_taken_however_much_it_carries() -> None:
    inbox = Inbox()
    await inbox.put(batch(MAX_WEIGHT * 3))
    assert inbox.full()
    await inbox.get()
    assert not inbox.full()
