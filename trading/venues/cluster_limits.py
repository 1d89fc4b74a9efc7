"""A venue's request limit, kept by all processes of the cluster together, through Postgres.

Weight is taken in small leases, so that most requests cost no round trip. A lease that is not used up in time is lost,
as is one whose grant came late, and everything granted counts that much longer than the venue's window, so that the sum
of what is really sent never exceeds the limit in any window. While Postgres is away, each process allows itself an
eighth of the limit, and tells afterwards what it spent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

import asyncpg

from trading.clock import HostClock, SystemClock
from trading.config.model import Config
from trading.errors import OutcomeUnknown, StorageRetryable, VenueRetryable
from trading.storage.database import Database
from trading.storage.rate_limits import RateKey, Taken, take_rate, tell_rate
from trading.storage.settings import DatabaseTarget
from trading.venues.adapter import Budget, adapter
from trading.venues.limits import PATIENCE_S, WeightLimiter

__all__ = ["ClusterLimiter", "ClusterLimits"]

_LEASE_S = 2.0
_SLACK_S = 0.25
_LEASES_A_WINDOW = 20
_SHORT_WINDOW_S = 30.0
_FALLBACK_SHARE = 8
_AWAY_S = 15.0
_AGAIN_S = 0.001
_ANSWER_S = 1.0
# A database that is not migrated yet cannot keep the budget either.
_AWAY = (StorageRetryable, OutcomeUnknown, TimeoutError, asyncpg.UndefinedFunctionError)
_EGRESS = "MANTA__VENUES__EGRESS"


class ClusterLimiter:
    """At most ``budget.weight`` in any ``budget.window_s`` by all who share ``venue`` and ``egress``.

    A pause that the venue ordered to one of them holds for all, within two seconds. Raises VenueRetryable at once
    while a longer pause lasts.
    """

    def __init__(
        self, database: Database, venue: str, egress: str, budget: Budget, monotonic: Callable[[], float]
    ) -> None:
        self.limit, window_s = budget
        # Of a short window, a lease would be most.
        self._leases = window_s >= _SHORT_WINDOW_S
        self._valid_s = _LEASE_S if self._leases else _SLACK_S
        self._key = RateKey(venue, egress, round((window_s + self._valid_s) * 1000))
        self._database = database
        self._monotonic = monotonic
        self._alone = WeightLimiter(Budget(max(1, self.limit // _FALLBACK_SHARE), window_s), monotonic)
        self._away_until = float("-inf")
        self._left = 0
        self._expires = float("-inf")
        self._spent = self._owed = self._seen = 0
        self._block_until = float("-inf")
        self._untold = False
        self._turn = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None

    def lower(self, limit: int) -> None:
        """Take the venue's own limit if it is less."""
        self.limit = max(1, min(self.limit, limit))
        self._alone.lower(max(1, limit // _FALLBACK_SHARE))

    def used(self) -> int:
        """Weight that all had taken when this process last asked."""
        return self._spent

    def observe(self, used: int) -> None:
        """Note the venue's own count: more than all of us took means that others use the same address."""
        if used > self._spent:
            self._seen = used
            self._tell_soon()

    def block(self, seconds: float) -> None:
        """The venue wants no request for ``seconds``, from any of us."""
        self._left = 0
        self._alone.block(seconds)
        self._block_until = max(self._block_until, self._monotonic() + seconds)
        self._untold = True
        self._tell_soon()

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, and spend it."""
        async with self._turn:
            wait_s = await self._try(weight)
            while wait_s > 0:
                await asyncio.sleep(wait_s)
                wait_s = await self._try(weight)

    async def close(self) -> None:
        """Tell what is not told yet, if Postgres is there."""
        if self._telling is not None:
            await asyncio.wait((self._telling,), timeout=_ANSWER_S)
            self._telling.cancel()

    async def _try(self, weight: int) -> float:
        """Spend ``weight``; or return how long to wait before the next attempt."""
        now = self._monotonic()
        if (left := self._block_until - now) > 0:
            return _short(left)
        if weight <= self._left and now < self._expires:
            self._left -= weight
            return 0.0
        taken = None if now < self._away_until else await self._take(weight)
        if taken is None:
            await self._alone.acquire(weight)
            self._owed += weight
            return 0.0
        if taken.blocked_ms:
            self._block_until = self._monotonic() + taken.blocked_ms / 1000
            return _short(taken.blocked_ms / 1000)
        if not taken.granted:
            return taken.wait_ms / 1000
        self._expires = now + self._valid_s
        if self._monotonic() >= self._expires:
            return _AGAIN_S
        self._left = taken.granted - weight
        return 0.0

    async def _take(self, weight: int) -> Taken | None:
        """Ask Postgres; None when it is away."""
        want = max(weight, self.limit // _LEASES_A_WINDOW) if self._leases else weight
        owed, self._owed = self._owed, 0
        try:
            if owed:
                await self._database.run(lambda conn: tell_rate(conn, self._key, spent=owed), deadline_s=_ANSWER_S)
                owed = 0
            taken = await self._database.run(
                lambda conn: take_rate(conn, self._key, self.limit, weight, want), deadline_s=_ANSWER_S
            )
        except _AWAY:
            self._owed += owed
            self._away_until = self._monotonic() + _AWAY_S
            return None
        self._spent = taken.spent
        return taken

    def _tell_soon(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Tell what the venue said, until it is told or no longer of use."""
        while self._seen or self._untold:
            seen, self._seen = self._seen, 0
            block_s = self._block_until - self._monotonic() if self._untold else 0.0
            self._untold = False
            block_ms = max(0, round(block_s * 1000))
            try:
                await self._database.run(
                    lambda conn, used=seen, pause=block_ms: tell_rate(conn, self._key, used=used, block_ms=pause),  # type: ignore[misc]
                    deadline_s=_ANSWER_S,
                )
            except _AWAY:
                self._untold = self._untold or block_s > 0
                await asyncio.sleep(_ANSWER_S)


class ClusterLimits:
    """The limiters of one process, over one connection. ``async with`` it, or call ``close``."""

    def __init__(
        self,
        config: Config,
        target: DatabaseTarget,
        *,
        application_name: str = "manta limits",
        clock: HostClock | None = None,
    ) -> None:
        self._config = config
        # A machine of the cluster that has an address of its own says so in its environment.
        self._egress = os.environ.get(_EGRESS) or config.venues.egress
        self._clock = clock or SystemClock()
        self._database = Database(target, application_name=application_name, command_timeout_s=_ANSWER_S)
        self._limiters: dict[str, ClusterLimiter] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def of(self, venue: str) -> ClusterLimiter:
        """The limiter of ``venue``, the same at every call."""
        if venue not in self._limiters:
            budget = adapter(venue).budget(self._config.venues.of(venue))
            self._limiters[venue] = ClusterLimiter(self._database, venue, self._egress, budget, self._clock.monotonic)
        return self._limiters[venue]

    async def close(self) -> None:
        for limiter in self._limiters.values():
            await limiter.close()
        await self._database.close()


def _short(pause_s: float) -> float:
    """``pause_s`` if it can be waited for; raise VenueRetryable if it is longer."""
    if pause_s > PATIENCE_S:
        raise VenueRetryable(f"The venue wants no request for {pause_s:.0f} s.", retry_after_s=pause_s)
    return pause_s
