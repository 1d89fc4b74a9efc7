"""Several actors in one process, each of which is what it would be alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from actors.runtime import Actor, Process
from actors.session import Session
from actors.stages import stage_seconds

__all__ = ["Pack"]

A = TypeVar("A", bound=Actor)


class Pack(Generic[A]):
    """Holds an actor for each market; each is what it would be alone, with its own inbox, lease and cursor.

    They share the process: the failure of one ends it, and Ray's restart brings all of them back from storage.
    """

    kind: ClassVar[type[Any]]

    async def __init__(self, session: Session, name: str, markets: Sequence[str]) -> None:
        self.session = session
        self.name = name
        self.process = await self.open_process()
        self.members: dict[str, A] = {}
        for market in markets:
            member: A = self.kind.__new__(self.kind)
            await member.__init__(session, market, self.process)  # type: ignore[misc] - Ray awaits it, so do we
            self.members[market] = member

    def groups(self) -> list[list[Any]]:
        """All actors of this process in the order of the data's flow, those beside each other in one list."""
        return [list(self.members.values())]

    async def open_process(self) -> Process:
        return Process(self.session, self.name)

    async def ready(self) -> str:
        """Return the name once every member is ready."""
        await asyncio.gather(*(actor.ready() for group in self.groups() for actor in group))
        return self.name

    async def health(self) -> dict[str, Any]:
        """The health of every actor, as ``members``."""
        return {"actor": self.name, "members": [await actor.health() for group in self.groups() for actor in group]}

    async def stop(self, within_s: float) -> dict[str, Any]:
        """Stop every actor, senders before receivers, and return their last health. Safe to call twice."""
        end, groups, last = time.monotonic() + within_s, self.groups(), []
        for place, group in enumerate(groups):
            seconds = stage_seconds(end - time.monotonic(), len(groups) - place)
            last += await asyncio.gather(*(actor.stop(seconds) for actor in group))
        await self.process.close()
        return {"actor": self.name, "members": last}
