"""A venue's request weight, counted so that the venue never has to say no."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trading.errors import VenueRetryable
from trading.venues.adapter import Budget

__all__ = ["PATIENCE_S", "WeightLimiter"]

PATIENCE_S = 5.0
"""A pause that a venue ordered is waited for when it is this short; else the caller is told at once."""


class WeightLimiter:
    """At most ``budget.weight`` in any ``budget.window_s``. Requests wait their turn, first come, first served.

    While the venue has ordered a pause longer than a few seconds, ``acquire`` raises VenueRetryable at once.
    """

    def __init__(self, budget: Budget, monotonic: Callable[[], float]) -> None:
        self.limit, self._window_s = budget
        self._monotonic = monotonic
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._blocked_until = float("-inf")
        self._turn = asyncio.Lock()

    def lower(self, limit: int) -> None:
        """Take the venue's own limit if it is less."""
        self.limit = max(1, min(self.limit, limit))

    def used(self) -> int:
        """Weight spent in the last window, by us or, as far as the venue told, by others at our address."""
        horizon = self._monotonic() - self._window_s
        while self._spent and self._spent[0][0] <= horizon:
            self._sum -= self._spent.popleft()[1]
        return self._sum

    def observe(self, used: int) -> None:
        """Note the venue's own count of the running window: more than ours means others use the same address."""
        extra = used - self.used()
        if extra > 0:
            self.spend(extra)

    def block(self, seconds: float) -> None:
        """The venue wants no request for ``seconds``."""
        self._blocked_until = max(self._blocked_until, self._monotonic() + seconds)

    def blocked_s(self) -> float:
        """Seconds for which the venue still wants no request."""
        return max(0.0, self._blocked_until - self._monotonic())

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, and spend it."""
        async with self._turn:
            while (wait := self._wait_s(weight)) > 0:
                if (left := self.blocked_s()) > PATIENCE_S:
                    raise VenueRetryable(f"The venue wants no request for {left:.0f} s.", retry_after_s=left)
                await asyncio.sleep(wait)
            self.spend(weight)

    def spend(self, weight: int) -> None:
        """Count ``weight`` as spent now."""
        self._spent.append((self._monotonic(), weight))
        self._sum += weight

    def _wait_s(self, weight: int) -> float:
        if self.used() + min(weight, self.limit) <= self.limit:
            return self.blocked_s()
        return max(self.blocked_s(), self._spent[0][0] + self._window_s - self._monotonic(), 0.001)
