"""The feeds of several markets in one process."""

from __future__ import annotations

import ray

from actors.feed import FeedActor
from actors.pack import Pack
from trading.spans import Span

__all__ = ["Feeds"]


class FeedPack(Pack[FeedActor]):
    """Feeds that share one HTTP client and one websocket for each venue."""

    kind = FeedActor

    async def refetch(self, market: str, spans: list[Span]) -> None:
        """Have the feed of ``market`` ask for ``spans``; see there."""
        await self.members[market].refetch(market, spans)


Feeds = ray.remote(FeedPack)
