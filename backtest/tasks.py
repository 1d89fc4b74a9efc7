"""Backtests, walk-forwards and sweeps as Ray tasks: the API asks for one, the head runs it when a CPU is free, the
database says how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import ray

from backtest.background import COORDINATOR, WORKER, step_back
from backtest.honesty.stored import run_stored_walkforward
from backtest.run import run_stored
from backtest.sweep.coordinator import run_sweep
from backtest.sweep.ray_pool import RayPool
from trading.errors import MantaError
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

__all__ = ["launch", "launch_sweep", "launch_walkforward"]

# The database is on the head alone, and a PC that joined it for a while may leave.
_BESIDE_DATABASE = {"node:__internal_head__": 0.001}


def launch(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    """Start the queued run ``run_id`` and return at once."""
    _run.remote(target, run_id, request)


def launch_walkforward(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    """Start the queued walk-forward ``run_id`` and return at once. It uses CPUs as a sweep does."""
    _search.remote(target, run_id)


def launch_sweep(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    """Start the queued sweep ``run_id`` and return at once. It uses every CPU that is free, below whoever trades."""
    _sweep.remote(target, run_id)


@ray.remote(num_cpus=1, max_retries=0, resources=_BESIDE_DATABASE, runtime_env=WORKER)
def _run(target: DatabaseTarget, run_id: UUID, request: dict[str, Any]) -> None:
    step_back()
    _work(target, f"manta backtest {run_id}", lambda database: run_stored(database, run_id, request))


# Without a CPU of its own, like the one below: it only hands out and writes down.
@ray.remote(num_cpus=0, max_retries=0, resources=_BESIDE_DATABASE, runtime_env=COORDINATOR)
def _sweep(target: DatabaseTarget, run_id: UUID) -> None:
    step_back(own_session=False)
    _work(target, f"manta sweep {run_id}", lambda database: run_sweep(database, run_id, RayPool()))


@ray.remote(num_cpus=0, max_retries=0, resources=_BESIDE_DATABASE, runtime_env=COORDINATOR)
def _search(target: DatabaseTarget, run_id: UUID) -> None:
    step_back(own_session=False)
    _work(target, f"manta walkforward {run_id}", lambda database: run_stored_walkforward(database, run_id, RayPool()))


def _work(target: DatabaseTarget, name: str, work: Callable[[Database], Awaitable[object]]) -> None:
    async def connected() -> None:
        async with Database(target, application_name=name) as database:
            try:
                await work(database)
            except MantaError:
                # Its row holds the reason; nobody waits for this task.
                return

    asyncio.run(connected())
