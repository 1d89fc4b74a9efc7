"""Batches of a search as Ray tasks: on every core of every machine of the cluster, below whoever trades there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import ray

from backtest.background import WORKER, step_back
from backtest.honesty.trials import Job, Outcome
from backtest.sweep.evaluator import ComboScore
from backtest.sweep.pool import Pool
from backtest.sweep.work import Batch, Work, do_batch, do_job

__all__ = ["RayPool"]


class RayPool(Pool):
    """Needs a connection to Ray. The candles go into the object store once; a task whose worker dies is done again.

    ``workers`` is how many tasks there are at most at a time; without it each core has its next one waiting.
    ``trading`` says that live actors may be on the same machines: then workers have a session of their own, below them.
    """

    def __init__(self, workers: int | None = None, *, trading: bool = True) -> None:
        self._most, self._trading = workers, trading
        self._turn = contextlib.nullcontext() if workers is None else asyncio.Semaphore(workers)
        self._work: Any = None
        self._running: set[Any] = set()

    @property
    def workers(self) -> int:  # type: ignore[override]
        """As many as the cluster has cores now, machines that joined since the start included."""
        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cores = max(1, int(found.get("CPU", 1)))
        return cores if self._most is None else min(self._most, cores)

    def begin(self, work: Work) -> None:
        self._work = ray.put(work)

    async def score(self, batch: Batch) -> list[ComboScore]:
        found: list[ComboScore] = await self._done(_score, batch)
        return found

    async def run(self, job: Job) -> Outcome:
        found: Outcome = await self._done(_trial, job)
        return found

    async def _done(self, task: Any, given: Batch | Job) -> Any:
        async with self._turn:
            reference = task.remote(self._work, given, self._trading)
            self._running.add(reference)
            try:
                return await asyncio.wrap_future(reference.future())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            finally:
                self._running.discard(reference)

    def close(self) -> None:
        for reference in self._running:
            ray.cancel(reference)
        self._running.clear()
        self._work = None


@ray.remote(num_cpus=1, max_retries=10, retry_exceptions=False, runtime_env=WORKER)
def _score(work: Work, batch: Batch, trading: bool) -> list[ComboScore]:
    step_back(own_session=trading)
    return do_batch(work, batch)


@ray.remote(num_cpus=1, max_retries=10, retry_exceptions=False, runtime_env=WORKER)
def _trial(work: Work, job: Job, trading: bool) -> Outcome:
    step_back(own_session=trading)
    return do_job(work, job)
