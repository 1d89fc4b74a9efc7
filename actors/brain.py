"""The brain actor: closed candles in, targets out. It knows nothing of positions."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from actors.edge import Edge, unpack
from actors.runtime import Writer, windows
from actors.session import Session, actor_name
from trading.brain import BrainState, FeatureValue, Reseed
from trading.events import Batch, Signal, StreamItem
from trading.instances import Instance, resolve_instances
from trading.intervals import parse_interval
from trading.storage import candles, quality, records
from trading.storage.database import Connection

__all__ = ["BrainActor", "load_instances"]


async def load_instances(conn: Connection, session: Session) -> list[Instance]:
    """The configured instances, each with the time from which it decides as it was first stored."""
    known = await records.live_from(conn)
    return resolve_instances(session.config, session.start_ms, known)


class BrainActor(Writer):
    """Steps features and runs the rules of all instances.

    Durable: signals, feature values and the cursor of each market, in one transaction. Rebuilt: features, from as
    many stored candles as each needs to be bit-identical. A failed push means nothing; what was missed is pulled from
    storage.
    """

    role = "brain"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._state: BrainState
        self._positions: dict[str, int] = {}
        self._live_from_ms = 0
        self._edges: dict[str, list[Edge]] = {}
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        config = self.session.config
        instances = await self.read(lambda conn: load_instances(conn, self.session))
        self._positions = await self.committed({name: f"brain:{name}" for name in config.markets})
        self._live_from_ms = min((item.live_from_ms for item in instances), default=0)
        self._state = BrainState(instances, config.features, config.markets, self._positions)
        for market in config.markets:
            books = sorted({item.book for item in instances if market in item.markets})
            self._edges[market] = [
                Edge(self.session.namespace, actor_name("execution", book), market) for book in books
            ]
            for edge in self._edges[market]:
                self.spawn(edge.run())
            if market in self._positions:
                await self._reseed(market, self._positions[market])
            await self._pull(market, None)
            for edge in self._edges[market]:
                edge.nudge(self._positions.get(market, 0))

    async def push(self, packed: bytes) -> int:
        """Accept a batch of candles; returns the committed watermark."""
        batch = unpack(packed)
        await self.put(batch)
        return self._positions.get(batch.market, 0)

    async def handle(self, message: Batch) -> None:
        self.boundary("after_read", message.upto_ms)
        if self._positions.get(message.market, 0) < message.prev_ms:
            await self._pull(message.market, message.prev_ms)
        await self._think(message.market, message.upto_ms, list(message.items), message.clock)

    async def close(self) -> None:
        waits = [asyncio.ensure_future(edge.flush()) for edges in self._edges.values() for edge in edges]
        if waits:
            await asyncio.wait(waits, timeout=5)
        await super().close()

    def facts(self) -> dict[str, Any]:
        return {"positions": dict(self._positions)}

    async def _pull(self, market: str, upto_ms: int | None) -> None:
        """Read from storage what the timeframe actor committed but did not manage to push."""
        end = await self.sender_position(f"timeframe:{market}", upto_ms)
        start = self._positions.get(market)
        if start is None:
            start = await self.read(lambda conn: candles.first_open(conn, market, "1m")) or end
        for begin, stop in windows(start, end):
            items = await self.read(lambda conn, a=begin, b=stop: self._closed_between(conn, market, a, b))
            await self._think(market, stop, items, None)

    async def _closed_between(self, conn: Connection, market: str, from_ms: int, to_ms: int) -> list[StreamItem]:
        """Candles that closed in (from, to] and missing minutes, in the order a timeframe tells them."""
        found: list[tuple[int, int, StreamItem]] = []
        for interval in ("1m", *self.session.config.all_intervals()):
            width = 0 if interval == "1m" else parse_interval(interval).typical_ms
            closed = await candles.read_closed(conn, market, interval, from_ms, to_ms)
            found.extend((candle.close_time_ms, width, candle) for candle in closed)
        found.extend((hole.to_ms, -1, hole) for hole in await quality.holes_between(conn, market, from_ms, to_ms))
        found.sort(key=lambda entry: entry[:2])
        return [entry[2] for entry in found]

    async def _think(self, market: str, upto_ms: int, items: list[StreamItem], clock: Any) -> None:
        told: list[StreamItem] = []
        values: list[FeatureValue] = []
        for item in items:
            for out in self._state.handle(item):
                if isinstance(out, Reseed):
                    await self._reseed(market, out.upto_ms)
                elif isinstance(out, FeatureValue):
                    values.append(out)
                elif isinstance(out, Signal) or out.close_time_ms > self._live_from_ms:
                    # Execution has no use for candles from before its books began.
                    told.append(out)
        self._state.advance(market, upto_ms)
        signals = [item for item in told if isinstance(item, Signal)]

        async def write(conn: Connection) -> None:
            await records.insert_features(conn, values)
            await records.insert_signals(conn, signals)

        before = self._positions.get(market, 0)
        if upto_ms <= before and not told:
            return
        # Signals follow from committed candles alone, so execution need not wait for our own commit.
        for edge in self._edges[market]:
            edge.send(before, max(upto_ms, before), told, clock)
        await self.commit({f"brain:{market}": upto_ms} if upto_ms > before else {}, write)
        self._positions[market] = max(upto_ms, before)

    async def _reseed(self, market: str, upto_ms: int) -> None:
        for need in self._state.needs(market):
            newest = await self.read(
                lambda conn, need=need: candles.read_candles(
                    conn, market, need.interval, to_ms=upto_ms, limit=need.candles, newest=True
                )
            )
            known = [candle for candle in newest if candle.close_time_ms <= upto_ms]
            start = known[0].open_time_ms if known else upto_ms
            holes = await self.read(lambda conn, a=start: quality.holes_between(conn, market, a, upto_ms))
            self._state.seed(market, need.interval, known, holes)


Brain = ray.remote(BrainActor)
