"""Walk-forward: choose parameters on the days before, trade them on the days after, and report only the latter.

Every set of parameters is run once over the whole range. Its daily returns choose within each training window, which
looks at no day after it, and all together tell how much of the best result is search. What was chosen is then run anew
over each test window, from cash, and those runs in a row are the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backtest.honesty.folds import Fold, Mode, make_folds
from backtest.honesty.grid import Number, combinations_of
from backtest.honesty.judge import Chosen, Tried, judge
from backtest.honesty.trials import Job, Outcome, Runner
from backtest.metrics.series import Floats
from backtest.run import BacktestRequest, Source, assumptions_of
from trading.accounts.score import sharpe
from trading.instances import history_ms
from trading.intervals import DAY_MS

__all__ = ["WalkForwardRequest", "combinations", "longest", "run_walkforward"]


class WalkForwardRequest(BaseModel):
    """What to search: ``backtest`` is what all runs have in common, ``grid`` the values of each parameter to try.

    Windows are in UTC days. ``seed`` is that of the bootstrap, the shuffles and the random trades.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backtest: BacktestRequest
    grid: dict[str, list[int | float]]
    mode: Mode = "rolling"
    train: int = Field(90, ge=2, le=3650)
    test: int = Field(30, ge=1, le=3650)
    purge: int = Field(1, ge=0, le=365)
    embargo: int = Field(0, ge=0, le=365)
    seed: int = Field(0, ge=0, le=2**32 - 1)


def combinations(request: WalkForwardRequest) -> tuple[list[BacktestRequest], int]:
    """One request for each set of parameters, and how many sets the strategy refused; BadInput if none is left."""
    base = request.backtest
    accepted, refused = combinations_of(base.strategy, base.params, request.grid, base.source)
    return [base.model_copy(update={"params": params}) for params in accepted], refused


def longest(requests: Sequence[BacktestRequest]) -> BacktestRequest:
    """The one that wants the most history before its start: candles loaded for it are enough for all."""
    return max(requests, key=lambda item: history_ms(item.config()))


def run_walkforward(
    request: WalkForwardRequest,
    source: Source,
    runner: Runner,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Do all of it over ``source``; returns plain data. BadInput when the range has no room for a fold."""
    trials, refused = combinations(request)
    grid = _Grid.of(request.backtest, source)
    folds = make_folds(
        grid.days,
        mode=request.mode,
        train=request.train,
        test=request.test,
        purge=request.purge,
        embargo=request.embargo,
    )
    total, done = len(trials) + len(folds), 0

    def finish(jobs: list[Job]) -> dict[int, Outcome]:
        nonlocal done
        out = {}
        for outcome in runner(source, jobs):
            out[outcome.number] = outcome
            done += 1
            if on_progress is not None:
                on_progress(done / total)
        return out

    outcomes = finish([Job(number, trial, details=False) for number, trial in enumerate(trials)])
    returns = np.column_stack([_returns(outcomes[number], grid.days) for number in range(len(trials))])
    picks = [_choose(returns, fold) for fold in folds]
    jobs = [
        Job(n, trials[pick].model_copy(update=grid.span(fold.test)), details=True)
        for n, (fold, pick) in enumerate(zip(folds, picks, strict=True))
    ]
    tested = finish(jobs)
    chosen = [
        Chosen(
            fold=fold,
            params=dict(trials[pick].params),
            train_sharpe=sharpe([float(x) for x in returns[list(fold.train), pick]]),
            outcome=tested[n],
            returns=_returns(tested[n], len(fold.test), _closing(tested[n], request.backtest)),
        )
        for n, (fold, pick) in enumerate(zip(folds, picks, strict=True))
    ]
    tried = Tried([_searched(trial, request.grid) for trial in trials], returns, refused)
    return {
        "strategy": request.backtest.strategy,
        "market": request.backtest.market,
        "intervals": list(request.backtest.intervals),
        "grid": request.grid,
        "mode": request.mode,
        "train": request.train,
        "test": request.test,
        "purge": request.purge,
        "embargo": request.embargo,
        "seed": request.seed,
        "start": grid.start_ms,
        "end": grid.end_ms,
        "days": grid.days,
        **judge(request.backtest, source, tried, chosen, day_start=grid.day_start, seed=request.seed),
        "assumptions": [
            "Parameters are chosen by the Sharpe ratio of their daily returns within the training days.",
            "Each test begins with the capital in cash, and what it still holds at its end is sold at the last close, "
            "less fee and slippage. The tests' daily returns in a row are the result; money is that of the tests, each "
            "from the same capital.",
            *assumptions_of(request.backtest, [source]),
        ],
    }


@dataclass(frozen=True, slots=True)
class _Grid:
    """The UTC days of the range, the first and last of which may be cut."""

    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, request: BacktestRequest, source: Source) -> _Grid:
        first = source.candles[0].open_time_ms
        return cls(max(first, request.start_ms or 0), source.candles[-1].close_time_ms)

    @property
    def days(self) -> int:
        return (self.end_ms - 1) // DAY_MS - self.start_ms // DAY_MS + 1

    def day_start(self, day: int) -> int:
        """When ``day`` begins; of the one after the last, when the range ends."""
        return min(max(self.start_ms, (self.start_ms // DAY_MS + day) * DAY_MS), self.end_ms)

    def span(self, days: range) -> dict[str, int]:
        return {"start_ms": self.day_start(days.start), "end_ms": self.day_start(days.stop)}


def _returns(outcome: Outcome, days: int, closing: Decimal = Decimal(0)) -> Floats:
    """One return a day, less what closing costs at the end; 0 on days without candles, and after ruin."""
    equity = [float(value) for value in outcome.equity]
    equity[-1] -= float(closing)
    out = np.zeros(days)
    for day, (before, after) in enumerate(itertools.pairwise(equity)):
        if before <= 0:
            break
        out[day] = max(after / before - 1, -1.0)
    return out


def _closing(outcome: Outcome, request: BacktestRequest) -> Decimal:
    return abs(outcome.held) * (request.charges.taker_fee + request.charges.slippage)


def _choose(returns: Floats, fold: Fold) -> int:
    """The trial with the highest Sharpe ratio over the training days; the first of equal ones."""
    window = returns[list(fold.train)]
    scores = [sharpe([float(x) for x in window[:, trial]]) for trial in range(returns.shape[1])]
    return max(range(len(scores)), key=lambda trial: (scores[trial] is not None, scores[trial] or 0.0, -trial))


def _searched(trial: BacktestRequest, grid: dict[str, list[Number]]) -> dict[str, Number]:
    return {name: trial.params[name] for name in grid}
