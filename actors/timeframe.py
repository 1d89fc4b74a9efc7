"""The timeframe actor: minutes in, every configured interval out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from actors.edge import Edge, flush
from actors.packing import holder
from actors.runtime import Process, Writer, windows
from actors.session import Session
from actors.told import candle_event
from trading.candles import Candle, Hole, HoleReason, Source
from trading.events import Batch, Heal, Rebuild, StreamItem, start_ms
from trading.spans import Span
from trading.storage import candles, cursors, events, folded, natives, quality, rebuilds, rederive
from trading.storage.database import Connection
from trading.storage.fold import fold_minutes
from trading.timeframe import Refold, TimeframeState

__all__ = ["TimeframeActor"]

# Derived candles that one transaction stores when a new interval's past is folded.
_PAST = 5_000


class TimeframeActor(Writer):
    """Folds one market's minutes and writes the derived candles.

    Durable: derived candles and the cursor, in one transaction. Rebuilt: the open candles, from the minutes since the
    oldest of them opened. A failed push means nothing; what was missed is pulled from storage.
    """

    role = "timeframe"

    async def __init__(self, session: Session, market: str, process: Process | None = None) -> None:
        super().__init__(session, market, process)
        self.market = market
        self._cursor = f"timeframe:{market}"
        brain, near = holder(session.config, "brain", market), self.process.near
        self._edge = Edge(session.namespace, brain, market, self.boundary, near)
        self._state: TimeframeState
        self.committed_ms = 0
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        config = self.session.config
        position = await self.read(lambda conn: cursors.get_cursor(conn, self._cursor))
        await self._fold_past(config.all_intervals(), position or 0)
        self._state = TimeframeState(
            self.market, config.all_intervals(), config.timeframes.heal_wait_minutes, position_ms=position
        )
        await self._know_natives(position)
        if position is not None:
            self.committed_ms = position
        await self._seed()
        self.spawn(self._edge.run())
        await self._pull(None)
        await self._find_lost_heals()
        self._edge.nudge(self.committed_ms)

    async def push(self, packed: bytes) -> int:
        """Accept a batch; returns the committed watermark."""
        await self.accept(packed)
        return self.committed_ms

    async def handle(self, message: Batch) -> None:
        self.boundary("after_read", message.upto_ms)
        if self._state.position_ms is None:
            await self._know_natives(None)
        missed = (self._state.told_ms or 0) < message.prev_ms
        if missed:
            await self._pull(message.prev_ms)
        items = [item for item in message.items if not isinstance(item, Rebuild)]
        changed = [item for item in message.items if isinstance(item, Rebuild)]
        if changed:
            await self._seed()
        if missed or not items:
            await self._find_lost_heals()
        await self._fold(items, message.clock)
        if changed:
            # Closed candles were made anew by whoever changed the minutes.
            self._edge.send(self.committed_ms, self.committed_ms, changed, None)

    async def close(self, within_s: float) -> None:
        await flush([self._edge], within_s)
        await super().close(within_s)

    def facts(self) -> dict[str, Any]:
        waiting = getattr(self, "_state", None) and self._state.waiting
        return {
            "position": self.committed_ms,
            "waiting": waiting._asdict() if waiting else None,
            "edges": {"brain": self._edge.stats()},
        }

    async def _seed(self) -> None:
        """Begin the unfinished candles anew with the minutes as they are stored."""
        position = self._state.position_ms
        if position is None:
            return
        minutes, holes = await self._load(self._state.seed_from_ms or position, position)
        first = await self.read(lambda conn: candles.first_open(conn, self.market, "1m"))
        self._state.seed(minutes, holes, first_ms=first)

    async def _pull(self, upto_ms: int | None) -> None:
        """Read from storage what was recorded but not pushed, up to ``upto_ms`` or the recorder's cursor."""
        end = await self.sender_position(f"recorder:{self.market}", upto_ms)
        start = self._state.told_ms
        if start is None:
            start = await self.read(lambda conn: candles.first_open(conn, self.market, "1m")) or end
        for begin, stop in windows(start, end):
            minutes, holes = await self._load(begin, stop)
            await self._fold(_in_order(minutes, holes), None)

    async def _know_natives(self, position_ms: int | None) -> None:
        """Have the venue's own candles of what the recorded minutes begin in the middle of."""
        first_ms = await self.read(lambda conn: candles.first_open(conn, self.market, "1m")) or 0
        at_ms = max(first_ms, position_ms or 0)
        found = await self.read(lambda conn: natives.read_all_natives(conn, self.market))
        self._state.know(native for native in found if native.close_time_ms > at_ms)

    async def _find_lost_heals(self) -> None:
        """Handle heals that were committed while nobody told us: the recorder died before its push, or we were away."""
        spans = [(hole.from_ms, hole.to_ms) for hole in (self._state.waiting,) if hole is not None]
        spans += await self.read(lambda conn: candles.incomplete_spans(conn, self.market))
        for from_ms, to_ms in spans:
            minutes, holes = await self._load(from_ms, to_ms)
            if any(hole.reason == HoleReason.MISSING for hole in holes):
                continue
            await self._fold([Heal(self.market, from_ms, to_ms, tuple(minutes), tuple(holes))], None)

    async def _fold_past(self, intervals: Sequence[str], upto_ms: int) -> None:
        """Fold the minutes handled so far into the intervals that are new since then, and those that are earlier."""
        fresh = await self.read(lambda conn: folded.unfolded(conn, self.market, intervals))
        first_ms = await self.read(lambda conn: candles.first_open(conn, self.market, "1m")) or upto_ms
        for interval in fresh:
            past = await self.read(lambda conn, i=interval: fold_minutes(conn, self.market, i, first_ms, upto_ms))
            for start in range(0, len(past), _PAST):
                part = past[start : start + _PAST]
                await self.commit({}, lambda conn, p=part: _upsert(conn, p))
            self.log.info("folded the past", interval=interval, candles=len(past))

        async def note(conn: Connection) -> None:
            # Where it was never noted, what is there now is where it began.
            known = await folded.folded_from(conn, self.market)
            await folded.note_folded(conn, self.market, intervals, known or (first_ms or None))
            await rederive.fold_earlier(conn, self.market, intervals)

        await self.commit({}, note)

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
        healed: list[Span] = []
        for item in items:
            if isinstance(item, Rebuild):
                # Storage has candles of the venue that are new: nothing is folded, but features begin anew.
                await self._know_natives(self._state.position_ms)
                out.append(item)
                continue
            for told in self._state.handle(item):
                if isinstance(told, Refold):
                    out.extend(await self._refold(told, out))
                    healed += [(item.from_ms, item.to_ms)] if isinstance(item, Heal) else []
                else:
                    out.append(told)
        position = self._state.position_ms
        if position is None:
            return
        derived = [item for item in out if isinstance(item, Candle) and item.source == Source.DERIVED]
        live = [candle_event(item) for item in derived if item.close_time_ms > self.session.start_ms]

        before = self.committed_ms

        async def write(conn: Connection) -> None:
            await _upsert(conn, derived, why="healed")
            await events.append_events(conn, live)
            await self._note(conn, None if before else items, healed)

        if out or position != before:
            # Derived candles follow from committed minutes alone, so the brain need not wait for our own commit; but
            # one that is to rebuild its features reads them from storage.
            first = any(isinstance(item, Rebuild) for item in out)
            if not first:
                self._edge.send(before, position, out, clock)
                await self.give_way()
            await self.commit({self._cursor: position} if position > before else {}, write)
            if first:
                self._edge.send(before, position, out, clock)
            self.committed_ms = position

    async def _note(self, conn: Connection, first: list[StreamItem] | None, healed: list[Span]) -> None:
        """Where folding began, when ``first`` are the first items of all, and which stored features are to be anew."""
        if first is not None:
            first_ms = next((start_ms(item) for item in first if isinstance(item, Candle | Hole)), None)
            await folded.note_folded(conn, self.market, self.session.config.all_intervals(), first_ms)
        for from_ms, to_ms in healed:
            await rebuilds.note_rebuild(conn, self.market, from_ms, to_ms, "healed")

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


async def _upsert(conn: Connection, derived: list[Candle], why: str = "repair") -> None:
    _, left = await natives.give_way(conn, derived)
    await candles.upsert_candles(conn, left, why=why)


def _in_order(minutes: list[Candle], holes: list[Hole]) -> list[StreamItem]:
    def key(item: Candle | Hole) -> int:
        return item.from_ms if isinstance(item, Hole) else item.open_time_ms

    return sorted([*minutes, *holes], key=key)


Timeframe = ray.remote(TimeframeActor)
