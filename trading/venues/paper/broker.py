"""The paper venue as a broker: a book of its own in Postgres, behind a wire that can fail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from trading.accounts.broker import FINAL, OrderRequest, OrderStatus, OrderUpdate
from trading.candles import Candle
from trading.config.costs import Costs
from trading.errors import OutcomeUnknown, StorageRetryable, VenueRetryable
from trading.markets import Market
from trading.storage import paper_venue
from trading.storage.database import Connection, Database
from trading.storage.settings import DatabaseTarget
from trading.venues.paper.book import Matcher, PaperOrder, canceled, report
from trading.venues.paper.faults import BrokerFault, BrokerFaults

__all__ = ["PaperBroker"]

_EVENTS = 10_000
_PATIENCE_S = 5.0
T = TypeVar("T")


class PaperBroker:
    """One account at the paper venue.

    It behaves as a venue somewhere else would: it commits what it did in transactions of its own, on a connection of
    its own, before it answers; it takes a client id once; it keeps working orders when its caller dies, and it knows
    nothing of its caller's tables or lease. Two callers on one account see one book. ``observe`` is its market data:
    orders fill at the open of the minutes that it is shown, and showing one again changes nothing.
    """

    def __init__(
        self,
        target: DatabaseTarget,
        account: str,
        costs: Costs,
        markets: Mapping[str, Market],
        faults: Iterable[BrokerFault] = (),
    ) -> None:
        self._db = Database(target, application_name=f"paper venue {account}")
        self._account = account
        self._matcher = Matcher(costs, markets)
        self._faults = BrokerFaults(faults)
        self._shown: dict[str, Candle] = {}
        self._events: deque[OrderUpdate] = deque(maxlen=_EVENTS)
        # Markets that may have working orders; None: not looked yet.
        self._busy: set[str] | None = None

    async def place(self, request: OrderRequest) -> OrderUpdate:
        """Raises OutcomeUnknown when the answer was lost on the wire."""
        at_ms = request.placed_ms
        if self._faults.use("lose_request", at_ms):
            raise OutcomeUnknown(f"The answer to order {request.client_id} was lost.")
        refused = self._faults.use("reject", at_ms)
        order = await self._run(lambda connection: self._accept(connection, request, refused is not None))
        self._note(order)
        self._tell(order)
        if (late := self._faults.use("delay", at_ms)) is not None:
            await asyncio.sleep(late.seconds)
        if self._faults.use("lose_answer", at_ms):
            raise OutcomeUnknown(f"The answer to order {request.client_id} was lost.")
        return report(order)

    async def cancel(self, client_id: str) -> OrderUpdate | None:
        """Cancel what is left of an order; None when the id is not known."""

        async def work(connection: Connection) -> PaperOrder | None:
            order = await paper_venue.read_order(connection, self._account, client_id, for_update=True)
            if order is None or order.status in FINAL:
                return order
            done = canceled(order)
            await paper_venue.update_orders(connection, self._account, [done])
            return done

        order = await self._run(work)
        if order is None:
            return None
        self._tell(order)
        return report(order)

    async def query(self, client_id: str) -> OrderUpdate | None:
        order = await self._run(lambda connection: paper_venue.read_order(connection, self._account, client_id))
        if order is None:
            return None
        self._note(order)
        return report(order)

    async def open_orders(self) -> list[OrderUpdate]:
        return [report(order) for order in await self._working()]

    async def observe(self, candle: Candle) -> None:
        self._shown[candle.market] = candle
        if self._busy is None:
            self._busy = {order.request.market for order in await self._working()}
        if candle.market not in self._busy:
            return
        for order in await self._run(lambda connection: self._match(connection, candle)):
            self._tell(order)

    def take_events(self) -> list[OrderUpdate]:
        found = list(self._events)
        self._events.clear()
        return found

    async def close(self) -> None:
        await self._db.close()

    async def _accept(self, connection: Connection, request: OrderRequest, refused: bool) -> PaperOrder:
        known = await paper_venue.read_order(connection, self._account, request.client_id)
        if known is not None:
            return known
        order = PaperOrder(request, OrderStatus.REJECTED, (), "refused by the venue", request.placed_ms)
        if not refused:
            shown = self._shown.get(request.market)
            order = self._matcher.accept(request, shown, self._parts(request, shown))
        if await paper_venue.insert_order(connection, self._account, order):
            return order
        # Another caller was quicker: its order is the one.
        known = await paper_venue.read_order(connection, self._account, request.client_id)
        return order if known is None else known

    async def _match(self, connection: Connection, candle: Candle) -> list[PaperOrder]:
        working = await paper_venue.working_orders(connection, self._account, candle.market, for_update=True)
        seen = [self._matcher.match(order, candle, self._parts(order.request, candle)) for order in working]
        done = [order for order in seen if order.status in FINAL]
        await paper_venue.update_orders(connection, self._account, done)
        if self._busy is not None and len(done) == len(seen):
            self._busy.discard(candle.market)
        return done

    async def _working(self) -> list[PaperOrder]:
        return await self._run(lambda connection: paper_venue.working_orders(connection, self._account))

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in the venue's own transaction; VenueRetryable while it cannot have one."""
        try:
            return await self._db.run(work, deadline_s=_PATIENCE_S)
        except StorageRetryable as error:
            raise VenueRetryable(f"The paper venue is away: {error.message}") from error

    def _note(self, order: PaperOrder) -> None:
        if self._busy is not None and order.status not in FINAL:
            self._busy.add(order.request.market)

    def _parts(self, request: OrderRequest, shown: Candle | None) -> int:
        if shown is None or shown.open_time_ms < request.placed_ms:
            return 1
        split = self._faults.use("split", request.placed_ms)
        return 1 if split is None else split.parts

    def _tell(self, order: PaperOrder) -> None:
        self._events.extend(self._faults.told(report(order)))
