"""Binance's request weight, counted so that the venue never has to say no."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trading.errors import VenueRetryable

__all__ = ["WeightLimiter"]

_WINDOW_S = 60.0
_PATIENCE_S = 5.0


class WeightLimiter:
    """At most ``limit`` weight in any 60 s. Requests wait their turn, first come, first served.

    While the venue has ordered a pause longer than a few seconds, ``acquire`` raises VenueRetryable at once.
    """

    def __init__(self, limit: int, monotonic: Callable[[], float]) -> None:
        self.limit = limit
        self._monotonic = monotonic
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._blocked_until = float("-inf")
        self._turn = asyncio.Lock()

    def lower(self, limit: int) -> None:
        """Take the venue's own limit if it is less."""
        self.limit = max(1, min(self.limit, limit))

    def used(self) -> int:
        """Weight spent in the last 60 s, by us or, as far as the venue told, by others at our address."""
        horizon = self._monotonic() - _WINDOW_S
        while self._spent and self._spent[0][0] <= horizon:
            self._sum -= self._spent.popleft()[1]
        return self._sum

    def observe(self, used: int) -> None:
        """Note the venue's own count of the running minute: more than ours means others use the same address."""
        extra = used - self.used()
        if extra > 0:
            self._add(extra)

    def block(self, seconds: float) -> None:
        """The venue wants no request for ``seconds``."""
        self._blocked_until = max(self._blocked_until, self._monotonic() + seconds)

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, and spend it."""
        async with self._turn:
            while (wait := self._wait_s(weight)) > 0:
                if self._monotonic() + _PATIENCE_S < self._blocked_until:
                    left = self._blocked_until - self._monotonic()
                    raise VenueRetryable(f"The venue wants no request for {left:.0f} s.", retry_after_s=left)
                await asyncio.sleep(wait)
            self._add(weight)

    def _wait_s(self, weight: int) -> float:
        now = self._monotonic()
        blocked = self._blocked_until - now
        if self.used() + min(weight, self.limit) <= self.limit:
            return max(0.0, blocked)
        return max(blocked, self._spent[0][0] + _WINDOW_S - now, 0.001)

    def _add(self, weight: int) -> None:
        self._spent.append((self._monotonic(), weight))
        self._sum += weight
