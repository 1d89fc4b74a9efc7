"""A market feed on a running simulator, and what came out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.trading.venues.simulator.rig import Rig
from trading.candles import Candle, Hole
from trading.clock import TimeSample
from trading.config.model import Venues
from trading.events import Heal, StreamItem
from trading.feed_events import Anomaly
from trading.venues.gateway import Gateway
from trading.venues.session import MarketFeed, Outlets

MINUTE_MS = 60_000


def gateway(rig: Rig, **settings: Any) -> Gateway:
    """The venue that the simulator plays."""
    venue, simulator = rig.simulator.dialect.venue, rig.simulator
    urls = {"rest_url": simulator.rest_url, "stream_url": simulator.stream_url}
    venue_settings = Venues().of(venue).model_copy(update=urls | settings)
    return Gateway(venue, venue_settings, origin="simulator", jitter=lambda: 0.0)


def market(rig: Rig) -> str:
    """The first market that the simulator plays."""
    return f"{rig.simulator.dialect.venue}:{next(iter(rig.simulator.session.tapes))}"


class Fed:
    """Everything a feed delivered. ``gate`` holds deliveries back while it is clear."""

    def __init__(self, rig: Rig, rate: float, settings: dict[str, Any]) -> None:
        self.rig = rig
        self.items: list[StreamItem] = []
        self.notes: list[Anomaly] = []
        self.statuses: list[tuple[bool, str]] = []
        self.forming: list[Candle] = []
        self.largest = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Event()
        self.gateway = gateway(rig, **settings)
        self.feed = MarketFeed(
            market(rig),
            self.gateway,
            Outlets(self._deliver, self._on_forming, self._on_quality, self._on_status),
            time_rate=rate,
            jitter=lambda: 0.0,
        )

    async def _deliver(self, items: list[StreamItem], clock: TimeSample | None) -> None:
        await self.gate.wait()
        self.items += items
        self.largest = max(self.largest, len(items))
        if self.rig.simulator.session.is_lockstep:
            await self.rig.control.watermark(self.feed.state.high_water_ms or 0)
        self._changed.set()

    async def _on_forming(self, candle: Candle) -> None:
        self.forming.append(candle)
        self._changed.set()

    async def _on_quality(self, anomaly: Anomaly) -> None:
        self.notes.append(anomaly)
        self._changed.set()

    async def _on_status(self, up: bool, reason: str) -> None:
        self.statuses.append((up, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until ``condition`` holds; it is asked after every delivery and every few moments."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    try:
                        await asyncio.wait_for(self._changed.wait(), 0.05)
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise AssertionError(f"waited in vain: {self.feed.stats()}, {self.statuses[-3:]}") from None

    async def until_told(self, time_ms: int, seconds: float = 20.0) -> None:
        """Wait until every minute before ``time_ms`` is told and nothing is left to heal."""
        await self.until(lambda: self.high_ms >= time_ms and not self.feed.state.missing, seconds)

    @property
    def high_ms(self) -> int:
        """The close time up to which candles and holes were delivered."""
        for item in reversed(self.items):
            if isinstance(item, Candle):
                return item.close_time_ms
            if isinstance(item, Hole):
                return item.to_ms
        return 0

    def series(self) -> list[Candle]:
        """The candles after all heals, checking that every minute was told once and in order."""
        minutes: dict[int, Candle | None] = {}
        missing: set[int] = set()
        high = None
        for item in self.items:
            if isinstance(item, Heal):
                span = set(range(item.from_ms, item.to_ms, MINUTE_MS))
                assert span <= missing or item.why, "only missing minutes are healed"
                missing -= span
                minutes |= {candle.open_time_ms: candle for candle in item.candles}
            elif isinstance(item, Hole):
                assert high in (None, item.from_ms)
                high = item.to_ms
                if item.reason == "missing":
                    missing |= set(range(item.from_ms, item.to_ms, MINUTE_MS))
            elif isinstance(item, Candle):
                assert high in (None, item.open_time_ms)
                high = item.close_time_ms
                minutes[item.open_time_ms] = item
        assert not missing
        return [candle for _, candle in sorted(minutes.items()) if candle is not None]

    def holes(self) -> list[tuple[str, int, int]]:
        return [(hole.reason, hole.from_ms, hole.to_ms) for hole in self.items if isinstance(hole, Hole)]


@asynccontextmanager
async def feeding(
    rig: Rig, *, rate: float = 0.0, start: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Fed]:
    """Run a feed against ``rig`` for the length of a ``with`` block; what ends it early is raised there."""
    fed = Fed(rig, rate, settings)
    running = asyncio.create_task(fed.feed.run(**(start or {})))
    try:
        yield fed
    finally:
        await fed.feed.stop()
        fed.gate.set()
        await asyncio.wait_for(running, 60)
        await fed.gateway.close()
