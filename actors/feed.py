"""The feed actor: one market of one venue, from the socket to the recorder."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from actors.edge import MAX_ITEMS, pack
from actors.hole_keeper import HoleWatch
from actors.natives import Natives
from actors.runtime import Actor, Process
from actors.session import Session, actor_name
from actors.told import candle_payload
from trading.candles import Candle, Hole
from trading.clock import TimeSample
from trading.events import Batch, Event, EventKind, StreamItem, end_ms, start_ms
from trading.feed_events import Anomaly
from trading.instances import history_ms
from trading.intervals import MINUTE_MS
from trading.markets import split_market
from trading.recording import Ack
from trading.spans import Span
from trading.venues.session import MarketFeed, Outlets

__all__ = ["Feed", "FeedActor"]

_RETRY_S = 0.2


class FeedActor(Actor):
    """Holds nothing that lasts: what the recorder has not taken is pushed again; what it took but did not store,
    because it ended, and what it dropped, because Postgres was away for long, is fetched again.
    """

    role = "feed"

    async def __init__(self, session: Session, market: str, process: Process | None = None) -> None:
        super().__init__(session, market, process)
        self.market = market
        self._owns_process = process is None
        self._recorder: Any = None
        self._told_ms = 0
        self._notes: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(MAX_ITEMS)
        self._notes_dropped = self._started_over = 0
        self._watched: tuple[int, int] | None = None
        self._forming_call: asyncio.Future[Any] | None = None
        self._feed: MarketFeed
        self._holes: HoleWatch
        self.start()

    async def bootstrap(self) -> None:
        session = self.session
        high_water: int | None = await self._call("high_water", self.market)
        missing = await self._call("open_holes", self.market)
        was_down = await self._call("told_down", self.market)
        unconfirmed: list[Candle] = []
        self._told_ms = high_water or 0
        warmup_ms = (session.start_ms - history_ms(session.config)) // MINUTE_MS * MINUTE_MS
        gateway = self.process.gateway(split_market(self.market)[0])
        if not gateway.adapter.proves_close:
            unconfirmed = await self._call("unconfirmed", self.market)
        natives = Natives(self.market, session, gateway.adapter, gateway.history, self._call)
        await natives.load(first=high_water is None)
        self._feed = MarketFeed(
            self.market,
            gateway,
            Outlets(
                deliver=self._deliver,
                forming=None if session.lockstep else self._forming,
                quality=self._quality,
                status=self._status,
            ),
            time_rate=session.time_rate,
        )
        self.spawn(self._tell_notes())
        self.spawn(natives.keep())
        self._holes = HoleWatch(session, self._feed, self.process.gateway, self._call)
        start = {"missing": tuple(missing), "was_down": was_down, "unconfirmed": tuple(unconfirmed)}
        self.spawn(self._run(high_water, warmup_ms, start))

    async def handle(self, message: Any) -> None:
        raise TypeError(f"a feed takes no {type(message).__name__}")

    async def refetch(self, _market: str, spans: list[Span]) -> None:
        """Ask the venue for told minutes [from, to) that storage turned out to lack."""
        await self._ready.wait()
        for from_ms, to_ms in spans:
            self._feed.refetch(from_ms, to_ms)

    async def close(self, within_s: float) -> None:
        if self._ready.is_set():
            await self._feed.stop()
        await super().close(within_s)
        if self._owns_process:
            await self.process.close()

    def cut(self) -> None:
        self._feed.cut()

    def facts(self) -> dict[str, Any]:
        if not self._ready.is_set():
            return {}
        return {
            "feed": self._feed.stats(),
            "lender": {"market": self.market, **lender} if (lender := self._holes.facts()) else None,
            "notes_dropped": self._notes_dropped,
            "started_over": self._started_over,
        }

    async def _run(self, high_water: int | None, warmup_ms: int, start: dict[str, Any]) -> None:
        if high_water is None:
            await self._holes.seed(warmup_ms, lambda items: self._deliver(list(items), None))
            high_water = self._told_ms or None
        # Others find holes too, and what an answer named as lost may have been lost with the answer.
        self.spawn(self._holes.run(lambda: self._told_ms))
        await self._feed.run(high_water, warmup_from_ms=warmup_ms, **start)

    async def _deliver(self, items: list[StreamItem], clock: TimeSample | None) -> None:
        minutes = [item for item in items if isinstance(item, Candle | Hole)]
        # The first history begins wherever the venue's does; from then on every batch joins the one before.
        prev_ms = start_ms(minutes[0]) if minutes and self._told_ms else self._told_ms
        upto_ms = max([prev_ms, *map(end_ms, minutes)])
        self.boundary("after_read", upto_ms)
        batch = pack(Batch(self.market, prev_ms, upto_ms, tuple(items), clock))
        ack: Ack = await self._call("push", batch, boundary=lambda name: self.boundary(name, upto_ms))
        if ack.behind:
            await self._start_over()
            return
        self._told_ms = upto_ms
        self._fetch_again(ack)
        if not ack.stored:
            self._watch(ack)

    def _fetch_again(self, ack: Ack) -> None:
        for from_ms, to_ms in ack.lost:
            self._feed.refetch(from_ms, to_ms)

    def _watch(self, ack: Ack) -> None:
        """See what becomes of what the recorder holds: one task asks, for the newest ticket."""
        asking, self._watched = self._watched is not None, (ack.epoch, ack.ticket)
        if not asking:
            self.spawn(self._settle())

    async def _settle(self) -> None:
        while self._watched is not None:
            epoch, ticket = self._watched
            ack: Ack = await self._call("settled", self.market, epoch, ticket)
            if ack.behind:
                self._watched = None
                await self._start_over()
                return
            self._fetch_again(ack)
            if self._watched == (epoch, ticket):
                self._watched = None

    async def _start_over(self) -> None:
        """The recorder ended with something that it had not stored: tell everything after its last commit again."""
        high_water: int | None = await self._call("high_water", self.market)
        missing = await self._call("open_holes", self.market)
        self.log.warning("the recorder lost what it held", high_water=high_water)
        self._started_over += 1
        self._told_ms = high_water or 0
        self._feed.resume(high_water, tuple(missing))

    async def _forming(self, candle: Candle) -> None:
        # Only for looking at: nobody waits for it, and one that the recorder has no time for is replaced by the next.
        if self._recorder is not None and (self._forming_call is None or self._forming_call.done()):
            self._forming_call = asyncio.ensure_future(_unheard(self._recorder.forming.remote(candle_payload(candle))))

    async def _quality(self, anomaly: Anomaly) -> None:
        if self._notes.qsize() >= MAX_ITEMS // 2:
            # A flood of bad messages must keep neither the candles waiting nor what is told of the feed itself.
            self._notes_dropped += 1
        else:
            self._notes.put_nowait(("anomaly", anomaly))

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

    async def _call(self, method: str, *arguments: Any, boundary: Callable[[str], None] = lambda _name: None) -> Any:
        """Call the recorder until it answers; everything it is told may be told twice."""
        while True:
            try:
                if self._recorder is None:
                    self._recorder = ray.get_actor(actor_name("recorder"), namespace=self.session.namespace)
                boundary("before_send")
                answer = getattr(self._recorder, method).remote(*arguments)
                boundary("after_send")
                answered = await answer
                boundary("after_ack")
            except (RayError, ValueError) as error:
                self.log.warning("recorder away", error=type(error).__name__)
                self._recorder = None
                await asyncio.sleep(_RETRY_S)
            else:
                return answered


async def _unheard(call: Any) -> None:
    with contextlib.suppress(RayError):
        await call


Feed = ray.remote(FeedActor)
