"""The recorder's watch over how fresh each market's data is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from actors.runtime import Writer
from trading.clock import VenueClock
from trading.events import Event, EventKind
from trading.freshness import Freshness, Turn, silence_limit_ms, turn_event
from trading.markets import split_market
from trading.recording import Portion
from trading.storage import events
from trading.storage.database import Connection
from trading.storage.freshness import note_turns, read_freshness

__all__ = ["FreshnessWatch", "store_turns"]

_LOOK_S = 1.0
_LINE = (EventKind.FEED_DOWN, EventKind.FEED_UP)


class FreshnessWatch:
    """Looks once a second, and at each commit before it is made, so that a candle and what it makes fresh are one.

    Durable: what was told, in table ``freshness``, in the transaction of its event. In lockstep nothing is ever stale,
    for there time stands still unless a candle moves it.
    """

    def __init__(self, watched: Freshness | None, markets: Iterable[str], clocks: Mapping[str, VenueClock]) -> None:
        self._watched = watched
        self._markets = tuple(markets)
        self._clocks = dict(clocks)

    @classmethod
    async def begin(cls, actor: Writer, positions: Mapping[str, int]) -> Self:
        """Go on from what was told; ``positions`` is how far each market is recorded."""
        session = actor.session
        if session.lockstep:
            return cls(None, (), {})
        clocks: dict[str, VenueClock] = {}
        for market in positions:
            venue = split_market(market)[0]
            if venue not in clocks:
                clocks[venue] = VenueClock(session.time_rate)
                await actor.observe_venue(clocks[venue], venue)
        known = await actor.read(read_freshness)
        watched = Freshness(positions, session.start_ms, silence_limit_ms(session.time_rate), known)
        for market in positions:
            if await actor.read(lambda conn, name=market: events.last_kind(conn, name, _LINE)) == EventKind.FEED_DOWN:
                watched.line(float("-inf"), market, False, "since before the recorder started")
        return cls(watched, positions, clocks)

    async def run(self, ask: Callable[[], None]) -> None:
        """Have the recorder look, again and again."""
        while self._watched is not None:
            await asyncio.sleep(_LOOK_S)
            ask()

    def heard(self, notes: Iterable[tuple[str, Any]]) -> None:
        """Take what the feeds say of their connections."""
        for kind, body in notes:
            if self._watched is not None and kind == "event" and body.kind in _LINE:
                up = body.kind == EventKind.FEED_UP
                self._watched.line(time.monotonic(), body.stream, up, body.payload["reason"])

    def turns(self, accepted_ms: Mapping[str, int], portions: Sequence[Portion] = ()) -> list[Turn]:
        """What is news once ``portions`` are stored. A market of which minutes wait for Postgres is not silent:
        ``accepted_ms`` says how far each is here.
        """
        if self._watched is None:
            return []
        for portion in portions:
            self._clocks[split_market(portion.market)[0]].observe(portion.clock)
        for market, upto_ms in accepted_ms.items():
            self._watched.closed(market, upto_ms)
        return self._watched.look(time.monotonic(), self._now_ms())

    def _now_ms(self) -> dict[str, int]:
        clocks = {market: self._clocks[split_market(market)[0]] for market in self._markets}
        return {market: clock.now_ms(0) for market, clock in clocks.items() if clock.sample is not None}


async def store_turns(connection: Connection, turns: Sequence[Turn]) -> list[Event]:
    """Remember ``turns`` and return their events, which are to be told in the same transaction."""
    await note_turns(connection, turns)
    return [turn_event(turn, time.time_ns()) for turn in turns]
