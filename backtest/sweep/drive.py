"""Drives searches: keeps every worker supplied, and commits scores as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Protocol, TypeVar
from uuid import UUID

from backtest.honesty.trials import Job, Outcome
from backtest.sweep.evaluator import METRICS, ComboScore, Number
from backtest.sweep.objective import OWN, Objective
from backtest.sweep.pool import Pool
from backtest.sweep.request import SweepRequest
from backtest.sweep.search import Asked, Scored, Search
from backtest.sweep.work import Batch
from trading.storage.database import Connection, Database
from trading.storage.searches import ResultRow, Searches

__all__ = ["PATIENCE_S", "Done", "Drive", "Kept", "MemoryKeep", "Progress", "StoredKeep", "Window"]

T = TypeVar("T")

PATIENCE_S = 300.0
"""How long Postgres may be away before a search ends; it can be resumed then."""

_BEAT_S = 1.0
_BATCHES = {(False, False): 96, (False, True): 32, (True, False): 4, (True, True): 1}
"""Sets a batch at most, by whether the engine is slow, and whether the search learns from what it is told."""
_BATCHES_A_WORKER = 2

Done = tuple[Job, Outcome]
"""A single run, and what came of it."""

Window = tuple[int | None, int | None]
"""From when to when a stage is run; None: as far as there is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of at most ``total`` runs are made, ``refused`` sets among them; ``rate`` is how many a second since
    this process began. ``held`` of those done, and ``held_total`` of all, are of sets on what was held out.

    ``tried`` of ``sets``, the refused included in these, have a score in stage 0, in which every set is run once.

    ``eta_s`` is how long the rest takes at that rate. ``best`` are the searched parameters that are best so far,
    ``value`` their ``objective``.
    """

    done: int
    total: int
    refused: int
    rate: float
    eta_s: float | None
    objective: str
    best: Mapping[str, Number] | None
    value: float | None
    tried: int
    sets: int
    held: int = 0
    held_total: int = 0

    def plain(self) -> dict[str, Any]:
        """As the stream tells it."""
        return {
            "done": self.done,
            "total": self.total,
            "refused": self.refused,
            "rate": round(self.rate, 2),
            "eta_s": None if self.eta_s is None else round(self.eta_s, 1),
            "objective": self.objective,
            "best": self.best,
            "value": self.value,
            "tried": self.tried,
            "sets": self.sets,
            "held": self.held,
            "held_total": self.held_total,
        }


class Kept(Protocol):
    """Where scores go, and the outcomes of single runs that are to be kept. ``store`` returns whether the search is to
    go on.
    """

    async def store(
        self, rows: Sequence[ResultRow], progress: Progress, share: float, outcomes: Sequence[Done] = ()
    ) -> bool: ...

    async def returns(self, stage: int) -> Mapping[int, Sequence[float]]:
        """The daily returns of each set of ``stage`` by its number."""
        ...


class MemoryKeep(Kept):
    """Scores in this process alone, gone with it."""

    def __init__(self) -> None:
        self._returns: dict[int, dict[int, Sequence[float]]] = {}

    async def store(
        self, rows: Sequence[ResultRow], progress: Progress, share: float, outcomes: Sequence[Done] = ()
    ) -> bool:
        for row in rows:
            if row.returns is not None:
                self._returns.setdefault(row.stage, {})[row.number] = row.returns
        return True

    async def returns(self, stage: int) -> Mapping[int, Sequence[float]]:
        return self._returns.get(stage, {})


class StoredKeep(Kept):
    """Scores in the tables of ``jobs``, as the ``owner`` of the search ``run_id``; Halt when it is no longer.

    ``keep_outcomes`` stores those of single runs; without it they are not kept.
    """

    def __init__(
        self,
        database: Database,
        jobs: Searches,
        run_id: UUID,
        owner: UUID,
        keep_outcomes: Callable[[Connection, UUID, Sequence[Done]], Awaitable[None]] | None = None,
    ) -> None:
        self._database, self._jobs, self._run_id, self._owner = database, jobs, run_id, owner
        self._keep_outcomes = keep_outcomes

    async def store(
        self, rows: Sequence[ResultRow], progress: Progress, share: float, outcomes: Sequence[Done] = ()
    ) -> bool:
        async def work(connection: Connection) -> bool:
            # The beat first: it holds the row, so that nobody takes the search over amid this.
            goes_on = await self._jobs.beat(
                connection, self._run_id, self._owner, refused=progress.refused, progress=share, news=progress.plain()
            )
            if rows:
                await self._jobs.store(connection, self._run_id, rows)
            if outcomes and self._keep_outcomes is not None:
                await self._keep_outcomes(connection, self._run_id, outcomes)
            return goes_on

        return await self._database.run(work, deadline_s=PATIENCE_S)

    async def returns(self, stage: int) -> Mapping[int, Sequence[float]]:
        rows = await self._database.run(
            lambda connection: self._jobs.read_returns(connection, self._run_id, stage), deadline_s=PATIENCE_S
        )
        return {row["number"]: row["returns"] for row in rows}

    async def known(self) -> list[Scored]:
        """All that is stored, without returns."""
        rows = await self._database.run(
            lambda connection: self._jobs.read_results(connection, self._run_id), deadline_s=PATIENCE_S
        )
        return [
            Scored(
                Asked(item["stage"], item["number"], item["params"]),
                ComboScore(item["params"], item["metrics"], item["trades"]),
            )
            for item in rows
        ]


class Drive:
    """One process's part of a search: ``known`` is everything that is kept, by stage, in the order in which it came.

    ``request`` is the search, or one of several alike. ``total`` and ``refused`` are those of all that is to be done,
    as far as it is known, ``held_total`` of which are to be done on what was held out, in the stage after ``leads``,
    the stage whose best set progress tells of; ``tried`` is how many sets have a score in stage 0.
    """

    def __init__(
        self,
        kept: Kept,
        pool: Pool,
        known: Iterable[Scored],
        *,
        request: SweepRequest,
        engine: str,
        leads: int,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.known = list(known)
        self.before = len(self.known)
        self.total, self.refused, self.held_total = 0, 0, 0
        self.tried = sum(item.asked.stage == 0 for item in self.known)
        self._sets = request.combos
        self._after = sum(item.asked.stage > leads for item in self.known)
        self._kept, self._pool, self._tell = kept, pool, on_progress
        self._goal, self._space = request.goal(), request.space()
        self._slow, self._learns = engine == "reference", request.method == "optuna"
        self._leads, self._leader = leads, _Leader(self._goal, leads)
        self._leader.see(self.known)
        self._began = time.monotonic()
        self._others, self._made = 0, 0

    def of_stage(self, stage: int) -> list[Scored]:
        return [item for item in self.known if item.asked.stage == stage]

    async def through(self, search: Search, windows: Sequence[Window], first_stage: int = 0) -> bool:
        """Try everything that ``search`` asks for; False when it was told to stop.

        Stage n of the search is run over ``windows[n]`` and kept as stage ``first_stage + n``.
        """
        flying = dict[asyncio.Task[list[ComboScore]], list[Asked]]()
        refused = self.refused
        goes_on = True
        try:
            while goes_on:
                self._fill(search, windows, flying)
                self.refused = refused + search.refused
                if not flying:
                    return True
                done, _ = await asyncio.wait(flying, timeout=_BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                finished = [(flying.pop(task), task.result()) for task in done]
                goes_on = await self._keep(search, finished, first_stage)
            return False
        finally:
            await _dropped(flying)

    async def runs(
        self, jobs: Sequence[Job], made: Mapping[int, Outcome] | None = None, *, keep: bool = False
    ) -> list[Outcome] | None:
        """Do single runs in the reference engine, and give their outcomes in order; None when it was told to stop.

        ``made`` are the outcomes of those that need not be done again, by their places; ``keep`` has fresh ones stored.
        """
        found = dict(made or {})
        self._made += len(found)
        waiting = [(place, job) for place, job in enumerate(jobs) if place not in found]
        flying = dict[asyncio.Task[Outcome], int]()
        try:
            while waiting or flying:
                while waiting and len(flying) < self._pool.workers:
                    place, job = waiting.pop(0)
                    flying[asyncio.ensure_future(self._pool.run(job))] = place
                done, _ = await asyncio.wait(flying, timeout=_BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                fresh = {flying.pop(task): task.result() for task in done}
                found |= fresh
                self._others += len(done)
                if not await self._said(
                    [], [(jobs[place], outcome) for place, outcome in fresh.items()] if keep else ()
                ):
                    return None
            return [found[place] for place in range(len(jobs))]
        finally:
            await _dropped(flying)

    async def beside(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, saying all the while that this process lives."""
        task = asyncio.ensure_future(asyncio.to_thread(work))
        while not (await asyncio.wait([task], timeout=_BEAT_S))[0]:
            await self._said([])
        return task.result()

    def _fill(
        self, search: Search, windows: Sequence[Window], flying: dict[asyncio.Task[list[ComboScore]], list[Asked]]
    ) -> None:
        """Keep every worker supplied, and no more: what is in flight is what a crash loses."""
        workers = self._pool.workers
        even = max(1, search.total // (workers * 2 * _BATCHES_A_WORKER))
        size = min(_BATCHES[self._slow, self._learns], even)
        while len(flying) < workers * (1 if self._learns else _BATCHES_A_WORKER):
            asked = search.ask(size)
            if not asked:
                return
            batch = Batch(*windows[asked[0].stage], tuple(item.params for item in asked))
            flying[asyncio.ensure_future(self._pool.score(batch))] = asked

    async def _keep(
        self, search: Search, finished: Sequence[tuple[list[Asked], list[ComboScore]]], first_stage: int
    ) -> bool:
        """Commit what has come; whether the search is to go on."""
        fresh = [
            Scored(asked, _finite(score))
            for batch, scores in finished
            for asked, score in zip(batch, scores, strict=True)
        ]
        search.tell(fresh)
        kept = [replace(item, asked=replace(item.asked, stage=first_stage + item.asked.stage)) for item in fresh]
        rows = [
            ResultRow(
                item.asked.stage,
                item.asked.number,
                item.asked.params,
                item.score.metrics,
                item.score.trades,
                item.score.returns,
            )
            for item in kept
        ]
        # Where they are kept they can be read again: a million of them would not fit beside each other.
        bare = [replace(item, score=replace(item.score, returns=None)) for item in kept]
        self.known += bare
        self.tried += sum(item.asked.stage == 0 for item in bare)
        self._after += sum(item.asked.stage > self._leads for item in bare)
        self._leader.see(bare)
        return await self._said(rows)

    async def _said(self, rows: Sequence[ResultRow], outcomes: Sequence[Done] = ()) -> bool:
        told = self._progress()
        if self._tell is not None:
            self._tell(told)
        return await self._kept.store(rows, told, min(1.0, told.done / max(1, told.total)), outcomes)

    def _progress(self) -> Progress:
        leader = self._leader.best
        done = len(self.known) + self._others + self._made + self.refused
        fresh = len(self.known) - self.before + self._others
        rate = fresh / max(time.monotonic() - self._began, 1e-9)
        return Progress(
            done=done,
            total=max(done, self.total),
            refused=self.refused,
            rate=rate,
            eta_s=max(0, self.total - done) / rate if fresh else None,
            objective=self._goal.metric,
            best=None if leader is None else self._space.searched(leader.asked.params),
            value=None if leader is None else self._goal.value(leader.score),
            tried=self.tried,
            sets=self._sets,
            held=self._after if self.held_total else 0,
            held_total=self.held_total,
        )


class _Leader:
    """The best of one stage so far."""

    def __init__(self, goal: Objective, stage: int) -> None:
        self.best: Scored | None = None
        self._goal, self._stage = goal, stage
        self._merit: float | None = None

    def see(self, scored: Sequence[Scored]) -> None:
        for item in scored:
            if item.asked.stage != self._stage:
                continue
            merit = self._goal.merit(item.score)
            if merit is not None and (self._merit is None or merit > self._merit):
                self.best, self._merit = item, merit


async def _dropped(flying: Iterable[asyncio.Task[Any]]) -> None:
    for task in flying:
        task.cancel()
    await asyncio.gather(*flying, return_exceptions=True)


def _finite(score: ComboScore) -> ComboScore:
    """The metrics that every engine gives, in order; what is no finite number is not defined, and JSON has no other."""
    names = (*METRICS, *((OWN,) if OWN in score.metrics else ()))
    found = {name: score.metrics.get(name) for name in names}
    metrics = {name: value if value is not None and isfinite(value) else None for name, value in found.items()}
    return ComboScore(score.params, metrics, score.trades, score.returns)
