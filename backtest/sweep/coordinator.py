"""A sweep from its row to its findings: candles out once, batches in flight, scores committed as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isfinite
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from backtest.checked import check_first
from backtest.provenance import changes, code_fingerprint, files_of, provenance_of
from backtest.sources import Source, load_sources
from backtest.sweep.evaluator import METRICS, ComboScore, Number, ReferenceEvaluator, engine_of
from backtest.sweep.findings import Tally, best_of, conclude
from backtest.sweep.objective import Objective
from backtest.sweep.pool import Pool
from backtest.sweep.request import SweepRequest, read_sweep, widest
from backtest.sweep.search import Asked, Scored, Search, search_of, stage_starts
from backtest.sweep.work import Batch, Work, packed
from trading.errors import BadInput, MantaError
from trading.storage import sweeps
from trading.storage.database import Database
from trading.storage.sweeps import ResultRow

__all__ = ["Progress", "run_sweep"]

_BEAT_S = 1.0
_PATIENCE_S = 300.0
"""How long Postgres may be away before the sweep ends; it can be resumed then."""
_BATCHES = {(False, False): 96, (False, True): 32, (True, False): 4, (True, True): 1}
"""Sets a batch at most, by whether the engine is slow, and whether the search learns from what it is told."""
_BATCHES_A_WORKER = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of at most ``total`` sets are tried; ``rate`` is how many a second since this process began.

    ``best`` are the searched parameters that are best so far, ``value`` their objective.
    """

    done: int
    total: int
    refused: int
    rate: float
    best: Mapping[str, Number] | None
    value: float | None


Tell = Callable[[Progress], None]


async def run_sweep(
    database: Database,
    run_id: UUID,
    pool: Pool,
    files: Mapping[str, Path] | None = None,
    on_progress: Tell | None = None,
) -> dict[str, Any]:
    """Run the sweep of a stored row, or go on with it: nothing that is stored is done again.

    What is stored is whole at any time. When the process is killed, at most the batches in flight are lost; when
    another one resumes the sweep, this one ends with Halt. A stop asked for in the row ends it in order, and so does
    being cancelled. ``files`` hold candles that are not in the database; a resumed sweep knows its own. Raises BadInput
    when the candles or the code are not those that the sweep was started with.
    """
    owner = uuid4()
    row = await database.run(lambda connection: sweeps.take(connection, run_id, owner))
    if row is None:
        raise BadInput(f"There is no sweep {run_id}.", field="run_id", value=str(run_id))
    try:
        run = await _Run.prepared(database, run_id, owner, row, files)
        if not await run.do(pool, on_progress):
            return {"run_id": str(run_id), "status": "stopped", **run.counts()}
        results = await run.concluded()
        await database.run(lambda connection: sweeps.set_done(connection, run_id, owner, results))
    except asyncio.CancelledError:
        await asyncio.shield(database.run(lambda connection: sweeps.stop(connection, run_id, owner)))
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MantaError) else f"{type(error).__name__}: {error}"
        await database.run(
            lambda connection: sweeps.set_failed(connection, run_id, owner, text), deadline_s=_PATIENCE_S
        )
        raise
    finally:
        pool.close()
    return {"run_id": str(run_id), "status": "done", **run.counts(), **results}


class _Run:
    """One process's part of a sweep: ``known`` is everything that is stored, by stage."""

    def __init__(
        self,
        database: Database,
        run_id: UUID,
        owner: UUID,
        *,
        request: SweepRequest,
        source: Source,
        starts: list[int],
        engine: str,
        known: list[Scored],
    ) -> None:
        self._database, self._run_id, self._owner = database, run_id, owner
        self._request, self._source, self._starts, self._engine = request, source, starts, engine
        self._goal, self._space = request.goal(), request.space()
        self._search: Search = search_of(request, known, len(starts))
        self._known = known
        self._before = len(known)
        self._leader = _Leader(self._goal, len(starts) - 1)
        self._leader.see(known)
        self.checked: Any = None

    @classmethod
    async def prepared(
        cls, database: Database, run_id: UUID, owner: UUID, row: Any, files: Mapping[str, Path] | None
    ) -> _Run:
        """Candles loaded and compared with those that the sweep began with, what is stored read."""
        request, then = read_sweep(row["config"]), row["provenance"]
        base = request.backtest
        wide = await asyncio.to_thread(widest, request)
        checked = await check_first(database, run_id, base.strategy, wide.params, base.source, base.intervals[0])
        if files is None:
            files = files_of(base.market, then) if then is not None else {}
        [source] = await database.run(lambda connection: load_sources(connection, wide, files), deadline_s=_PATIENCE_S)
        # What is recorded from now on belongs to another sweep.
        end_ms = source.candles[-1].close_time_ms
        request = request.model_copy(update={"backtest": base.model_copy(update={"end_ms": end_ms})})
        made_of = await asyncio.to_thread(provenance_of, wide, [source], files, request.seed)
        if then is not None and (changed := changes(then, made_of)):
            raise BadInput(
                f"Not the same as when this sweep began: {'; '.join(changed)}. Its scores could not be compared.",
                field="data" if then["data"] != made_of["data"] else "code",
                value=made_of["data"] if then["data"] != made_of["data"] else made_of["code"],
                fix="Start it anew with `manta sweep run`; what was found before is kept.",
            )
        starts = stage_starts(request, max(source.candles[0].open_time_ms, base.start_ms or 0), end_ms)
        rows = await database.run(lambda connection: sweeps.read_results(connection, run_id), deadline_s=_PATIENCE_S)
        known = [
            Scored(
                Asked(item["stage"], item["number"], item["params"]),
                ComboScore(item["params"], item["metrics"], item["trades"]),
            )
            for item in rows
        ]
        engine, why = engine_of(request.backtest)
        run = await asyncio.to_thread(
            lambda: cls(
                database, run_id, owner, request=request, source=source, starts=starts, engine=engine, known=known
            )
        )
        run.checked = checked
        await database.run(
            lambda connection: sweeps.begin(
                connection,
                run_id,
                config=request.model_dump(mode="json"),
                provenance=made_of,
                engine=(engine, why),
                combos=run._search.total,
                final_stage=len(starts) - 1,
            )
        )
        return run

    def counts(self) -> dict[str, Any]:
        return {
            "engine": self._engine,
            "combos": self._search.total,
            "scored": len(self._known),
            "scored_before": self._before,
            "refused": self._search.refused,
        }

    async def do(self, pool: Pool, on_progress: Tell | None) -> bool:
        """Try everything that is left; False when it was told to stop."""
        work = Work(
            f"{self._run_id}/{self._owner}",
            code_fingerprint(),
            self._request.backtest,
            await asyncio.to_thread(packed, self._source),
        )
        await asyncio.to_thread(pool.begin, work)
        began, flying = time.monotonic(), dict[asyncio.Task[list[ComboScore]], list[Asked]]()
        goes_on = True
        try:
            while goes_on:
                self._fill(flying, pool)
                if not flying:
                    return True
                done, _ = await asyncio.wait(flying, timeout=_BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                goes_on = await self._keep([(flying.pop(task), task.result()) for task in done])
                if on_progress is not None:
                    on_progress(self._progress(time.monotonic() - began))
            return False
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    def _fill(self, flying: dict[asyncio.Task[list[ComboScore]], list[Asked]], pool: Pool) -> None:
        """Keep every worker supplied, and no more: what is in flight is what a crash loses."""
        learns = self._request.method == "optuna"
        workers = pool.workers
        even = max(1, self._search.total // (workers * 2 * _BATCHES_A_WORKER))
        largest = _BATCHES[self._engine == "reference", learns]
        size = min(largest, even)
        while len(flying) < workers * (1 if learns else _BATCHES_A_WORKER):
            asked = self._search.ask(size)
            if not asked:
                return
            stage = asked[0].stage
            start_ms = self._starts[stage] if stage < len(self._starts) - 1 else None
            batch = Batch(start_ms, tuple(item.params for item in asked))
            flying[asyncio.ensure_future(pool.score(batch))] = asked

    async def _keep(self, finished: Sequence[tuple[list[Asked], list[ComboScore]]]) -> bool:
        """Commit what has come; whether the sweep is to go on."""
        fresh = [
            Scored(asked, _finite(score))
            for batch, scores in finished
            for asked, score in zip(batch, scores, strict=True)
        ]
        rows = [
            ResultRow(
                item.asked.stage,
                item.asked.number,
                item.asked.params,
                item.score.metrics,
                item.score.trades,
                item.score.returns,
            )
            for item in fresh
        ]
        self._search.tell(fresh)
        self._known += fresh
        self._leader.see(fresh)
        refused, share = self._search.refused, self._share
        if not rows:
            return await self._database.run(
                lambda connection: sweeps.beat(connection, self._run_id, self._owner, refused=refused, progress=share),
                deadline_s=_PATIENCE_S,
            )
        return await self._database.run(
            lambda connection: sweeps.store(
                connection, self._run_id, self._owner, rows, refused=refused, progress=share
            ),
            deadline_s=_PATIENCE_S,
        )

    @property
    def _share(self) -> float:
        return min(1.0, (len(self._known) + self._search.refused) / max(1, self._search.total))

    def _progress(self, seconds: float) -> Progress:
        leader = self._leader.best
        return Progress(
            done=len(self._known) + self._search.refused,
            total=self._search.total,
            refused=self._search.refused,
            rate=(len(self._known) - self._before) / max(seconds, 1e-9),
            best=None if leader is None else self._space.searched(leader.asked.params),
            value=None if leader is None else self._goal.value(leader.score),
        )

    async def concluded(self) -> dict[str, Any]:
        """The findings over all that is stored; BadInput when nothing counts."""
        returns = await self._returns()
        known = [
            Scored(item.asked, ComboScore(item.score.params, item.score.metrics, item.score.trades, kept))
            if (kept := returns.get((item.asked.stage, item.asked.number))) is not None
            else item
            for item in self._known
        ]
        last = len(self._starts) - 1
        first = [item for item in known if item.asked.stage == 0]
        tally = Tally(first, first if last == 0 else [i for i in known if i.asked.stage == last], self._search.refused)

        def work() -> dict[str, Any]:
            best = best_of(self._goal, tally)
            own = best.score.returns
            if own is None:
                [again] = ReferenceEvaluator(self._request.backtest, self._source).evaluate([best.asked.params])
                _check_same(best.score, again)
                own = again.returns or ()
            return conclude(self._space, self._goal, tally, own)

        found = await asyncio.to_thread(work)
        return found if self.checked is None else {**found, "strategy_check": self.checked}

    async def _returns(self) -> dict[tuple[int, int], tuple[float, ...]]:
        """Those of the last stage that are stored."""
        last = len(self._starts) - 1
        rows = await self._database.run(
            lambda connection: connection.fetch(
                "select number, returns from sweep_results where run_id = $1 and stage = $2 and returns is not null",
                self._run_id,
                last,
            ),
            deadline_s=_PATIENCE_S,
        )
        return {(last, row["number"]): tuple(row["returns"]) for row in rows}


class _Leader:
    """The best of the last stage so far."""

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


def _check_same(fast: ComboScore, reference: ComboScore) -> None:
    """MantaError when the best set does not score in the reference engine what the fast one said."""
    for name in METRICS:
        found, right = fast.metrics[name], reference.metrics[name]
        same = found == right if found is None or right is None else isclose(found, right, rel_tol=1e-9, abs_tol=1e-9)
        if not same or fast.trades != reference.trades:
            raise MantaError(
                f"The best set's {name} is {found} with {fast.trades} trades, and {right} with {reference.trades} in"
                " the reference engine.",
                field=name,
                value=found,
                fix="This is a bug: please report it with the output of `manta sweep show`.",
            )


def _finite(score: ComboScore) -> ComboScore:
    """The metrics that every engine gives, in order; what is no finite number is not defined, and JSON has no other."""
    found = {name: score.metrics.get(name) for name in METRICS}
    metrics = {name: value if value is not None and isfinite(value) else None for name, value in found.items()}
    return ComboScore(score.params, metrics, score.trades, score.returns)
