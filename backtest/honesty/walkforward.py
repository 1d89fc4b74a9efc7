"""Walk-forward: choose parameters on the days before, trade them on the days after, and report only the latter.

The search chooses within each training window, and looks at no day after it. What was chosen is then run anew over each
test window, from cash, and those runs in a row are the result. Every set that any window tried is run over all days
besides: their daily returns tell how much of the best result is search.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtest.honesty.folds import Fold, Mode, make_folds
from backtest.honesty.trials import Outcome
from backtest.metrics.series import Floats, deepest_fall
from backtest.refusals import explained
from backtest.run import BacktestRequest, Source
from backtest.sweep.evaluator import ComboScore, engine_of
from backtest.sweep.objective import OWN, Objective
from backtest.sweep.request import Method, SweepRequest, widest
from trading.accounts.score import sharpe, sortino
from trading.errors import BadInput
from trading.intervals import DAY_MS

__all__ = ["Days", "WalkForwardRequest", "check_size", "choose", "read_walkforward", "returns_of"]

_OF_DAYS = ("sharpe", "sortino", "total_return", "max_drawdown")
"""Metrics that daily returns alone tell: one run over all days scores a set in every training window."""
_MOST = {"reference": 2_000, "kernel": 20_000}


class WalkForwardRequest(BaseModel):
    """What to search: ``backtest`` is what all runs have in common; what is searched, and for what, is as a
    ``SweepRequest`` says it.

    Windows are in UTC days. ``seed`` is that of the search, the bootstrap, the shuffles and the random trades.

    Making one raises BadInput for what is wrong with the grid, objective or constraints, ValidationError for the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backtest: BacktestRequest
    grid: dict[str, list[int | float]]
    method: Method = "grid"
    trials: int | None = Field(None, ge=2, le=100_000)
    halving: bool = False
    objective: str = "sharpe"
    objective_source: str = Field("", repr=False)
    min_trades: int = Field(0, ge=0)
    constraints: tuple[str, ...] = ()
    mode: Mode = "rolling"
    train: int = Field(90, ge=2, le=3650)
    test: int = Field(30, ge=1, le=3650)
    purge: int = Field(1, ge=0, le=365)
    embargo: int = Field(0, ge=0, le=365)
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _can_be_run(self) -> WalkForwardRequest:
        search = self.search()
        if search.combos < 2:
            raise BadInput(
                f"The grid has {search.combos} combination{'s' if search.combos != 1 else ''}.",
                field="grid",
                value=search.combos,
                fix="Give 2 at least.",
            )
        if self.embargo and not self.once:
            raise ValueError(
                f"embargo is {self.embargo}, but this search runs each training window in one piece: leave embargo out,"
                f" or search a grid or at random by one of {', '.join(_OF_DAYS)}"
            )
        return self

    def search(self, number: int = 0) -> SweepRequest:
        """The search of fold ``number``, from 1 on, or of all of them."""
        names = ("grid", "method", "trials", "halving", "objective", "objective_source", "min_trades", "constraints")
        given = {name: getattr(self, name) for name in names}
        return SweepRequest(backtest=self.backtest, seed=(self.seed + number) % 2**32, **given)

    @property
    def once(self) -> bool:
        """Whether one run of a set over all days scores it in every training window: its daily returns there do.

        Otherwise each training window is searched by itself, so that nothing after it can guide the search.
        """
        metrics = {self.objective, *(item.metric for item in self.goal().constraints)}
        listed = self.method != "optuna" and not self.halving
        return listed and not self.min_trades and metrics <= set(_OF_DAYS)

    def goal(self) -> Objective:
        return self.search().goal()

    def folds(self, days: int) -> list[Fold]:
        """The folds of a range of ``days``; BadInput when there is no room for one."""
        return make_folds(
            days, mode=self.mode, train=self.train, test=self.test, purge=self.purge, embargo=self.embargo
        )

    def chosen_by(self) -> str:
        """How parameters are chosen, as a reader of the report wants to know it."""
        of = {"sharpe": "the Sharpe ratio of their daily returns", OWN: "a function of the user's own"}
        what = of.get(self.objective, f"the {self.objective.replace('_', ' ')}")
        bounds = [f"{self.min_trades} closed trades"] if self.min_trades else []
        bounds += self.constraints
        among = f", of sets with {' and '.join(bounds)}" if bounds else ""
        return f"Parameters are chosen by {what} within the training days{among}."


def read_walkforward(data: Mapping[str, Any]) -> WalkForwardRequest:
    """A request from plain data; BadInput names what is wrong."""
    try:
        return WalkForwardRequest.model_validate(data)
    except ValidationError as error:
        raise explained(error) from error


def check_size(request: WalkForwardRequest) -> None:
    """BadInput when the strategy takes none of the sets, or there are more than can be judged together."""
    search = request.search()
    widest(search)
    engine, why = engine_of(request.backtest)
    if search.combos > _MOST[engine]:
        raise BadInput(
            f"{search.combos:,} combinations are too many: this is scored by {why}.",
            field="grid",
            value=search.combos,
            fix=f"Try at most {_MOST[engine]:,}, such as with method random or optuna and trials.",
        )


@dataclass(frozen=True, slots=True)
class Days:
    """The UTC days of the range, the first and last of which may be cut."""

    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, request: BacktestRequest, source: Source) -> Days:
        first = source.candles[0].open_time_ms
        return cls(max(first, request.start_ms or 0), source.candles[-1].close_time_ms)

    @property
    def count(self) -> int:
        return (self.end_ms - 1) // DAY_MS - self.start_ms // DAY_MS + 1

    def start(self, day: int) -> int:
        """When ``day`` begins; of the one after the last, when the range ends."""
        return min(max(self.start_ms, (self.start_ms // DAY_MS + day) * DAY_MS), self.end_ms)

    def training(self, fold: Fold) -> tuple[int, int]:
        """When the training days of ``fold`` begin and end, UTC ms."""
        return self.start(fold.train[0]), self.start(fold.train[-1] + 1)

    def span(self, days: range) -> dict[str, int]:
        return {"start_ms": self.start(days.start), "end_ms": self.start(days.stop)}


def returns_of(outcome: Outcome, days: int, closing: Decimal = Decimal(0)) -> Floats:
    """One return a day, less what closing costs at the end; 0 on days without candles, and after ruin."""
    equity = [float(value) for value in outcome.equity]
    equity[-1] -= float(closing)
    out = np.zeros(days)
    for day, (before, after) in enumerate(itertools.pairwise(equity)):
        if before <= 0:
            break
        out[day] = max(after / before - 1, -1.0)
    return out


def choose(goal: Objective, returns: Floats, fold: Fold) -> tuple[int, ComboScore]:
    """The trial that is best over the training days, the first of equal ones, and its score there.

    ``returns`` has a row a day and a column a trial; they do not tell trades, of which the score has none.
    """
    window = returns[list(fold.train)]
    scores = [_score(window[:, trial]) for trial in range(returns.shape[1])]
    merits = [goal.merit(score) for score in scores]
    best = max(range(len(merits)), key=lambda trial: (merits[trial] is not None, merits[trial] or 0.0, -trial))
    return best, scores[best]


def _score(returns: Floats) -> ComboScore:
    """What daily returns alone tell, with drawdowns at the ends of days."""
    daily = [float(value) for value in returns]
    worth = np.concatenate(([1.0], np.cumprod(1 + returns)))
    metrics = {
        "sharpe": sharpe(daily),
        "sortino": sortino(daily),
        "total_return": float(worth[-1]) - 1,
        "max_drawdown": deepest_fall(worth),
    }
    return ComboScore({}, metrics, 0)
