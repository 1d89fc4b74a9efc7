"""Who does the batches of a sweep: this process, or Ray's workers (``backtest.sweep.ray_pool``)."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from backtest.sweep.evaluator import ComboScore
from backtest.sweep.work import Batch, Work, do_batch

__all__ = ["NICENESS", "HerePool", "Pool"]

NICENESS = 10


class Pool(Protocol):
    """Does batches of the ``work`` it was given last. ``workers`` is how many it does at once.

    ``score`` raises what the batch raised; a worker that died is not the batch's fault, and it is done again.
    """

    workers: int

    def begin(self, work: Work) -> None: ...

    async def score(self, batch: Batch) -> list[ComboScore]: ...

    def close(self) -> None: ...


class HerePool(Pool):
    """One batch after another in a thread of this process."""

    def __init__(self) -> None:
        self.workers = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweep", initializer=_step_back)
        self._work: Work | None = None

    def begin(self, work: Work) -> None:
        self._work = work

    async def score(self, batch: Batch) -> list[ComboScore]:
        if self._work is None:
            raise RuntimeError("the pool was not given any work")
        return await asyncio.get_running_loop().run_in_executor(self._thread, do_batch, self._work, batch)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    """This thread alone: live actors may share the machine, and whoever asked waits for it to answer."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
