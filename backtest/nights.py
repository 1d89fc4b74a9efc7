"""A day's comparison as a Ray task: the supervisor asks for it, and it runs beside trading at low priority."""

from __future__ import annotations

import asyncio
from typing import Any

import ray

from backtest.background import step_back
from trading.config.model import Notify
from trading.errors import MantaError, OutcomeUnknown, StorageRetryable
from trading.nightly import DueDay
from trading.storage.database import Database
from trading.storage.settings import DatabaseTarget

__all__ = ["launch_check"]


def launch_check(target: DatabaseTarget, notify: Notify, day: DueDay) -> Any:
    """Compare one day of a book with the reference; a reference to the result's status, such as ``identical``.

    The status is ``away`` when the database was, and nothing is stored.
    """
    return _check.remote(target, notify, day)


# On the head alone, beside the database. Once a night: a worker that stays for the next would hold its memory all day.
@ray.remote(num_cpus=1, max_retries=0, max_calls=1, resources={"node:__internal_head__": 0.001})
def _check(target: DatabaseTarget, notify: Notify, day: DueDay) -> str:
    step_back()
    return asyncio.run(_compare(target, notify, day))


async def _compare(target: DatabaseTarget, notify: Notify, day: DueDay) -> str:
    # Here, so that whoever launches checks need not hold the engine in memory.
    from backtest.verdicts import check_and_store

    async with Database(target, application_name=f"manta nightly {day.book}") as database:
        try:
            verdict = await check_and_store(database, day.book, day.day_ms, notify)
        except (StorageRetryable, OutcomeUnknown):
            return "away"
        except MantaError:
            # The stored result says why; whether it is tried again is not decided here.
            return "failed"
    return verdict.run.status
