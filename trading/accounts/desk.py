"""The order desk: carries orders from a book to its venue, and the venue's word back, over a wire that can fail.

No order leaves before its intent is committed. An answer that is lost makes the order *unknown*, and only the venue can
end that: it is asked, and the order goes out again only when the venue says twice that it does not know it. The venue
takes a client order id once, so even a request that arrives after all cannot become a second order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from trading.accounts.broker import EXPIRED, TO_CARRY, Broker, OrderStatus, OrderUpdate, canceled
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Order, Record
from trading.candles import Candle
from trading.errors import OutcomeUnknown, VenueRetryable
from trading.events import Signal, StreamItem

__all__ = ["OrderDesk"]

_ANSWER_S = 10.0
_ASK_AGAIN_S = 0.1
_LONGEST_PAUSE_S = 5.0
_PROOFS = 2
_ALERT_AFTER_S = 30.0
T = TypeVar("T")

Commit = Callable[[str, int, list[Record]], Awaitable[None]]
"""Makes records durable, with the position (market, close time ms) up to which everything is handled."""

Trouble = Callable[[str, str, str, bool], Awaitable[None]]
"""Tells the user: what names the occurrence, a title, what it means and what to do, and whether it is over."""

_log = structlog.get_logger(__name__)


async def _only_logged(_cause: str, title: str, message: str, over: bool) -> None:
    _log.log(logging.INFO if over else logging.ERROR, title, meaning=message)


class OrderDesk:
    """Runs one book's trading: candles and signals in, commits and orders out, in an order that never varies.

    Durable: nothing here; what ``commit`` was given and what the venue holds. After a crash anywhere, restore the
    state, ``reconcile``, and hand in the items from the committed position on: the records come out the same.
    Executions are taken when the minute they belong to is handled, so results depend on event time alone.

    ``commit`` must be exactly once and is called before anything is sent. ``boundary(name, position_ms)`` is told each
    step, so that a test can end the process there. While the venue is away, calls wait: nothing may overtake an order
    whose fate is open.
    """

    def __init__(
        self,
        state: ExecutionState,
        broker: Broker,
        commit: Commit,
        *,
        boundary: Callable[[str, int], None] = lambda _name, _position_ms: None,
        trouble: Trouble = _only_logged,
        alert_after_s: float = _ALERT_AFTER_S,
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self.state = state
        self._broker = broker
        self._commit = commit
        self._boundary = boundary
        self._trouble = trouble
        self._alert_after_s = alert_after_s
        self._strangers: set[str] = set()
        self._ask_again_s = ask_again_s
        self._records: list[Record] = []
        self._intents: list[Order] = []
        self._venue_away = False
        # When the minute that is being handled opened; None between minutes.
        self._opened_ms: int | None = None
        self.reconcile_due = False
        names = ("sent", "sent_again", "unknown", "asked", "reconciled", "canceled", "foreign")
        self.counts = dict.fromkeys(names, 0)

    async def trade(
        self,
        market: str,
        items: Iterable[StreamItem],
        before_ms: int,
        upto_ms: int,
        venue_now_ms: Callable[[int], int | None],
    ) -> None:
        """Handle what closed in (``before_ms``, ``upto_ms``], in order; at the end it is committed and orders are out.

        ``venue_now_ms`` gives the venue's present time for an event time.
        """
        handled_ms = before_ms
        for item in items:
            if not isinstance(item, Candle | Signal) or item.close_time_ms <= before_ms:
                continue
            if isinstance(item, Signal):
                self._take(self.state.decide(item, venue_now_ms(item.close_time_ms)))
            elif self.state.is_new(item):
                # What the last close decided is at the venue before the next minute opens.
                await self._send(market, handled_ms)
                await self._minute(item, handled_ms)
            handled_ms = max(handled_ms, item.close_time_ms)
        await self._store(market, upto_ms)
        if self._intents:
            await self._send(market, upto_ms)
            await self._store(market, upto_ms)

    async def reconcile(self, market: str, position_ms: int) -> None:
        """Ask the venue about every order that is not finished, and whether it works on any that we do not know."""
        self.reconcile_due = False
        self.counts["reconciled"] += 1
        ours = {order.order_id: order for order in self.state.working()}
        lost = {order.order_id for order in self._intents}
        for order in ours.values():
            if order.status == OrderStatus.CANCELING:
                self._intents += [] if order.order_id in lost else [order]
                continue
            update = await self._ask(order)
            if update is None and order.order_id not in lost:
                self._intents.append(order)
            elif update is not None:
                self._learn(update)
        for working in await self._patiently(self._broker.open_orders):
            if working.client_id not in ours and working.client_id not in self._strangers:
                self.counts["foreign"] += 1
                self._strangers.add(working.client_id)
                await self._trouble(
                    f"foreign:{working.client_id}",
                    "The venue works on an order that is not ours",
                    f"Order {working.client_id} of book {self.state.book_id} was not made by this Manta. Cancel it at"
                    " the venue, or stop whatever else trades this account.",
                    False,
                )
        await self._send(market, position_ms)
        await self._store(market, position_ms)

    def facts(self) -> dict[str, Any]:
        """What a health report says of orders."""
        waiting = self.state.working()
        return {
            **self.counts,
            "working": len(waiting),
            "open_unknown": [order.order_id for order in waiting if order.status == OrderStatus.UNKNOWN],
            "venue_away": self._venue_away,
        }

    async def _minute(self, candle: Candle, handled_ms: int) -> None:
        state, market = self.state, candle.market
        self._take(state.open(candle))
        self._opened_ms = candle.open_time_ms
        asked: set[str] = set()
        while due := {order.order_id: order for order in state.due(candle) if order.order_id not in asked}:
            await self._patiently(lambda: self._broker.observe(candle))
            for event in self._broker.take_events():
                if event.client_id in due:
                    self._learn(event)
            # An event may be lost: what should be over and is not is asked for.
            for order in state.working(market):
                if order.order_id in due:
                    self._learn(await self._answer(order, market, handled_ms))
            # One that rests may go on doing so; every other is asked about until it is over.
            asked |= {order.order_id for order in due.values() if order.rests}
            await self._send(market, handled_ms)
        self._opened_ms = None
        self._take(state.close(candle))
        if any(order.status == OrderStatus.CANCELING for order in self._intents):
            # What takes its place is on its way before this close is decided on.
            await self._send(market, handled_ms)

    def _learn(self, update: OrderUpdate) -> None:
        """Take what the venue says. What a minute did waits for that minute, which is handled in its turn: after a
        crash the venue may be ahead.
        """
        by_minute = update.fills or update.reason == EXPIRED or self.state.is_late_refusal(update)
        if not by_minute or (self._opened_ms is not None and update.updated_ms <= self._opened_ms):
            self._take(self.state.apply(update))

    def _take(self, records: Sequence[Record]) -> None:
        self._records += records
        self._intents += [record for record in records if isinstance(record, Order) and record.status in TO_CARRY]

    async def _store(self, market: str, position_ms: int) -> None:
        records, self._records = self._records, []
        await self._commit(market, position_ms, records)

    async def _send(self, market: str, position_ms: int) -> None:
        """Commit, then place every intent and cancel what is to be canceled, also what follows from the answers."""
        while self._intents:
            await self._store(market, position_ms)
            intents, self._intents = self._intents, []
            for order in intents:
                if order.status == OrderStatus.CANCELING:
                    self._learn(await self._canceled(order, position_ms))
                else:
                    self._learn(await self._answer(order, market, position_ms, send=True))
                self._boundary("after_ack", position_ms)

    async def _answer(self, order: Order, market: str, position_ms: int, *, send: bool = False) -> OrderUpdate:
        """What the venue says of ``order``, by an answer to sending it or by asking; waits until it says something."""
        absent, began, told = 0, time.monotonic(), False
        while True:
            if not told and time.monotonic() - began > self._alert_after_s:
                told = True
                await self._trouble(*_about(order, over=False), False)
            if send:
                self._boundary("before_send", position_ms)
                try:
                    update = await self._once(lambda: self._broker.place(self.state.request(order)))
                except OutcomeUnknown as error:
                    await self._unknown(order, str(error), market, position_ms)
                else:
                    self.counts["sent"] += 1
                    self._boundary("after_send", position_ms)
                    break
            found = await self._ask(order)
            if found is not None:
                update = found
                break
            absent, send = absent + 1, absent + 1 >= _PROOFS
            if send:
                absent = 0
                self.counts["sent_again"] += 1
                _log.warning("order goes out again: the venue does not know it", order_id=order.order_id)
            await asyncio.sleep(self._ask_again_s)
        if told:
            await self._trouble(*_about(order, over=True), True)
        return update

    async def _canceled(self, order: Order, position_ms: int) -> OrderUpdate:
        self._boundary("before_send", position_ms)
        self.counts["canceled"] += 1
        update = await self._patiently(lambda: self._broker.cancel(order.order_id))
        self._boundary("after_send", position_ms)
        return canceled(order) if update is None else update

    async def _unknown(self, order: Order, reason: str, market: str, position_ms: int) -> None:
        """Make it known, durably, that nobody knows what became of ``order``."""
        self.counts["unknown"] += 1
        _log.warning("order unknown: the venue is asked", order_id=order.order_id, reason=reason)
        nothing = OrderUpdate(order.order_id, OrderStatus.UNKNOWN, Decimal(0), (), reason, order.updated_ms)
        self._take(self.state.apply(nothing))
        await self._store(market, position_ms)

    async def _ask(self, order: Order) -> OrderUpdate | None:
        self.counts["asked"] += 1
        return await self._patiently(lambda: self._broker.query(order.order_id))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat ``call``, which changes nothing by being repeated, until the venue answers."""
        pause_s = self._ask_again_s
        while True:
            try:
                return await self._once(call)
            except OutcomeUnknown:
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make ``call`` reach the venue once; OutcomeUnknown when its answer was lost or does not come in time."""
        pause_s = self._ask_again_s
        while True:
            try:
                found = await asyncio.wait_for(call(), _ANSWER_S)
            except TimeoutError as error:
                raise OutcomeUnknown(f"The venue did not answer within {_ANSWER_S:.0f} s.") from error
            except VenueRetryable as error:
                if not self._venue_away:
                    _log.warning("venue away", error=str(error))
                self._venue_away = True
                await asyncio.sleep(max(pause_s, error.retry_after_s or 0.0))
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            else:
                if self._venue_away:
                    _log.info("venue back")
                    self._venue_away, self.reconcile_due = False, True
                return found


def _about(order: Order, *, over: bool) -> tuple[str, str, str]:
    """The words of an alert about an order whose fate was, or is, unknown."""
    what = f"{order.side} order {order.order_id} of book {order.book} on {order.market}"
    if over:
        return f"order:{order.order_id}:known", "Order outcome known again", f"The venue answered about the {what}."
    return (
        f"order:{order.order_id}:unknown",
        "Order outcome unknown",
        f"The venue has not said what became of the {what}. Its book waits and keeps asking; look at the venue too.",
    )
