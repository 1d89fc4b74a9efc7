"""Who does the work of a search: this process, others beside it, or Ray's workers (``backtest.sweep.ray_pool``)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Protocol

from backtest.background import NICENESS, thread_steps_back
from backtest.honesty.trials import Job, Outcome
from backtest.sweep.evaluator import ComboScore
from backtest.sweep.work import Batch, Work, do_batch, do_job

__all__ = ["HerePool", "Pool", "ProcessPool"]


class Pool(Protocol):
    """Does batches, and single runs, of the ``work`` it was given last. ``workers`` is how many it does at once.

    ``score`` and ``run`` raise what the work raised; a worker that died is not the work's fault, and it is done again.
    """

    workers: int

    def begin(self, work: Work) -> None: ...

    async def score(self, batch: Batch) -> list[ComboScore]: ...

    async def run(self, job: Job) -> Outcome: ...

    def close(self) -> None: ...


class HerePool(Pool):
    """One thing after another in a thread of this process."""

    def __init__(self) -> None:
        self.workers = 1
        self._thread: Executor = ThreadPoolExecutor(1, thread_name_prefix="sweep", initializer=thread_steps_back)
        self._work: Work | None = None

    def begin(self, work: Work) -> None:
        self._work = work

    async def score(self, batch: Batch) -> list[ComboScore]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do_batch, self._held(), batch)

    async def run(self, job: Job) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do_job, self._held(), job)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _held(self) -> Work:
        if self._work is None:
            raise RuntimeError("the pool was not given any work")
        return self._work


class ProcessPool(Pool):
    """``workers`` processes of their own. Spawned, because a fork of a process that has threads in it may hang."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._processes: Executor | None = None

    def begin(self, work: Work) -> None:
        # The candles go to each process once, not with each batch.
        self._processes = ProcessPoolExecutor(
            self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(work,)
        )

    async def score(self, batch: Batch) -> list[ComboScore]:
        return await asyncio.get_running_loop().run_in_executor(self._processes, _score_here, batch)

    async def run(self, job: Job) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._processes, _run_here, job)

    def close(self) -> None:
        if self._processes is not None:
            self._processes.shutdown(wait=False, cancel_futures=True)


_work: list[Work] = []
"""That of a process of the pool, which has no other place for it."""


def _begin(work: Work) -> None:
    os.nice(NICENESS)
    _work[:] = [work]


def _score_here(batch: Batch) -> list[ComboScore]:
    return do_batch(_work[0], batch)


def _run_here(job: Job) -> Outcome:
    return do_job(_work[0], job)
