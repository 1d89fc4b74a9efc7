"""What scores sets of parameters: the reference engine, or a faster one that gives the same scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from backtest.requests import BacktestRequest
from backtest.run import simulate
from backtest.sources import Source, cut_for
from trading.accounts.score import daily_returns

__all__ = ["METRICS", "ComboScore", "Evaluator", "Number", "ReferenceEvaluator", "engine_of", "evaluator_for"]

Number = int | float

METRICS: Mapping[str, bool] = {
    "total_return": True,
    "final_equity": True,
    "sharpe": True,
    "sortino": True,
    "max_drawdown": False,
    "win_rate": True,
    "profit_factor": True,
    "fees": False,
    "exposure": False,
}
"""What a set of parameters is scored by, and whether more of it is better."""


@dataclass(frozen=True, slots=True)
class ComboScore:
    """The score of one set of parameters.

    ``metrics`` have the names and units of ``trading.accounts.score.Score``; None where one is not
    defined. ``trades`` counts closed ones. ``returns`` are its daily returns, None when the engine keeps none.
    """

    params: dict[str, Number]
    metrics: dict[str, float | None]
    trades: int
    returns: Sequence[float] | None = None


class Evaluator(Protocol):
    """Scores sets of parameters over one request and its candles, in their order."""

    def evaluate(self, combos: Sequence[Mapping[str, Number]]) -> list[ComboScore]: ...


class ReferenceEvaluator(Evaluator):
    """The reference engine, one set after another: the very same run as ``manta backtest`` makes.

    ``source`` has to reach back far enough for the set that wants the most history.
    """

    def __init__(self, request: BacktestRequest, source: Source) -> None:
        self._request = request
        self._source = source

    def evaluate(self, combos: Sequence[Mapping[str, Number]]) -> list[ComboScore]:
        return [self._one(dict(params)) for params in combos]

    def _one(self, params: dict[str, Number]) -> ComboScore:
        request = self._request.model_copy(update={"params": params})
        result = simulate(request, [cut_for(request, self._source)], "sweep", twin=False)
        found = {name: getattr(result.score, name) for name in METRICS}
        metrics = {name: None if value is None else float(value) for name, value in found.items()}
        return ComboScore(params, metrics, result.score.trades, tuple(daily_returns(result.equity.daily)))


def engine_of(request: BacktestRequest) -> tuple[str, str]:
    """The engine for ``request``, ``kernel`` or ``reference``, and in words why it is that one."""
    from backtest.sweep.kernel import why_not

    reason = why_not(request)
    if reason is None:
        return "kernel", "compiled code that makes the same trades as the reference engine"
    return "reference", f"the reference engine, hundreds of times slower than compiled code: {reason}"


def evaluator_for(request: BacktestRequest, source: Source) -> Evaluator:
    """The engine that ``engine_of`` names, over the candles of ``source``."""
    if engine_of(request)[0] == "reference":
        return ReferenceEvaluator(request, source)
    from backtest.sweep.kernel import KernelEvaluator

    return KernelEvaluator(request, source)
