"""The feed actor: one market of one venue, from the socket to the recorder."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
from ray.exceptions import RayError

from actors.edge import MAX_ITEMS, pack
from actors.runtime import Actor
from actors.session import Session, actor_name
from actors.told import candle_payload
from trading.candles import Candle
from trading.clock import TimeSample
from trading.events import Batch, Event, EventKind, Heal, StreamItem, end_ms
from trading.feed_events import Anomaly
from trading.instances import history_ms
from trading.intervals import MINUTE_MS
from trading.venues.binance.session import MarketFeed, Outlets

__all__ = ["Feed", "FeedActor"]

_RETRY_S = 0.2


class FeedActor(Actor):
    """Holds nothing that lasts: what the recorder has not acknowledged is pushed again, or fetched again after a
    restart.
    """

    role = "feed"

    async def __init__(self, session: Session, market: str) -> None:
        super().__init__(session, market)
        self.market = market
        self._recorder: Any = None
        self._told_ms = 0
        self._notes: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(MAX_ITEMS)
        self._feed: MarketFeed
        self.start()

    async def bootstrap(self) -> None:
        session = self.session
        high_water: int | None = await self._call("high_water", self.market)
        missing = await self._call("open_holes", self.market)
        self._told_ms = high_water or 0
        warmup_ms = (session.start_ms - history_ms(session.config)) // MINUTE_MS * MINUTE_MS
        self._feed = MarketFeed(
            self.market,
            session.config.venues.binance,
            Outlets(
                deliver=self._deliver,
                forming=None if session.lockstep else self._forming,
                quality=self._quality,
                status=self._status,
            ),
            origin=session.origin,
            time_rate=session.time_rate,
        )
        self.spawn(self._tell_notes())
        self.spawn(self._feed.run(high_water, warmup_from_ms=warmup_ms, missing=tuple(missing)))

    async def handle(self, message: Any) -> None:
        raise TypeError(f"a feed takes no {type(message).__name__}")

    async def close(self) -> None:
        await self._feed.stop()
        await super().close()

    def facts(self) -> dict[str, Any]:
        return {"feed": self._feed.stats()} if self._ready.is_set() else {}

    async def _deliver(self, items: list[StreamItem], clock: TimeSample | None) -> None:
        upto_ms = max([self._told_ms, *(end_ms(item) for item in items if not isinstance(item, Heal))])
        batch = Batch(self.market, self._told_ms, upto_ms, tuple(items), clock)
        stored = await self._call("push", pack(batch))
        self._told_ms = max(upto_ms, stored or 0)

    async def _forming(self, candle: Candle) -> None:
        # Only for looking at: nobody waits for it, and a lost one is replaced a second later.
        if self._recorder is not None:
            self._recorder.forming.remote(candle_payload(candle))

    async def _quality(self, anomaly: Anomaly) -> None:
        await self._notes.put(("anomaly", anomaly))

    async def _status(self, up: bool, reason: str) -> None:
        now_ms = self._feed.venue_now_ms() or self._told_ms
        kind = EventKind.FEED_UP if up else EventKind.FEED_DOWN
        self.log.warning("feed up" if up else "feed down", reason=reason)
        event = Event(
            kind=kind,
            event_time_ms=now_ms,
            stream=self.market,
            payload={"market": self.market, "reason": reason},
            cause_id=f"{kind}:{self.market}:{now_ms}",
            received_ns=time.time_ns(),
        )
        await self._notes.put(("event", event))

    async def _tell_notes(self) -> None:
        while True:
            notes = [await self._notes.get()]
            while not self._notes.empty() and len(notes) < MAX_ITEMS:
                notes.append(self._notes.get_nowait())
            await self._call("note", notes)

    async def _call(self, method: str, *arguments: Any) -> Any:
        """Call the recorder until it answers; everything it is told may be told twice."""
        while True:
            try:
                if self._recorder is None:
                    self._recorder = ray.get_actor(actor_name("recorder"), namespace=self.session.namespace)
                return await getattr(self._recorder, method).remote(*arguments)
            except (RayError, ValueError) as error:
                self.log.warning("recorder away", error=type(error).__name__)
                self._recorder = None
                await asyncio.sleep(_RETRY_S)


Feed = ray.remote(FeedActor)
