"""The notifier actor."""

from __future__ import annotations

from typing import Any

import ray

from actors.runtime import Writer
from actors.session import Session


class NotifierActor(Writer):
    role = "notifier"

    async def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.start()

    async def bootstrap(self) -> None:
        await self.acquire()

    async def handle(self, message: Any) -> None: ...


NotifierRunner = ray.remote(NotifierActor)
