"""The feeds of several markets in one process."""

from __future__ import annotations

import ray

from actors.feed import FeedActor
from actors.pack import Pack

__all__ = ["Feeds"]


class FeedPack(Pack[FeedActor]):
    """Feeds that share one HTTP client and one websocket for each venue."""

    kind = FeedActor


Feeds = ray.remote(FeedPack)
