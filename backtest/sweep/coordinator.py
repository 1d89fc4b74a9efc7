"""A sweep from its row to its findings: candles out once, batches in flight, scores committed as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any
from uuid import UUID

from backtest.run import assumptions_of
from backtest.sweep.begun import Gathered, gathered, taken
from backtest.sweep.drive import Drive, Kept, Progress, StoredKeep, Window
from backtest.sweep.engines import engine_on
from backtest.sweep.evaluator import METRICS, ComboScore, ReferenceEvaluator
from backtest.sweep.findings import MOST_JUDGED, Tally, best_of, conclude, held_out, ranked
from backtest.sweep.pool import Pool
from backtest.sweep.request import SweepRequest, read_sweep, widest
from backtest.sweep.search import Scored, listed, search_of, stage_starts
from trading.errors import BadInput, MantaError
from trading.intervals import DAY_MS
from trading.storage import sweeps
from trading.storage.database import Database

__all__ = ["Progress", "run_sweep"]

_HELD = 100
"""So many of the best are run on what was held out."""

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
    async with taken(database, sweeps.JOBS, run_id, pool) as (owner, row):
        request = read_sweep(row["config"])
        wide = await asyncio.to_thread(widest, request)
        data = await gathered(database, run_id, row, wide, request.seed, files, "manta sweep run")
        # What is recorded from now on belongs to another sweep.
        base = request.backtest.model_copy(update={"end_ms": data.end_ms})
        engine = await asyncio.to_thread(engine_on, base, data.source)
        kept = StoredKeep(database, sweeps.JOBS, run_id, owner)
        run = await asyncio.to_thread(
            _Run,
            request.model_copy(update={"backtest": base}),
            data,
            engine,
            kept,
            await kept.known(),
            pool,
            on_progress,
        )
        await database.run(
            lambda connection: sweeps.JOBS.begin(
                connection,
                run_id,
                config=run.request.model_dump(mode="json"),
                provenance=data.made_of,
                engine=engine,
                combos=run.sets,
                final_stage=run.last,
            )
        )
        # The returns of so many sets as are looked at; of more they would be most of what is sent and stored.
        keeps = run.sets <= MOST_JUDGED
        work = await asyncio.to_thread(data.work, f"{run_id}/{owner}", run.request, keeps_returns=keeps)
        await asyncio.to_thread(pool.begin, work)
        if not await run.do():
            return {"run_id": str(run_id), "status": "stopped", **run.counts()}
        results = await run.concluded()
        await database.run(lambda connection: sweeps.JOBS.set_done(connection, run_id, owner, results))
    return {"run_id": str(run_id), "status": "done", **run.counts(), **results}


class _Run:
    """One process's part of a sweep."""

    def __init__(
        self,
        request: SweepRequest,
        data: Gathered,
        engine: tuple[str, str],
        kept: Kept,
        known: list[Scored],
        pool: Pool,
        on_progress: Tell | None,
    ) -> None:
        self.request = request
        self._data, self._kept = data, kept
        self._goal, self._space = request.goal(), request.space()
        self._split = _split(request, data)
        until = self._split or data.end_ms
        starts = stage_starts(request, data.start_ms, until)
        self.last = len(starts) - 1
        self._windows: list[Window] = [*((start, self._split) for start in starts[:-1]), (None, self._split)]
        self._search = search_of(request, [item for item in known if item.asked.stage <= self.last], len(starts))
        self._engine = engine
        self.drive = Drive(
            kept, pool, known, request=request, engine=engine[0], leads=self.last, on_progress=on_progress
        )
        self.drive.held_total = min(_HELD, self._search.total) if self._split else 0
        self.drive.total = self._search.total + self.drive.held_total

    @property
    def sets(self) -> int:
        """So many are to be tried; later stages and what is held out are runs of some of them again."""
        return self.request.combos

    @property
    def runs(self) -> int:
        """So many runs were made over the range that chooses."""
        return sum(item.asked.stage <= self.last for item in self.drive.known)

    def counts(self) -> dict[str, Any]:
        return {
            "engine": self._engine[0],
            "engine_why": self._engine[1],
            "combos": self.sets,
            "tried": self.drive.tried,
            "runs": self.runs,
            "scored": len(self.drive.known),
            "scored_before": self.drive.before,
            "refused": self.drive.refused,
        }

    async def do(self) -> bool:
        """Try everything that is left; False when it was told to stop."""
        if not await self.drive.through(self._search, self._windows):
            return False
        if self._split is None:
            return True
        numbers = sorted(item.asked.number for item in ranked(self._goal, self.drive.of_stage(self.last))[:_HELD])
        rest = listed(self._space, numbers, self.drive.of_stage(self.last + 1))
        return await self.drive.through(rest, [(self._split, None)], self.last + 1)

    async def concluded(self) -> dict[str, Any]:
        """The findings over all that is kept; BadInput when nothing counts."""
        returns = await self._kept.returns(self.last)
        last = [
            replace(item, score=replace(item.score, returns=returns.get(item.asked.number)))
            for item in self.drive.of_stage(self.last)
        ]
        tally = Tally(last if self.last == 0 else self.drive.of_stage(0), last, self.drive.refused, self.runs)
        outside = self.drive.of_stage(self.last + 1)

        def work() -> dict[str, Any]:
            best = best_of(self._goal, tally)
            own = best.score.returns
            if own is None:
                base = self.request.backtest.model_copy(update={"end_ms": self._split or self.request.backtest.end_ms})
                [again] = ReferenceEvaluator(base, self._data.source).evaluate([best.asked.params])
                _check_same(best.score, again)
                own = again.returns or ()
            found = conclude(self._space, self._goal, tally, own, seed=self.request.seed)
            if self._split is None:
                return found
            held = held_out(self._goal, tally, outside, (self._split, self._data.end_ms))
            return {**found, "holdout": held, "words": [*found["words"][:-1], *held.pop("words"), found["words"][-1]]}

        found = await self.drive.beside(work)
        assumptions = assumptions_of(self.request.backtest, [self._data.source])
        found = {**found, "start": self._data.start_ms, "end": self._data.end_ms, "assumptions": assumptions}
        return found if self._data.checked is None else {**found, "strategy_check": self._data.checked}


def _split(request: SweepRequest, data: Gathered) -> int | None:
    """The midnight that begins what is held out; BadInput when either side of it has less than a day."""
    if not request.holdout:
        return None
    at_ms = round(data.end_ms - request.holdout * (data.end_ms - data.start_ms)) // DAY_MS * DAY_MS
    if at_ms - data.start_ms < DAY_MS or data.end_ms - at_ms < DAY_MS:
        raise BadInput(
            f"{request.holdout:.0%} of {(data.end_ms - data.start_ms) / DAY_MS:.1f} days cannot be held out: both parts"
            " need a day at least.",
            field="holdout",
            value=request.holdout,
            fix="Choose a longer range, or another share.",
        )
    return at_ms


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
