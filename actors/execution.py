"""The execution actor: one book. Fills first, then decisions, and nothing is done that is not committed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any

import ray

from actors.brain import load_instances
from actors.runtime import Writer, windows
from actors.session import Session
from trading.accounts.books import divide_capital
from trading.accounts.capital import retired_specs
from trading.accounts.desk import OrderDesk
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Decision, Fill, Record, Transfer
from trading.clock import VenueClock
from trading.events import Batch, Event, EventKind, Signal
from trading.markets import split_market
from trading.notify.routing import alert_event, tell
from trading.storage import markets, rebuild, records
from trading.storage.database import Connection
from trading.storage.freshness import stale_markets
from trading.storage.retired import read_retired
from trading.venues.paper.broker import PaperBroker

__all__ = ["Execution", "ExecutionActor"]

_LATENCIES = 10_000
_RECONCILE_S = 60.0
_STALE_S = 1.0


class _Reconcile:
    """In the inbox: compare with the venue now."""


class ExecutionActor(Writer):
    """Trades one book at the paper venue.

    Durable, in one transaction with the cursor: decisions, orders, fills, transfers, positions, equity, events and
    messages. An order is sent only after its intent is committed. Rebuilt: the books, from fills and transfers; what
    the venue did meanwhile, by asking it. A failed push means nothing; what was missed is pulled from storage.
    """

    role = "execution"

    async def __init__(self, session: Session, book: str) -> None:
        super().__init__(session, book)
        self.book = book
        self._state: ExecutionState
        self._desk: OrderDesk
        self._positions: dict[str, int] = {}
        self._clock = VenueClock(session.time_rate)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._counts: dict[str, int] = {}
        self._stale: dict[str, str] = {}
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        session, settings = self.session, self.session.config.books[self.book]
        instances = [
            item for item in await self.read(lambda conn: load_instances(conn, session)) if item.book == self.book
        ]
        known = await self.read(markets.read_markets)
        retired = await self.read(lambda conn: read_retired(conn, self.book, instances))
        sleeves = [*divide_capital(instances, self.book, settings.capital), *retired_specs(retired)]
        self._state = ExecutionState(self.book, settings, sleeves, known)
        self._broker = PaperBroker(
            session.target, self.book, settings.costs, self._state.markets, session.broker_faults
        )
        self._desk = OrderDesk(self._state, self._broker, self._store, boundary=self.boundary, trouble=self._alert)
        held = {name for item in instances for name in item.markets} | {item.market for item in retired}
        traded = [name for name in session.config.markets if name in held]
        self._positions = await self.committed({name: self._cursor(name) for name in traded})
        restart = await self.read(lambda conn: rebuild.read_restart(conn, self.book, self._positions))
        self._state.restore(**restart._asdict())
        self._state.validate()
        deposits = self._state.start()
        await self.commit({}, lambda conn: _insert_deposits(conn, deposits))
        if session.time_rate == 1:
            # Until a push brings the venue's time: a backlog that waits in storage must be seen to be late.
            await self.observe_venue(self._clock, split_market(session.config.markets[0])[0])
        first_ms = min((item.live_from_ms for item in instances), default=session.start_ms)
        for market in traded:
            self._positions.setdefault(market, first_ms)
        self._stale = await self.read(stale_markets)
        await self._reconcile()
        for market in traded:
            await self._pull(market, None)
        self.spawn(self._ask_for_reconciliation())
        if not session.lockstep:
            self.spawn(self._see_what_is_stale())

    async def push(self, packed: bytes) -> int:
        """Accept candles and signals in order; returns the committed watermark."""
        batch = await self.accept(packed)
        return self._positions.get(batch.market, 0)

    async def handle(self, message: Batch | _Reconcile) -> None:
        if isinstance(message, _Reconcile):
            await self._reconcile()
            return
        self.boundary("after_read", message.upto_ms)
        self._clock.observe(message.clock)
        if self._positions[message.market] < message.prev_ms:
            await self._pull(message.market, message.prev_ms)
        await self._trade(message.market, message.upto_ms, message.items)
        if self._desk.reconcile_due:
            await self._reconcile()

    async def close(self, within_s: float) -> None:
        await super().close(within_s)
        await self._broker.close()

    def facts(self) -> dict[str, Any]:
        return {
            "positions": dict(self._positions),
            "counts": dict(self._counts),
            "latencies_ms": [round(value, 3) for value in self._latencies],
            "orders": self._desk.facts() if self._ready.is_set() else {},
        }

    def _cursor(self, market: str) -> str:
        return f"execution:{self.book}:{market}"

    async def _ask_for_reconciliation(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE_S)
            await self.put(_Reconcile())

    async def _see_what_is_stale(self) -> None:
        """Now and then, so that a decision on a fresh market asks nobody."""
        while True:
            await asyncio.sleep(_STALE_S)
            self._stale = await self.read(stale_markets)

    async def _reconcile(self) -> None:
        market, position_ms = next(iter(self._positions.items()))
        await self._desk.reconcile(market, position_ms)

    async def _pull(self, market: str, upto_ms: int | None) -> None:
        """Read from storage what the brain committed but did not manage to push."""
        end = await self.sender_position(f"brain:{market}", upto_ms)
        for begin, stop in windows(self._positions[market], end):
            items = await self.read(lambda conn, a=begin, b=stop: rebuild.read_stream(conn, self.book, market, a, b))
            await self._trade(market, stop, items)

    async def _trade(self, market: str, upto_ms: int, items: Any) -> None:
        before_ms = self._positions[market]
        if upto_ms > before_ms:
            if market in self._stale and any(isinstance(item, Signal) for item in items):
                # What made it fresh again was committed with the candle that is decided on.
                self._stale = await self.read(stale_markets)
            self._state.note_stale(market, self._stale.get(market, ""))
            await self._desk.trade(market, items, before_ms, upto_ms, self._venue_now_ms)

    def _venue_now_ms(self, event_time_ms: int) -> int:
        return self._clock.now_ms(event_time_ms)

    async def _store(self, market: str, position_ms: int, out: list[Record]) -> None:
        """Commit what the desk did, once; within a minute the position stands still."""
        moves = {self._cursor(market): position_ms} if position_ms > self._positions[market] else {}
        if not out and not moves:
            return
        decisions = [record for record in out if isinstance(record, Decision)]
        fills = [record for record in out if isinstance(record, Fill)]
        told = [_decision_event(item) for item in decisions] + [_fill_event(item) for item in fills]
        positions = self._state.positions(market)

        async def write(conn: Connection) -> None:
            await records.store_records(conn, out, positions)
            await tell(conn, told, self.session.config.notify)

        await self.commit(moves, write, at_ms=position_ms)
        self._positions[market] = max(position_ms, self._positions[market])
        self._tally(out, decisions)

    async def _alert(self, cause: str, title: str, message: str, over: bool) -> None:
        event = alert_event(cause, title, message, max(self._positions.values()), self.book, over=over)
        self.log.log(logging.INFO if over else logging.ERROR, title, detail=message)
        await self.commit({}, lambda conn: tell(conn, [event], self.session.config.notify))

    def _tally(self, out: list[Record], decisions: list[Decision]) -> None:
        done_ns = time.time_ns()
        self._latencies.extend((done_ns - item.received_ns) / 1e6 for item in decisions if item.received_ns)
        for record in out:
            name = type(record).__name__
            self._counts[name] = self._counts.get(name, 0) + 1


async def _insert_deposits(conn: Connection, deposits: list[Transfer]) -> None:
    await records.insert_transfers(conn, deposits)


def _decision_event(decision: Decision) -> Event:
    return Event(
        kind=EventKind.DECISION,
        event_time_ms=decision.close_ms,
        stream=decision.book,
        payload=decision.to_dict(),
        cause_id=decision.decision_id,
        received_ns=decision.received_ns,
    )


def _fill_event(fill: Fill) -> Event:
    return Event(
        kind=EventKind.FILL,
        event_time_ms=fill.time_ms,
        stream=fill.book,
        payload=fill.to_dict(),
        cause_id=fill.fill_id,
    )


Execution = ray.remote(ExecutionActor)
