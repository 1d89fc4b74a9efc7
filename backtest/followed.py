"""Long work that a row tells of: how far it is while it goes on, and why when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from trading.errors import MantaError
from trading.storage.database import Database
from trading.storage.jobs import Jobs

__all__ = ["failure_kept", "progress_kept"]


@asynccontextmanager
async def progress_kept(
    database: Database, jobs: Jobs, run_id: UUID, every_s: float, on_progress: Callable[[float], None] | None = None
) -> AsyncIterator[Callable[[float], None]]:
    """Within, call what this yields, from any thread, with the share that is done; the row follows ``every_s``."""
    done = 0.0

    def tell(share: float) -> None:
        nonlocal done
        done = share
        if on_progress is not None:
            on_progress(share)

    async def keep() -> None:
        while True:
            await database.run(lambda connection: jobs.set_progress(connection, run_id, done))
            await asyncio.sleep(every_s)

    telling = asyncio.create_task(keep())
    try:
        yield tell
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


@asynccontextmanager
async def failure_kept(database: Database, jobs: Jobs, run_id: UUID) -> AsyncIterator[None]:
    """Whatever ends what is within with an error is written into the row, and raised again."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, MantaError) else f"{type(error).__name__}: {error}"
        await database.run(lambda connection: jobs.set_failed(connection, run_id, text))
        raise
