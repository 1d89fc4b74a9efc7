"""The timeframes of several markets in one process, alone or with the brain of these markets.

Whoever sends to such a process loads this module, for Ray looks an actor up with its class.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import ray

from actors.brain import BrainActor
from actors.edge import unpack
from actors.pack import Pack
from actors.runtime import Process
from actors.session import Session
from actors.timeframe import TimeframeActor
from trading.storage.database import Database

__all__ = ["Brains", "Timeframes"]


class TimeframePack(Pack[TimeframeActor]):
    """Timeframes that share one connection to Postgres, a transaction each."""

    kind = TimeframeActor

    async def open_process(self) -> Process:
        return Process(self.session, self.name, db=Database(self.session.target, application_name=self.name))

    async def push(self, packed: bytes) -> int:
        """Hand a batch to its market's timeframe; returns that one's committed watermark."""
        batch = unpack(packed)
        member = self.members[batch.market]
        await member.put(batch)
        await member.give_way()
        return member.committed_ms


class BrainPack(TimeframePack):
    """A brain with the timeframes of its markets, which hand it their candles within the process.

    The brain keeps a connection of its own, so that its commits and theirs run beside each other.
    """

    async def __init__(self, session: Session, name: str, markets: Sequence[str]) -> None:
        await super().__init__(session, name, markets)
        alone = copy.copy(self.process)
        alone.db = None
        self.brain = BrainActor.__new__(BrainActor)
        await self.brain.__init__(session, name.partition(":")[2], tuple(markets), alone)  # type: ignore[misc]
        self.process.near[name] = self.brain

    def groups(self) -> list[list[Any]]:
        return [*super().groups(), [self.brain]]


Brains = ray.remote(BrainPack)
Timeframes = ray.remote(TimeframePack)
