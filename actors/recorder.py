"""The recorder: everything that the feeds learn becomes durable here, before anybody else sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import ray

from actors.edge import MAX_ITEMS, Edge, flush, unpack
from actors.freshness import FreshnessWatch, store_turns
from actors.packing import holder
from actors.runtime import Writer
from actors.session import Session
from actors.told import candle_event, hole_event
from trading.candles import Candle, Hole, Source
from trading.clock import TimeSample
from trading.confirmations import MOST_WAITING
from trading.events import Event, EventKind, Rebuild, StreamItem
from trading.freshness import Turn
from trading.intervals import MINUTE_MS
from trading.markets import split_market
from trading.notify.routing import alert_event, tell
from trading.recording import Ack, Offered, Portion, Recording
from trading.storage import candles, clocks, events, natives, quality
from trading.storage.database import Connection
from trading.storage.recorded import store_told

__all__ = ["RecorderActor"]

_STORE: Final = object()
_FORMING: Final = object()
_LOOK: Final = object()
# How long a push waits for its commit before it answers that what it brought is held, not stored.
_ANSWER_S = 1.0
# A commit that takes longer than this is one whose end nobody knows: Postgres counts as away.
_AWAY_AFTER_S = 5.0
_TELL_AFTER_S = 60.0


class RecorderActor(Writer):
    """Writes 1m candles and data quality of all markets.

    ``push`` answers as soon as what it brought is committed, or after a second that it is held: while Postgres is slow,
    away or hangs, up to ``storage.recorder_buffer`` candles a market are, and what came meanwhile goes into one commit.
    Beyond that the oldest are dropped, stored as missing once Postgres is back, and named to the feed, which fetches
    them again. What is held is lost with this process; the feed learns it from the next answer, or because ``settled``
    fails, and starts over at what is committed. A failed call means nothing: push again, repeats change nothing.
    Downstream actors are told after the commit.
    """

    role = "recorder"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._recording: Recording
        self._edges: dict[str, Edge] = {}
        self._forming: dict[str, dict[str, Any]] = {}
        self._asked: set[object] = set()
        self._changed = asyncio.Event()
        self._busy_since: float | None = None
        self._held_up_s = 0.0
        self._overflowing = False
        self._clocks: dict[str, TimeSample] = {}
        self._freshness: FreshnessWatch
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        markets = self.session.config.markets
        known = await self.committed({name: self._cursor(name) for name in markets})
        self._recording = Recording(
            {name: known.get(name, 0) for name in markets}, self.session.config.storage.recorder_buffer
        )
        self._freshness = await FreshnessWatch.begin(self, {name: known.get(name, 0) for name in markets})
        self.spawn(self._freshness.run(lambda: self._ask(_LOOK)))
        for market in markets:
            edge = Edge(self.session.namespace, holder(self.session.config, "timeframe", market), market, self.boundary)
            self._edges[market] = edge
            self.spawn(edge.run())
            edge.nudge(known.get(market, 0))

    async def high_water(self, market: str) -> int | None:
        """Close time up to which every minute of ``market`` is told and committed; None before the first."""
        await self._ready.wait()
        return self._recording.committed_ms(market) or None

    async def open_holes(self, market: str) -> list[tuple[int, int]]:
        """Minutes of ``market`` that are still missing, as [from, to) ms."""
        await self._ready.wait()
        found = await self.read(lambda conn: quality.open_holes(conn, market))
        return [(hole.from_ms, hole.to_ms) for hole in found]

    async def lent(self, market: str, from_ms: int, limit: int) -> list[tuple[int, int]]:
        """The newest ``limit`` minutes of ``market`` from ``from_ms`` on that another market lent, as [from, to) ms."""
        await self._ready.wait()
        return await self.read(lambda conn: candles.lent_spans(conn, market, from_ms, limit))

    async def unconfirmed(self, market: str) -> list[Candle]:
        """Those of the newest committed minutes of ``market`` that only its stream told; one request confirms them."""
        await self._ready.wait()
        from_ms = self._recording.committed_ms(market) - MOST_WAITING * MINUTE_MS
        return await self.read(
            lambda conn: candles.read_candles(conn, market, "1m", from_ms=from_ms, source=Source.LIVE)
        )

    async def told_down(self, market: str) -> bool:
        """Whether the last that was told of the feed of ``market`` is that it is down."""
        await self._ready.wait()
        kinds = (EventKind.FEED_DOWN, EventKind.FEED_UP)
        return await self.read(lambda conn: events.last_kind(conn, market, kinds)) == EventKind.FEED_DOWN

    async def push(self, packed: bytes) -> Ack:
        """Take a batch of Candle, Hole and Heal items; see the class for when this answers."""
        await self._ready.wait()
        batch = unpack(packed)
        while (offered := self._recording.offer(batch, away=self._is_away())) is Offered.FULL:
            await self._change(_ANSWER_S)
        if offered is Offered.BEHIND:
            return self._recording.ack(batch.market, self._epoch(), behind=True)
        self._note_overflow()
        ack = self._recording.ack(batch.market, self._epoch())
        if ack.stored:
            return ack
        self._ask(_STORE)
        await self._until(lambda: self._recording.stored(batch.market, ack.ticket), _ANSWER_S)
        return self._merged(batch.market, ack)

    async def settled(self, market: str, epoch: int, ticket: int) -> Ack:
        """Answer once what ``ticket`` stands for is committed; at once when another process had given the ticket."""
        await self._ready.wait()
        ack = self._recording.ack(market, self._epoch(), behind=epoch != self._epoch())
        if ack.behind:
            return ack
        await self._until(lambda: self._recording.stored(market, ticket), None)
        return self._merged(market, ack)

    async def lacking_natives(
        self, market: str, wanted: dict[str, int], closed_by_ms: int, begins_ms: int
    ) -> natives.Lacking:
        """Which longer candles of ``market`` only the venue can tell of; see ``storage.natives``."""
        await self._ready.wait()
        start_ms = self.session.start_ms
        return await self.read(
            lambda conn: natives.lacking_natives(
                conn, market, wanted, closed_by_ms=closed_by_ms, begins_ms=begins_ms, start_ms=start_ms
            )
        )

    async def store_natives(self, market: str, packed: bytes) -> None:
        """Store the venue's own candles of ``market``, where they hold; what is new makes features begin anew."""
        await self._ready.wait()
        found = [item for item in unpack(packed).items if isinstance(item, Candle)]
        from_ms: int | None = None

        async def write(conn: Connection) -> None:
            nonlocal from_ms
            from_ms = await natives.store_natives(conn, found)

        await self.commit({}, write)
        at_ms = self._recording.committed_ms(market)
        if from_ms is not None and at_ms:
            self._edges[market].send(at_ms, at_ms, (Rebuild(market, from_ms),), None)

    async def note(self, notes: list[tuple[str, Any]]) -> None:
        """Record anomalies, feed transitions and reasons of holes: pairs ('anomaly', Anomaly), ('event', Event) or
        ('why', Why).
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self.put((notes, done))
        await done

    async def tell_rebuild(self, market: str, from_ms: int) -> None:
        """Tell downstream that stored minutes from ``from_ms`` on are others than it saw."""
        await self._ready.wait()
        at_ms = self._recording.committed_ms(market)
        self._edges[market].send(at_ms, at_ms, (Rebuild(market, from_ms),), None)

    async def forming(self, payload: dict[str, Any]) -> None:
        """Tell listeners about the candle that is still open; lost when nobody listens or Postgres is away."""
        await self._ready.wait()
        if not self._is_away():
            self._forming[payload["market"]] = payload
            self._ask(_FORMING)

    async def handle(self, message: Any) -> None:
        self._busy_since = time.monotonic()
        if message is _STORE:
            self._asked.discard(message)
            await self._store()
        elif message is _FORMING:
            self._asked.discard(message)
            await self._tell_forming()
        elif message is _LOOK:
            self._asked.discard(message)
            await self._look()
        else:
            notes, done = message
            await self._notes(notes)
            if not done.done():
                done.set_result(None)
        self._held_up_s = 0.0 if message is _STORE else self._held_up_s + self._busy_s()
        self._busy_since = None

    def _busy_s(self) -> float:
        """How long the message at hand takes already, if that is long."""
        busy_s = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        return busy_s if busy_s > _AWAY_AFTER_S else 0.0

    async def drain(self) -> None:
        await self._until(lambda: not (self._recording.waiting or self._recording.flying), None)
        await super().drain()

    async def close(self, within_s: float) -> None:
        await flush(self._edges.values(), within_s)
        await super().close(within_s)

    def facts(self) -> dict[str, Any]:
        if not self._ready.is_set():
            return {"positions": {}}
        return {
            **self._recording.facts(),
            "postgres_away": self._is_away(),
            "edges": {market: edge.stats() for market, edge in self._edges.items()},
        }

    @staticmethod
    def _cursor(market: str) -> str:
        return f"recorder:{market}"

    def _epoch(self) -> int:
        return self.lease.epoch or 0

    def _is_away(self) -> bool:
        return self._away or self._busy_s() > 0

    def _ask(self, message: object) -> None:
        """Put ``message`` into the inbox, unless it waits there already."""
        if message not in self._asked:
            self._asked.add(message)
            self.spawn(self.put(message))

    async def _until(self, holds: Callable[[], bool], within_s: float | None) -> None:
        """Wait until ``holds``, looking after each commit, or for ``within_s`` seconds."""
        deadline = None if within_s is None else time.monotonic() + within_s
        while not holds() and (deadline is None or time.monotonic() < deadline):
            await self._change(None if deadline is None else deadline - time.monotonic())

    async def _change(self, within_s: float | None) -> None:
        """Wait for the end of a commit, at most ``within_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within_s)

    def _merged(self, market: str, before: Ack) -> Ack:
        now = self._recording.ack(market, self._epoch())
        return now._replace(
            ticket=before.ticket, stored=self._recording.stored(market, before.ticket), lost=(*before.lost, *now.lost)
        )

    def _note_overflow(self) -> None:
        if self._recording.overflowing and not self._overflowing:
            self._overflowing = True
            self.log.warning("buffer full: the oldest candles are dropped, and fetched again later")

    async def _store(self) -> None:
        portions = self._recording.take()
        if not portions:
            return
        self.boundary("after_read", max(portion.upto_ms for portion in portions))
        moves = {self._cursor(each.market): each.upto_ms for each in portions if each.upto_ms > each.prev_ms}
        turns = self._freshness.turns(self._recording.accepted_ms(), portions)
        await self.commit(moves, lambda conn: self._write(conn, portions, turns))
        self._recording.done()
        self._clocks |= self._told_clocks(portions)
        for portion in portions:
            for prev_ms, upto_ms, part in portion.pieces(MAX_ITEMS):
                self._edges[portion.market].send(prev_ms, upto_ms, part, portion.clock)
        if self._overflowing and not self._recording.overflowing:
            self._overflowing = False
            self.log.info("dropped candles are stored as missing", dropped=self._recording.facts()["dropped_candles"])
        before, self._changed = self._changed, asyncio.Event()
        before.set()
        if self._recording.waiting:
            self._ask(_STORE)

    async def _look(self) -> None:
        if turns := self._freshness.turns(self._recording.accepted_ms()):

            async def write(conn: Connection) -> None:
                await tell(conn, await store_turns(conn, turns), self.session.config.notify)

            await self.commit({}, write)

    async def _write(self, conn: Connection, portions: Sequence[Portion], turns: Sequence[Turn]) -> None:
        items = [item for portion in portions for item in portion.items]
        await store_told(conn, items, self.session.config.all_intervals())
        for note in (note for portion in portions for note in portion.notes):
            await quality.record_anomaly(conn, note)
        for venue, clock in self._told_clocks(portions).items():
            await clocks.note_clock(conn, venue, clock)
        told = [*self._events(items), *self._outage(portions), *await store_turns(conn, turns)]
        await tell(conn, told, self.session.config.notify)

    def _outage(self, portions: Sequence[Portion]) -> list[Event]:
        """While Postgres is away nobody can be told; what this commit waited for is told with it."""
        waited_s = self._held_up_s + self._busy_s()
        if waited_s < _TELL_AFTER_S:
            return []
        upto_ms = max(portion.upto_ms for portion in portions)
        facts = self._recording.facts()
        message = f"{facts['buffered']} candles wait; {facts['dropped_candles']} were dropped and are fetched again."
        title = f"Postgres was away for {waited_s / 60:.0f} minutes"
        return [alert_event(f"postgres:{upto_ms}", title, message, upto_ms, "system")]

    def _told_clocks(self, portions: Sequence[Portion]) -> dict[str, TimeSample]:
        """The venues' newest times, where ``portions`` bring one that is not stored yet."""
        found = {split_market(each.market)[0]: each.clock for each in portions if each.clock is not None}
        return {venue: clock for venue, clock in found.items() if clock != self._clocks.get(venue)}

    async def _tell_forming(self) -> None:
        told, self._forming = list(self._forming.values()), {}

        async def notify(conn: Connection) -> None:
            await conn.executemany("select pg_notify('manta_forming', $1)", [(json.dumps(each),) for each in told])

        await self.read(notify)

    async def _notes(self, notes: list[tuple[str, Any]]) -> None:
        self._freshness.heard(notes)

        async def write(conn: Connection) -> None:
            for kind, body in notes:
                if kind == "anomaly":
                    await quality.record_anomaly(conn, body)
                elif kind == "why":
                    await quality.explain_hole(conn, body)
            await tell(conn, [body for kind, body in notes if kind == "event"], self.session.config.notify)

        await self.commit({}, write)

    def _events(self, items: Iterable[StreamItem]) -> list[Event]:
        out = []
        for item in items:
            if isinstance(item, Candle) and item.close_time_ms > self.session.start_ms:
                out.append(candle_event(item))
            elif isinstance(item, Hole):
                out.append(hole_event(item))
        return out


Recorder = ray.remote(RecorderActor)
