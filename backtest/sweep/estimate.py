"""How long a sweep will take, told from a sample of it that is timed: an estimate, and no more."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import uuid4

from backtest.sources import Source, cut_for, span_of
from backtest.sweep.engines import engine_on
from backtest.sweep.evaluator import ComboScore, Number, ReferenceEvaluator, evaluator_for
from backtest.sweep.findings import MOST_JUDGED
from backtest.sweep.request import SweepRequest
from backtest.sweep.search import stage_starts
from trading.intervals import DAY_MS
from trading.storage import sweeps
from trading.storage.database import Connection, Database
from trading.storage.searches import ResultRow

__all__ = ["Estimate", "estimate"]

_SETS = 96
"""Those of a batch of compiled code, which share what they have in common."""
_SLOW_SETS = 3
_SLOW_MS = 7 * DAY_MS
"""The reference engine is timed over so much of the range: a set of years may take it a minute."""
_LOOKED_THROUGH = 2_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """``seconds`` that a sweep takes on so many ``workers``, told from ``sample`` sets."""

    seconds: float
    workers: int
    sample: int

    def __str__(self) -> str:
        """Such as "about 12 min on 4 workers (an estimate, from 96 sets)"."""
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        sets = f"{self.sample} set{'' if self.sample == 1 else 's'}"
        return f"about {_length(self.seconds)} on {workers} (an estimate, from {sets})"


@dataclass(frozen=True, slots=True)
class _Timed:
    """``scores`` of a sample, each of which took ``each_s`` as if over the whole range, and the sweep's size: its
    ``runs``, and as so many over the whole range, ``whole_runs``.
    """

    scores: Sequence[ComboScore]
    each_s: float
    runs: float
    whole_runs: float


async def estimate(database: Database, request: SweepRequest, source: Source, workers: int) -> Estimate:
    """Score a sample of ``request`` over the candles of ``source``, which reach back far enough, store it, time both.

    Nothing of it stays in the ``database``.
    It runs in this process and takes seconds; compiling is not counted. One process stores what all workers score, and
    needs a core for that as they do. Raises MantaError where the sweep would.
    """
    timed = await asyncio.to_thread(_timed, request, source)
    stored_s = await database.run(lambda connection: _storing_s(connection, request, timed.scores), deadline_s=60)
    storing_s = timed.runs * stored_s / len(timed.scores)
    seconds = max(storing_s, (timed.whole_runs * timed.each_s + storing_s) / workers)
    return Estimate(seconds, workers, len(timed.scores))


async def _storing_s(connection: Connection, request: SweepRequest, scores: Sequence[ComboScore]) -> float:
    """How long storing ``scores`` takes, in a transaction that is taken back."""
    run_id, keeps = uuid4(), request.combos <= MOST_JUDGED
    rows = [
        ResultRow(0, number, score.params, score.metrics, score.trades, score.returns if keeps else None)
        for number, score in enumerate(scores)
    ]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await sweeps.JOBS.queue(connection, run_id, request.model_dump(mode="json"))
        began = time.perf_counter()
        await sweeps.JOBS.store(connection, run_id, rows)
        return time.perf_counter() - began
    finally:
        await transaction.rollback()


def _timed(request: SweepRequest, source: Source) -> _Timed:
    base = request.backtest
    span = span_of(base, [source])
    sample = _sample(request)
    if engine_on(base, source)[0] == "kernel":
        evaluator, share = evaluator_for(base, source), 1.0
        evaluator.evaluate(sample[:1])
    else:
        sample = sample[:_SLOW_SETS]
        until_ms = min(span.from_ms + _SLOW_MS, span.to_ms)
        short = base.model_copy(update={"end_ms": until_ms})
        evaluator = ReferenceEvaluator(short, cut_for(short, source))
        share = (until_ms - span.from_ms) / (span.to_ms - span.from_ms)
    began = time.perf_counter()
    scores = evaluator.evaluate(sample)
    each_s = (time.perf_counter() - began) / len(sample) / share
    starts = stage_starts(request, span.from_ms, span.to_ms)
    # With halving, each stage has a third of the sets of the one before, over three times its range.
    stages = [
        (request.combos / 3**stage, (span.to_ms - start) / (span.to_ms - span.from_ms))
        for stage, start in enumerate(starts)
    ]
    return _Timed(scores, each_s, sum(runs for runs, _ in stages), sum(runs * part for runs, part in stages))


def _sample(request: SweepRequest) -> Sequence[dict[str, Number]]:
    """Neighbours from the middle of a grid, as batches have them, or sets from all over it where chance chooses."""
    space = request.space()
    if request.method == "grid":
        first = max(0, (space.count - _SETS) // 2)
        numbers: Sequence[int] = range(first, min(space.count, first + _LOOKED_THROUGH))
    else:
        numbers = random.Random(request.seed).sample(range(space.count), min(space.count, _LOOKED_THROUGH))
    accepted = (params for params in map(space.params, numbers) if space.refusal(params) is None)
    return list(islice(accepted, _SETS)) or space.accepted_sample()[:_SETS]


def _length(seconds: float) -> str:
    """In the unit that people would say it in."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1, round(seconds))} s"
