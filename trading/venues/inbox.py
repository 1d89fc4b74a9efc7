"""What waits for a feed's one consumer: in order, bounded, and never in the way of the sockets that fill it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trading.candles import Candle
from trading.feed import BUFFER
from trading.feed_events import Alive, Anomaly, FeedEvent, Final, Garbage, Tick

__all__ = ["FeedInbox"]


class FeedInbox:
    """Events of one market's feed. ``wake`` is set when something waits.

    At most 1000 closed candles wait: the oldest are forgotten, and the jump that they leave is fetched from REST. Signs
    of life and the time come last, for only the newest of them count.
    """

    def __init__(self, market: str, monotonic: Callable[[], float]) -> None:
        self.wake = asyncio.Event()
        self.forming: Candle | None = None
        self.dropped = self.dropped_garbage = 0
        self._market = market
        self._monotonic = monotonic
        self._events: deque[FeedEvent] = deque()
        self._finals = self._garbage = 0
        self._alive: dict[int, Alive] = {}
        self._tick: Tick | None = None
        self._overflowing = False

    def __len__(self) -> int:
        return len(self._events)

    def __bool__(self) -> bool:
        return bool(self._events or self._alive or self._tick or self.forming)

    def next(self) -> FeedEvent | None:
        """The next event, None when only a forming candle, or nothing, waits."""
        if self._events:
            event = self._events.popleft()
            self._finals -= isinstance(event, Final)
            self._garbage -= isinstance(event, Garbage)
            return event
        if self._alive:
            return self._alive.pop(next(iter(self._alive)))
        tick, self._tick = self._tick, None
        return tick

    def take_forming(self) -> Candle | None:
        """The newest open candle, once."""
        forming, self.forming = self.forming, None
        return forming

    def put(self, event: FeedEvent) -> None:
        self.wake.set()
        if isinstance(event, Alive):
            self._alive[event.conn] = event
            return
        if isinstance(event, Tick):
            self._tick = event
            return
        if isinstance(event, Garbage):
            if self._garbage >= BUFFER:
                self.dropped_garbage += 1
                return
            self._garbage += 1
        self._events.append(event)
        if isinstance(event, Final):
            # A closed candle is a sign of life itself, and later than one that still waits.
            self._alive.pop(event.conn, None)
            self._finals += 1
            if self._finals > BUFFER:
                self._drop_oldest()
            elif self._overflowing and self._finals < BUFFER // 2:
                self._overflowing = False

    def _drop_oldest(self) -> None:
        oldest = next(event for event in self._events if isinstance(event, Final))
        self._events.remove(oldest)
        self._finals -= 1
        self.dropped += 1
        if not self._overflowing:
            self._overflowing = True
            detail = f"more than {BUFFER} candles wait for delivery; the oldest are dropped and fetched again"
            times = oldest.candle.open_time_ms, oldest.candle.close_time_ms
            self.put(Garbage(self._monotonic(), Anomaly(self._market, "overflow", detail, *times)))
