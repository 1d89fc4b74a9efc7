"""The execution actor: one book. Fills first, then decisions, and nothing is done that is not committed."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import ray

from actors.brain import load_instances
from actors.edge import unpack
from actors.runtime import Writer, windows
from actors.session import Session
from trading.accounts.books import divide_capital
from trading.accounts.execution import ExecutionState
from trading.accounts.records import Decision, EquityMark, Fill, Order, Record, Transfer
from trading.candles import Candle
from trading.clock import TimeSample, VenueClock
from trading.events import Batch, Event, EventKind, Signal
from trading.notify.routing import outbox_rows
from trading.storage import events, markets, outbox, rebuild, records
from trading.storage.database import Connection

__all__ = ["Execution", "ExecutionActor"]

_LATENCIES = 10_000


class ExecutionActor(Writer):
    """Trades one book on paper.

    Durable, in one transaction with the cursor: decisions, orders, fills, transfers, positions, equity, events and
    messages. Rebuilt: the books, from fills and transfers. A failed push means nothing; what was missed is pulled
    from storage.
    """

    role = "execution"

    async def __init__(self, session: Session, book: str) -> None:
        super().__init__(session, book)
        self.book = book
        self._state: ExecutionState
        self._positions: dict[str, int] = {}
        self._clock = VenueClock(session.time_rate)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._counts: dict[str, int] = {}
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        config = self.session.config
        instances = [
            item for item in await self.read(lambda conn: load_instances(conn, self.session)) if item.book == self.book
        ]
        known = await self.read(markets.read_markets)
        self._state = ExecutionState(
            self.book,
            config.books[self.book],
            divide_capital(instances, self.book, config.books[self.book].capital),
            known,
        )
        traded = [name for name in config.markets if any(name in item.markets for item in instances)]
        self._positions = await self.committed({name: self._cursor(name) for name in traded})
        restart = await self.read(lambda conn: rebuild.read_restart(conn, self.book, self._positions))
        self._state.restore(**restart._asdict())
        self._state.validate()
        deposits = self._state.start()
        await self.commit({}, lambda conn: _insert_deposits(conn, deposits))
        if self.session.time_rate == 1:
            # Until a push brings the venue's own time: a backlog that waits in storage must be seen to be late.
            now_ns = time.time_ns()
            self._clock.observe(TimeSample(now_ns // 1_000_000, now_ns))
        first_ms = min(item.live_from_ms for item in instances)
        for market in traded:
            self._positions.setdefault(market, first_ms)
            await self._pull(market, None)

    async def push(self, packed: bytes) -> int:
        """Accept candles and signals in order; returns the committed watermark."""
        batch = unpack(packed)
        await self.put(batch)
        return self._positions.get(batch.market, 0)

    async def handle(self, message: Batch) -> None:
        self.boundary("after_read", message.upto_ms)
        self._clock.observe(message.clock)
        if self._positions[message.market] < message.prev_ms:
            await self._pull(message.market, message.prev_ms)
        await self._trade(message.market, message.upto_ms, message.items)

    def facts(self) -> dict[str, Any]:
        return {
            "positions": dict(self._positions),
            "counts": dict(self._counts),
            "latencies_ms": [round(value, 3) for value in self._latencies],
        }

    def _cursor(self, market: str) -> str:
        return f"execution:{self.book}:{market}"

    async def _pull(self, market: str, upto_ms: int | None) -> None:
        """Read from storage what the brain committed but did not manage to push."""
        end = await self.sender_position(f"brain:{market}", upto_ms)
        for begin, stop in windows(self._positions[market], end):
            items = await self.read(lambda conn, a=begin, b=stop: rebuild.read_stream(conn, self.book, market, a, b))
            await self._trade(market, stop, items)

    async def _trade(self, market: str, upto_ms: int, items: Any) -> None:
        before = self._positions[market]
        if upto_ms <= before:
            return
        host_ns = time.time_ns()
        out: list[Record] = []
        for item in items:
            if isinstance(item, Candle | Signal) and item.close_time_ms > before:
                out += self._state.handle(item, self._clock.now_ms(host_ns, item.close_time_ms))
        decisions = [record for record in out if isinstance(record, Decision)]
        fills = [record for record in out if isinstance(record, Fill)]
        told = [_decision_event(item) for item in decisions] + [_fill_event(item) for item in fills]
        positions = self._state.positions(market)

        async def write(conn: Connection) -> None:
            await records.insert_decisions(conn, decisions)
            await records.upsert_orders(conn, [record for record in out if isinstance(record, Order)])
            await records.insert_fills(conn, fills)
            await records.insert_transfers(conn, [record for record in out if isinstance(record, Transfer)])
            await records.upsert_equity(conn, [record for record in out if isinstance(record, EquityMark)])
            await records.upsert_positions(conn, positions)
            await events.append_events(conn, told)
            await outbox.enqueue(
                conn, [row for event in told for row in outbox_rows(event, self.session.config.notify)]
            )

        await self.commit({self._cursor(market): upto_ms}, write)
        self._positions[market] = upto_ms
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
