"""The search of a walk-forward: the same searches, workers and compiled code as those of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from backtest.honesty.folds import Fold
from backtest.honesty.judge import Chosen, Trained, Tried, judge
from backtest.honesty.trials import Job, Outcome
from backtest.honesty.walkforward import Days, WalkForwardRequest, choose, returns_of
from backtest.metrics.series import Floats
from backtest.run import Source, assumptions_of
from backtest.sweep.drive import Drive, Kept, MemoryKeep, Progress, Window
from backtest.sweep.engines import engine_on
from backtest.sweep.evaluator import ComboScore, Number
from backtest.sweep.findings import Tally, best_of
from backtest.sweep.pool import Pool
from backtest.sweep.search import Scored, Search, listed, search_of, stage_starts
from backtest.sweep.work import work_of
from trading.errors import BadInput

__all__ = ["Searched", "run_walkforward"]

Tell = Callable[[Progress], None]
_STAGES = 8
"""Stages that a fold's search may have: those of fold n are kept from n times so many on, stage 0 is all days."""


class _Pick(NamedTuple):
    """What a fold chose: the set's number, and how it did over the training days."""

    number: int
    trained: Trained


async def run_walkforward(
    request: WalkForwardRequest, source: Source, pool: Pool, on_progress: Tell | None = None
) -> dict[str, Any]:
    """All of it over ``source``, kept in this process alone; plain data. BadInput when there is no room for a fold."""
    searched = Searched(request, source, MemoryKeep(), (), pool, on_progress)
    pool.begin(work_of(str(uuid4()), request.backtest, source, request.objective_source, keeps_returns=True))
    found = await searched.do()
    if found is None:
        raise RuntimeError("nobody can stop what is kept in memory")
    return found


class Searched:
    """One process's part of a walk-forward; ``known`` is what is ``kept`` of it already, and ``tested`` its tests: the
    parameters and the outcome of each by its fold, counted from 0.

    Making one raises BadInput when the range has no room for a single fold.
    """

    def __init__(
        self,
        request: WalkForwardRequest,
        source: Source,
        kept: Kept,
        known: Sequence[Scored],
        pool: Pool,
        on_progress: Tell | None = None,
        tested: Mapping[int, tuple[Mapping[str, Number], Outcome]] | None = None,
    ) -> None:
        self._tested = tested or {}
        self._request, self._source, self._kept = request, source, kept
        self._days = Days.of(request.backtest, source)
        self._folds = request.folds(self._days.count)
        self._goal, self._space = request.goal(), request.search().space()
        self.engine = engine_on(request.backtest, source)
        self.drive = Drive(
            kept, pool, known, request=request.search(), engine=self.engine[0], leads=0, on_progress=on_progress
        )
        self._searches = [] if request.once else [self._search(fold) for fold in self._folds]
        first = sum(min(search.total, request.search().combos) for search, _ in self._searches)
        whole = request.search().combos if request.once else min(self._space.count, first)
        self.drive.total = whole + sum(search.total for search, _ in self._searches) + len(self._folds)

    async def do(self) -> dict[str, Any] | None:
        """Search what is left, test what was chosen, and judge it; None when it was told to stop."""
        numbers = await self._whole() if self._request.once else await self._each()
        if numbers is None:
            return None
        returns = await self._returns(numbers)
        if returns is None:
            return None
        picks = self._picks(numbers, returns)
        jobs = [
            Job(n, self._of(pick.number, **self._days.span(fold.test)), details=True)
            for n, (fold, pick) in enumerate(zip(self._folds, picks, strict=True))
        ]
        tested = await self.drive.runs(jobs, self._made(jobs), keep=True)
        if tested is None:
            return None
        costs = self._request.backtest.charges
        chosen = [
            Chosen(
                fold=fold,
                params=self._space.params(pick.number),
                trained=pick.trained,
                outcome=outcome,
                returns=returns_of(outcome, len(fold.test), abs(outcome.held) * (costs.taker_fee + costs.slippage)),
            )
            for fold, pick, outcome in zip(self._folds, picks, tested, strict=True)
        ]
        points = [self._space.searched(self._space.params(number)) for number in numbers]
        tried = Tried(points, returns, self.drive.refused, len(self.drive.known))
        return await self.drive.beside(lambda: self._result(tried, chosen))

    def _made(self, jobs: Sequence[Job]) -> dict[int, Outcome]:
        """The tests that are kept, of those that ran what is chosen now."""
        return {
            job.number: self._tested[job.number][1]
            for job in jobs
            if job.number in self._tested and self._tested[job.number][0] == job.request.params
        }

    async def _whole(self) -> list[int] | None:
        """Every set once over all days; the numbers of those that were run."""
        search = search_of(self._request.search(), self.drive.of_stage(0), 1)
        return self._numbers(0) if await self.drive.through(search, [(None, None)]) else None

    async def _each(self) -> list[int] | None:
        """Search each training window by itself, then run all that any of them tried over all days."""
        refused = 0
        for fold, (search, windows) in zip(self._folds, self._searches, strict=True):
            if not await self.drive.through(search, windows, fold.number * _STAGES):
                return None
            # A set that the strategy does not take is refused in every fold.
            refused, self.drive.refused = max(refused, search.refused), 0
        self.drive.refused = refused
        numbers = sorted({number for fold in self._folds for number in self._numbers(fold.number * _STAGES)})
        search = listed(self._space, numbers, self.drive.of_stage(0))
        return numbers if await self.drive.through(search, [(None, None)]) else None

    def _search(self, fold: Fold) -> tuple[Search, list[Window]]:
        """That of the training days of ``fold``, and the window of each of its stages."""
        request = self._request.search(fold.number)
        start_ms, end_ms = self._days.training(fold)
        starts = stage_starts(request, start_ms, end_ms)
        first = fold.number * _STAGES
        known = [
            replace(item, asked=replace(item.asked, stage=item.asked.stage - first))
            for item in self.drive.known
            if first <= item.asked.stage < first + len(starts)
        ]
        return search_of(request, known, len(starts)), [(start, end_ms) for start in starts]

    def _numbers(self, stage: int) -> list[int]:
        return sorted(item.asked.number for item in self.drive.of_stage(stage))

    async def _returns(self, numbers: Sequence[int]) -> Floats | None:
        """The daily returns of each set over all days, a column each."""
        kept, days = await self._kept.returns(0), self._days.count
        # What lost all its money has no returns to score, but had some before.
        ruined = [number for number in numbers if len(kept.get(number) or ()) != days]
        again = await self.drive.runs([Job(n, self._of(number), details=False) for n, number in enumerate(ruined)])
        if again is None:
            return None
        lost = {number: returns_of(outcome, days) for number, outcome in zip(ruined, again, strict=True)}
        return np.column_stack([lost[number] if number in lost else np.asarray(kept[number]) for number in numbers])

    def _picks(self, numbers: Sequence[int], returns: Floats) -> list[_Pick]:
        if not self._request.once:
            return [self._best(fold, windows) for fold, (_, windows) in zip(self._folds, self._searches, strict=True)]
        picks = []
        for fold in self._folds:
            place, score = choose(self._goal, returns, fold)
            picks.append(_Pick(numbers[place], self._trained(score, None)))
        return picks

    def _best(self, fold: Fold, windows: Sequence[Window]) -> _Pick:
        """The best of the last stage of a fold's own search; BadInput when none counts."""
        last = self.drive.of_stage(fold.number * _STAGES + len(windows) - 1)
        try:
            best = best_of(self._goal, Tally(last, last, 0, len(last)))
        except BadInput as error:
            error.message = f"Fold {fold.number}: {error.message}"
            raise
        return _Pick(best.asked.number, self._trained(best.score, best.score.trades))

    def _trained(self, score: ComboScore, trades: int | None) -> Trained:
        told = score.metrics
        return Trained(
            self._goal.value(score), told.get("sharpe"), told.get("total_return"), told.get("max_drawdown"), trades
        )

    def _of(self, number: int, **span: int) -> Any:
        return self._request.backtest.model_copy(update={"params": self._space.params(number), **span})

    def _result(self, tried: Tried, chosen: Sequence[Chosen]) -> dict[str, Any]:
        request, days = self._request, self._days
        base = request.backtest
        told = ("grid", "method", "objective", "mode", "train", "test", "purge", "embargo", "seed")
        return {
            "strategy": base.strategy,
            "market": base.market,
            "intervals": list(base.intervals),
            **{name: getattr(request, name) for name in told},
            "start": days.start_ms,
            "end": days.end_ms,
            "days": days.count,
            **judge(base, self._source, tried, chosen, day_start=days.start, seed=request.seed),
            "assumptions": [
                request.chosen_by(),
                "Each test begins with the capital in cash, and what it still holds at its end is sold at the last "
                "close, less fee and slippage. The tests' daily returns in a row are the result; money is that of the "
                "tests, each from the same capital.",
                *assumptions_of(base, [self._source]),
            ],
        }
