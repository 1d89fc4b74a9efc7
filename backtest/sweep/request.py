"""What a sweep is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtest.refusals import explained
from backtest.requests import BacktestRequest
from backtest.sweep.objective import OWN, Constraint, Objective, check_metric, check_own
from backtest.sweep.space import Space
from trading.instances import history_ms

__all__ = ["Method", "SweepRequest", "read_sweep", "widest"]

Method = Literal["grid", "random", "optuna"]


class SweepRequest(BaseModel):
    """``backtest`` is what all runs have in common, ``grid`` the values of each parameter to try.

    ``grid`` tries every combination, ``random`` and ``optuna`` ``trials`` of them. ``halving`` first tries all on the
    last part of the range, and only the best third of them on ever longer parts. ``seed`` is that of all chance.

    ``objective`` is a metric, or ``objective`` for the function of that name in the text ``objective_source``.
    ``holdout`` is the share of the range, its last, that chooses nothing: the best are run on it afterwards.

    Making one raises BadInput for what is wrong with the grid, objective or constraints, ValidationError for the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backtest: BacktestRequest
    grid: dict[str, list[int | float]]
    method: Method = "grid"
    trials: int | None = Field(None, ge=1, le=100_000_000)
    halving: bool = False
    objective: str = "sharpe"
    objective_source: str = Field("", repr=False)
    min_trades: int = Field(0, ge=0)
    constraints: tuple[str, ...] = ()
    holdout: float = Field(0, ge=0, le=0.9)
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _can_be_run(self) -> SweepRequest:
        if (self.trials is None) != (self.method == "grid"):
            needs = "needs trials: say how many" if self.trials is None else "tries every combination: leave out trials"
            raise ValueError(f"trials are {self.trials}, but method {self.method} {needs}")
        if self.halving and self.method == "optuna":
            raise ValueError("halving is for grid and random: optuna chooses by itself, leave halving out")
        check_metric(self.objective, "objective", own=bool(self.objective_source))
        if self.objective == OWN:
            check_own(self.objective_source)
        self.goal()
        self.space()
        return self

    def goal(self) -> Objective:
        return Objective(self.objective, self.min_trades, tuple(Constraint.parse(text) for text in self.constraints))

    def space(self) -> Space:
        base = self.backtest
        return Space(base.strategy, base.params, self.grid, base.source)

    @property
    def combos(self) -> int:
        """At most how many sets are tried over the whole range, or its first part when halving."""
        count = self.space().count
        return min(self.trials or count, count)


def read_sweep(data: Mapping[str, Any]) -> SweepRequest:
    """A request from plain data; BadInput names what is wrong."""
    try:
        return SweepRequest.model_validate(data)
    except ValidationError as error:
        raise explained(error) from error


def widest(request: SweepRequest) -> BacktestRequest:
    """The run that wants the most history before its start; BadInput when the strategy takes no combination."""
    made = [request.backtest.model_copy(update={"params": params}) for params in request.space().accepted_sample()]
    return max(made, key=lambda item: history_ms(item.config()))
