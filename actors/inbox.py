"""An actor's inbox: bounded by messages, and by what the messages carry."""

from __future__ import annotations

import asyncio
from typing import Any

from trading.events import Batch
from trading.recording import weight

__all__ = ["MAX_MESSAGES", "MAX_WEIGHT", "Inbox"]

MAX_MESSAGES = 64
MAX_WEIGHT = 5_000


class Inbox(asyncio.Queue[Any]):
    """A queue whose ``put`` waits while it holds 64 messages, or messages that carry 5,000 candles together.

    One message is always taken, however much it carries: so at most one is beyond the limit.
    """

    def __init__(self) -> None:
        super().__init__(MAX_MESSAGES)
        self.weight = 0

    def full(self) -> bool:
        """Whether ``put`` waits."""
        return super().full() or self.weight >= MAX_WEIGHT

    def _put(self, item: Any) -> None:
        self.weight += _weight(item)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.weight -= _weight(item)
        return item


def _weight(message: Any) -> int:
    return sum(map(weight, message.items)) if isinstance(message, Batch) else 0
