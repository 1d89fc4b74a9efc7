"""The brain actor: closed candles in, targets out. It knows nothing of positions."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import ray

from actors.edge import Edge, flush
from actors.runtime import Process, Writer, windows
from actors.session import Session, actor_name
from trading.brain import BrainState, FeatureValue, Reseed
from trading.events import Batch, Signal, StreamItem
from trading.instances import Instance, resolve_instances
from trading.intervals import parse_interval
from trading.storage import candles, quality, rebuilds, records
from trading.storage.database import Connection
from trading.storage.folded import unfolded
from trading.storage.retired import retired_markets
from trading.strategies.contract import StrategyFailed

__all__ = ["BrainActor", "load_instances"]

_PAST_POLL_S = 0.05


class _Rebuild(NamedTuple):
    """Look whether stored features of ``market`` are to be made anew."""

    market: str


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

    async def __init__(
        self, session: Session, subject: str = "", markets: tuple[str, ...] = (), process: Process | None = None
    ) -> None:
        """``markets`` are this brain's share of them, told apart by ``subject``; default: all."""
        super().__init__(session, subject, process)
        self.markets = markets or session.config.markets
        self._state: BrainState
        self._positions: dict[str, int] = {}
        self._live_from_ms = 0
        self._edges: dict[str, list[Edge]] = {}
        self._failed: set[tuple[object, type]] = set()
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        config = self.session.config
        instances = await self.read(lambda conn: load_instances(conn, self.session))
        self._positions = await self.committed({name: f"brain:{name}" for name in self.markets})
        self._live_from_ms = min((item.live_from_ms for item in instances), default=0)
        self._state = BrainState(instances, config.features, self.markets, self._positions, self._note_failure)
        kept = [key for market in self.markets for key in self._state.runs(market)]
        self._state.resume(await self.read(lambda conn: records.read_plans(conn, kept, self._positions)))
        # A book needs the candles of what it still holds, though nobody decides on it any more.
        held = await self.read(lambda conn: retired_markets(conn, instances))
        held |= {(item.book, market) for item in instances for market in item.markets}
        for market in self.markets:
            books = sorted(book for book, name in held if name == market and book in config.books)
            self._edges[market] = [
                Edge(self.session.namespace, actor_name("execution", book), market, self.boundary) for book in books
            ]
            for edge in self._edges[market]:
                self.spawn(edge.run())
            if market in self._positions:
                # The timeframe pushes before it commits: when it died too, the candles that we handled may not be
                # stored again yet, and features seeded without them would be wrong for ever.
                await self.sender_position(f"timeframe:{market}", self._positions[market])
                await self._await_past(market)
                await self._reseed(market, self._positions[market])
            await self._pull(market, None)
            for edge in self._edges[market]:
                edge.nudge(self._positions.get(market, 0))
            self._rebuild_soon(market)

    async def _await_past(self, market: str) -> None:
        """A new interval has a past only once the timeframe, which starts beside us, has folded it."""
        intervals = self.session.config.all_intervals()
        while True:
            if not await self.read(lambda conn: unfolded(conn, market, intervals)):
                return
            await asyncio.sleep(_PAST_POLL_S)

    async def push(self, packed: bytes) -> int:
        """Accept a batch of candles; returns the committed watermark."""
        batch = await self.accept(packed)
        return self._positions.get(batch.market, 0)

    async def handle(self, message: Batch | _Rebuild) -> None:
        if isinstance(message, _Rebuild):
            await self._rebuild(message.market)
            return
        self.boundary("after_read", message.upto_ms)
        if message.market not in self._positions and not message.prev_ms:
            await self._warm_up(message.market)
        if self._positions.get(message.market, 0) < message.prev_ms:
            # A repair may have been among what was missed: start from what storage says about the candles before, too.
            if message.market in self._positions:
                await self._reseed(message.market, self._positions[message.market])
            await self._pull(message.market, message.prev_ms)
        await self._think(message.market, message.upto_ms, list(message.items), message.clock)

    async def close(self, within_s: float) -> None:
        await flush((edge for edges in self._edges.values() for edge in edges), within_s)
        await super().close(within_s)

    def _note_failure(self, error: StrategyFailed) -> None:
        """Once for each strategy and kind of mistake: one that fails at every candle would fill the log."""
        key = (error.value, type(error.__cause__))
        if key not in self._failed:
            self._failed.add(key)
            self.log.error("strategy failed and holds", error=error.message)

    def facts(self) -> dict[str, Any]:
        edges = [edge.stats() for edges in self._edges.values() for edge in edges]
        failing = self._state.failures if self._ready.is_set() else {}
        return {
            "positions": dict(self._positions),
            "edges": edges,
            "failing": [[*key, str(error)] for key, error in failing.items()],
        }

    async def _pull(self, market: str, upto_ms: int | None) -> None:
        """Read from storage what the timeframe actor committed but did not manage to push."""
        end = await self.sender_position(f"timeframe:{market}", upto_ms)
        start = self._positions.get(market)
        if start is None:
            await self._warm_up(market)
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
        reseeded = False
        for item in items:
            for out in self._state.handle(item):
                if isinstance(out, Reseed):
                    reseeded = True
                    await self._reseed(market, out.upto_ms)
                elif isinstance(out, FeatureValue):
                    values.append(out)
                elif isinstance(out, Signal) or out.close_time_ms > self._live_from_ms:
                    # Execution has no use for candles from before its books began.
                    told.append(out)
        _sort(self._state.advance(market, upto_ms), values, told)
        signals = [item for item in told if isinstance(item, Signal)]
        if reseeded:
            self._rebuild_soon(market)

        async def write(conn: Connection) -> None:
            await records.insert_features(conn, values)
            await records.insert_signals(conn, signals)

        before = self._positions.get(market, 0)
        if upto_ms <= before and not told:
            return
        # Signals follow from committed candles alone, so execution need not wait for our own commit.
        for edge in self._edges[market]:
            edge.send(before, max(upto_ms, before), told, clock)
        await self.give_way()
        await self.commit({f"brain:{market}": upto_ms} if upto_ms > before else {}, write)
        self._positions[market] = max(upto_ms, before)

    async def _warm_up(self, market: str) -> None:
        """Before the first minute of all: what the venue's own candles tell of the time before it."""
        first_ms = await self.read(lambda conn: candles.first_open(conn, market, "1m"))
        if first_ms is not None:
            await self._reseed(market, first_ms)

    async def _reseed(self, market: str, upto_ms: int) -> None:
        for need in self._state.needs(market):
            newest = await self.read(
                # One more: the newest may have opened by then, but not closed.
                lambda conn, need=need: candles.read_candles(
                    conn, market, need.interval, to_ms=upto_ms, limit=need.candles + 1, newest=True
                )
            )
            known = [candle for candle in newest if candle.close_time_ms <= upto_ms][-need.candles :]
            start = known[0].open_time_ms if known else upto_ms
            holes = await self.read(lambda conn, a=start: quality.holes_between(conn, market, a, upto_ms))
            self._state.seed(market, need.interval, known, holes)

    def _rebuild_soon(self, market: str) -> None:
        """Have the next step of what is to be made anew done once what waits now is handled."""
        if not self._stopping:
            self.spawn(self.put(_Rebuild(market)))

    async def _rebuild(self, market: str) -> None:
        """Make stored features anew where candles changed after they had been used: some days a step."""
        if not await self.read(lambda conn: rebuilds.pending_rebuilds(conn, market)):
            return
        done: rebuilds.Step | None = None

        async def write(conn: Connection) -> None:
            nonlocal done
            config = self.session.config
            done = await rebuilds.rebuild_step(conn, market, config.features, self._positions.get(market, 0))

        await self.commit({}, write)
        if done is None:
            return
        if done.changed:
            first, last = done.changed[0], done.changed[-1]
            self.log.info("features made anew", market=market, count=len(done.changed), first=first, last=last)
        if done.more:
            self._rebuild_soon(market)


def _sort(thoughts: list[FeatureValue | Signal], values: list[FeatureValue], told: list[StreamItem]) -> None:
    for thought in thoughts:
        if isinstance(thought, FeatureValue):
            values.append(thought)
        else:
            told.append(thought)


Brain = ray.remote(BrainActor)
