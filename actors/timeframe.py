"""The timeframe actor: minutes in, every configured interval out."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from actors.edge import Edge, unpack
from actors.runtime import Writer, windows
from actors.session import Session, actor_name
from actors.told import candle_event
from trading.candles import Candle, Hole, HoleReason, Source
from trading.events import Batch, Heal, StreamItem
from trading.storage import candles, cursors, events, quality
from trading.storage.database import Connection
from trading.timeframe import Refold, TimeframeState

__all__ = ["TimeframeActor"]


class TimeframeActor(Writer):
    """Folds one market's minutes and writes the derived candles.

    Durable: derived candles and the cursor, in one transaction. Rebuilt: the open candles, from the minutes since the
    oldest of them opened. A failed push means nothing; what was missed is pulled from storage.
    """

    role = "timeframe"

    async def __init__(self, session: Session, market: str) -> None:
        super().__init__(session, market)
        self.market = market
        self._cursor = f"timeframe:{market}"
        self._edge = Edge(session.namespace, actor_name("brain"), market)
        self._state: TimeframeState
        self._committed_ms = 0
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        config = self.session.config
        position = await self.read(lambda conn: cursors.get_cursor(conn, self._cursor))
        self._state = TimeframeState(
            self.market, config.all_intervals(), config.timeframes.heal_wait_minutes, position_ms=position
        )
        if position is not None:
            self._committed_ms = position
            start = self._state.seed_from_ms or position
            minutes, holes = await self._load(start, position)
            first = await self.read(lambda conn: candles.first_open(conn, self.market, "1m"))
            self._state.seed(minutes, holes, first_ms=first)
        self.spawn(self._edge.run())
        await self._pull(None)
        await self._find_lost_heals()
        self._edge.nudge(self._committed_ms)

    async def push(self, packed: bytes) -> int:
        """Accept a batch; returns the committed watermark."""
        await self.put(unpack(packed))
        return self._committed_ms

    async def handle(self, message: Batch) -> None:
        self.boundary("after_read", message.upto_ms)
        if (self._state.told_ms or 0) < message.prev_ms:
            await self._pull(message.prev_ms)
        if not message.items:
            await self._find_lost_heals()
        await self._fold(list(message.items), message.clock)

    async def close(self) -> None:
        await asyncio.wait([asyncio.ensure_future(self._edge.flush())], timeout=5)
        await super().close()

    def facts(self) -> dict[str, Any]:
        waiting = getattr(self, "_state", None) and self._state.waiting
        return {"position": self._committed_ms, "waiting": waiting._asdict() if waiting else None}

    async def _pull(self, upto_ms: int | None) -> None:
        """Read from storage what was recorded but not pushed, up to ``upto_ms`` or the recorder's cursor."""
        end = await self.sender_position(f"recorder:{self.market}", upto_ms)
        start = self._state.told_ms
        if start is None:
            start = await self.read(lambda conn: candles.first_open(conn, self.market, "1m")) or end
        for begin, stop in windows(start, end):
            minutes, holes = await self._load(begin, stop)
            await self._fold(_in_order(minutes, holes), None)

    async def _find_lost_heals(self) -> None:
        """Handle heals that were committed while nobody told us: the recorder died before its push, or we were away."""
        spans = [(hole.from_ms, hole.to_ms) for hole in (self._state.waiting,) if hole is not None]
        spans += await self.read(lambda conn: candles.incomplete_spans(conn, self.market))
        for from_ms, to_ms in spans:
            minutes, holes = await self._load(from_ms, to_ms)
            if any(hole.reason == HoleReason.MISSING for hole in holes):
                continue
            await self._fold([Heal(self.market, from_ms, to_ms, tuple(minutes), tuple(holes))], None)

    async def _load(self, from_ms: int, to_ms: int) -> tuple[list[Candle], list[Hole]]:
        async def query(conn: Connection) -> tuple[list[Candle], list[Hole]]:
            return (
                await candles.read_candles(conn, self.market, "1m", from_ms=from_ms, to_ms=to_ms),
                await quality.holes_between(conn, self.market, from_ms, to_ms),
            )

        found: tuple[list[Candle], list[Hole]] = await self.read(query)
        return found

    async def _fold(self, items: list[StreamItem], clock: Any) -> None:
        out: list[StreamItem] = []
        for item in items:
            for told in self._state.handle(item):
                if isinstance(told, Refold):
                    out.extend(await self._refold(told, out))
                else:
                    out.append(told)
        position = self._state.position_ms
        if position is None:
            return
        derived = [item for item in out if isinstance(item, Candle) and item.source == Source.DERIVED]
        live = [candle_event(item) for item in derived if item.close_time_ms > self.session.start_ms]

        async def write(conn: Connection) -> None:
            await candles.upsert_candles(conn, derived)
            await events.append_events(conn, live)

        before = self._committed_ms
        if out or position != before:
            # Derived candles follow from committed minutes alone, so the brain need not wait for our own commit.
            self._edge.send(before, position, out, clock)
            await self.commit({self._cursor: position} if position > before else {}, write)
            self._committed_ms = position

    async def _refold(self, wanted: Refold, told: list[StreamItem]) -> list[StreamItem]:
        minutes, holes = await self._load(wanted.from_ms, wanted.to_ms)

        async def known(conn: Connection) -> list[Candle]:
            return [
                candle
                for interval in self.session.config.all_intervals()
                for candle in await candles.read_candles(
                    conn, self.market, interval, from_ms=wanted.from_ms, to_ms=wanted.to_ms
                )
            ]

        stored = {(candle.interval, candle.open_time_ms): candle for candle in await self.read(known)}
        # What this very batch made is not committed yet, and newer than what is.
        stored |= {(item.interval, item.open_time_ms): item for item in told if isinstance(item, Candle)}
        return list(self._state.refolded(minutes, holes, stored.values()))


def _in_order(minutes: list[Candle], holes: list[Hole]) -> list[StreamItem]:
    def key(item: Candle | Hole) -> int:
        return item.from_ms if isinstance(item, Hole) else item.open_time_ms

    return sorted([*minutes, *holes], key=key)


Timeframe = ray.remote(TimeframeActor)
