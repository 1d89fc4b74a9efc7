"""The notifier actor: messages leave here, and nothing waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from actors.runtime import Writer
from actors.session import Session
from trading.notify.worker import Notifier

__all__ = ["NotifierActor", "NotifierRunner"]

# Of the time to stop in; the rest is for releasing what the notifier holds.
_DRAIN_SHARE = 0.8


class NotifierActor(Writer):
    """Sends what other actors put into the outbox.

    Durable: every message with its state. What was being sent when this actor died goes out again, marked as a possible
    repeat. ``stop`` sends what is due for some seconds; the rest goes out at the next start.
    """

    role = "notifier"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._notifier: Notifier
        self._run: asyncio.Task[None] | None = None
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()
        session = self.session
        self._notifier = Notifier(
            self.db, self.lease, session.config.notify, session.secrets_path, on_boundary=self.boundary
        )
        self._run = self.spawn(self._notifier.run())

    async def wake(self) -> None:
        """Look into the outbox now instead of within a second."""
        await self._ready.wait()
        self._notifier.wake()

    async def handle(self, message: Any) -> None:
        raise TypeError(f"the notifier takes no {type(message).__name__}")

    async def close(self, within_s: float) -> None:
        if self._run is not None and not await self._notifier.drain(within_s * _DRAIN_SHARE):
            self.log.warning("messages wait for the next start")
        await super().close(within_s)

    def facts(self) -> dict[str, Any]:
        return {"channels": self._notifier.stats() if self._ready.is_set() else {}}


NotifierRunner = ray.remote(NotifierActor)
