"""The recorder: everything that the feeds learn becomes durable here, before anybody else sees it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ray

from actors.edge import Edge, unpack
from actors.runtime import Writer
from actors.session import Session, actor_name
from actors.told import candle_event, hole_event
from trading.candles import Candle, Hole
from trading.events import Batch, Event, Heal, end_ms
from trading.notify.routing import outbox_rows
from trading.storage import candles, events, outbox, quality
from trading.storage.database import Connection

__all__ = ["RecorderActor"]


class RecorderActor(Writer):
    """Writes 1m candles and data quality of all markets.

    ``push`` returns the market's committed watermark only after the commit, so a feed may forget what was pushed. A
    failed call means nothing: push again, repeats change nothing. Downstream actors are told after the commit.
    """

    role = "recorder"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._positions: dict[str, int] = {}
        self._edges: dict[str, Edge] = {}
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        self._positions = await self.committed({name: self._cursor(name) for name in self.session.config.markets})
        for market in self.session.config.markets:
            edge = Edge(self.session.namespace, actor_name("timeframe", market), market)
            self._edges[market] = edge
            self.spawn(edge.run())
            edge.nudge(self._positions.get(market, 0))

    async def high_water(self, market: str) -> int | None:
        """Close time up to which every minute of ``market`` is told and committed; None before the first."""
        await self._ready.wait()
        return self._positions.get(market)

    async def open_holes(self, market: str) -> list[tuple[int, int]]:
        """Minutes of ``market`` that are still missing, as [from, to) ms."""
        await self._ready.wait()
        found = await self.read(lambda conn: quality.open_holes(conn, market))
        return [(hole.from_ms, hole.to_ms) for hole in found]

    async def push(self, packed: bytes) -> int | None:
        """Commit a batch of Candle, Hole and Heal items and return the market's watermark."""
        batch = unpack(packed)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.put((batch, done))
        await done
        return self._positions.get(batch.market)

    async def note(self, notes: list[tuple[str, Any]]) -> None:
        """Record anomalies and feed transitions: pairs ('anomaly', AnomalyRow) or ('event', Event)."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.put((notes, done))
        await done

    async def forming(self, payload: dict[str, Any]) -> None:
        """Tell listeners about the candle that is still open; lost when nobody listens."""
        await self.put((payload, None))

    async def handle(self, message: Any) -> None:
        body, done = message
        if isinstance(body, Batch):
            await self._batch(body)
        elif isinstance(body, dict):
            await self.read(lambda conn: conn.execute("select pg_notify('manta_forming', $1)", json.dumps(body)))
        else:
            await self._notes(body)
        if done is not None and not done.done():
            done.set_result(None)

    async def close(self) -> None:
        for edge in self._edges.values():
            await asyncio.wait([asyncio.ensure_future(edge.flush())], timeout=5)
        await super().close()

    def facts(self) -> dict[str, Any]:
        return {"positions": dict(self._positions)}

    @staticmethod
    def _cursor(market: str) -> str:
        return f"recorder:{market}"

    async def _batch(self, batch: Batch) -> None:
        market, before = batch.market, self._positions.get(batch.market)
        fresh = [item for item in batch.items if isinstance(item, Heal) or end_ms(item) > (before or 0)]
        upto = max(batch.upto_ms, before or 0)
        self.boundary("after_read", upto)

        async def write(conn: Connection) -> None:
            await candles.upsert_candles(conn, [item for item in fresh if isinstance(item, Candle)])
            for item in fresh:
                if isinstance(item, Hole):
                    await quality.record_hole(conn, item)
                elif isinstance(item, Heal):
                    await candles.upsert_candles(conn, item.candles)
                    await quality.resolve_hole(conn, item)
            await events.append_events(conn, self._events(fresh))

        await self.commit({self._cursor(market): upto} if upto > (before or 0) else {}, write)
        self._positions[market] = upto
        self._edges[market].send(before or 0, upto, fresh, batch.clock)

    async def _notes(self, notes: list[tuple[str, Any]]) -> None:
        told = [body for kind, body in notes if kind == "event"]

        async def write(conn: Connection) -> None:
            for kind, body in notes:
                if kind == "anomaly":
                    await quality.record_anomaly(conn, body)
            await events.append_events(conn, told)
            await outbox.enqueue(
                conn, [row for event in told for row in outbox_rows(event, self.session.config.notify)]
            )

        await self.commit({}, write)

    def _events(self, items: list[Any]) -> list[Event]:
        out = []
        for item in items:
            if isinstance(item, Candle) and item.close_time_ms > self.session.start_ms:
                out.append(candle_event(item))
            elif isinstance(item, Hole):
                out.append(hole_event(item))
        return out


Recorder = ray.remote(RecorderActor)
