"""What all feeds of a process share of one venue: its REST client with the limit, its time, and its websocket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

from trading.clock import HostClock, SystemClock, TimeSample
from trading.config.model import VenueSettings
from trading.venues.adapter import Limiter, adapter
from trading.venues.hub import Hub
from trading.venues.origin import Origin

__all__ = ["Gateway"]


class Gateway:
    """One venue as one process reaches it. ``async with`` it, or call ``close``.

    ``limiter`` is shared with everyone at this address; without one, this process counts alone. Raises ConfigError
    when the URLs do not fit ``origin``.
    """

    def __init__(
        self,
        venue: str,
        settings: VenueSettings,
        *,
        origin: Origin = "venue",
        limiter: Limiter | None = None,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.adapter = adapter(venue)
        self.settings = settings
        self.origin: Origin = origin
        self._clock = clock or SystemClock()
        self.history = self.adapter.history(settings, origin=origin, limiter=limiter, clock=self._clock, jitter=jitter)
        self.hub = Hub(
            self.adapter.wire(settings),
            origin=origin,
            field=f"venues.{venue}.stream_url",
            timeout_s=settings.request_timeout_s,
            close_after_s=settings.max_connection_age_s,
            clock=self._clock,
            jitter=jitter,
        )
        self._sample: tuple[float, TimeSample] | None = None
        self._asking: asyncio.Task[TimeSample] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.hub.close()
        if self._asking is not None:
            # Nobody may be waiting for it any more; it would open a connection of its own.
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self.history.close()

    async def time(self, within_s: float = 0.0) -> TimeSample:
        """The venue's time as it was told at most ``within_s`` ago; the markets that want it together ask once."""
        if self._sample is not None and self._clock.monotonic() - self._sample[0] <= within_s:
            return self._sample[1]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_heard)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> TimeSample:
        sample = await self.history.time()
        self._sample = self._clock.monotonic(), sample
        return sample


def _heard(task: asyncio.Task[TimeSample]) -> None:
    """Those who asked may all be gone: a failure concerns nobody then."""
    if not task.cancelled():
        task.exception()
