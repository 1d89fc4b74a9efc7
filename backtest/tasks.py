"""Backtests as Ray tasks: the API asks for one, any node with a free CPU runs it, the database says how far it is."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from uuid import UUID

import ray

from backtest.run import run_stored
from trading.errors import MantaError
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

__all__ = ["launch"]

_NICENESS = 10


def launch(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    """Start the queued run ``run_id`` and return at once."""
    _run.remote(target, run_id, request)


@ray.remote(num_cpus=1, max_retries=0)
def _run(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    # Live actors share the machine and must not wait for a backtest.
    os.nice(_NICENESS)
    asyncio.run(_work(target, run_id, request))


async def _work(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    async with Database(target, application_name=f"manta backtest {run_id}") as database:
        try:
            await run_stored(database, run_id, request)
        except MantaError:
            # Its row holds the reason; nobody waits for this task.
            return
