"""What a sweep looks for: a metric or a function of the user's, and what a set of parameters must fulfil to count."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import isfinite, nan
from operator import ge, gt, le, lt

from backtest.sweep.evaluator import METRICS, ComboScore
from trading.errors import BadInput
from trading.parameters import nearest
from trading.strategies.folder import failed_line, module_from

__all__ = ["OWN", "Constraint", "Objective", "check_metric", "check_own", "more_is_better", "with_own"]

OWN = "objective"
"""The name of a user's own function, of the metric that it gives, and of the file whose text it is."""

_SIGNS = {"<=": le, ">=": ge, "<": lt, ">": gt}
_CONSTRAINT = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*(-?[0-9.]+(?:e-?[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """``metric`` compared with ``bound`` by ``sign``; what is not defined does not fulfil it."""

    metric: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """``max_drawdown<=0.3``; BadInput names what is wrong."""
        match = _CONSTRAINT.fullmatch(text)
        try:
            if match is None:
                raise ValueError(text)
            bound = float(match[3])
        except ValueError as error:
            raise BadInput(
                f"The constraint {text!r} cannot be read.",
                field="constraint",
                value=text,
                fix="Write it like max_drawdown<=0.3, with <=, >=, < or >.",
            ) from error
        check_metric(match[1], "constraint")
        return cls(match[1], match[2], bound)

    def holds(self, score: ComboScore) -> bool:
        value = score.trades if self.metric == "trades" else score.metrics.get(self.metric)
        return value is not None and _SIGNS[self.sign](value, self.bound)

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.bound:g}"


@dataclass(frozen=True, slots=True)
class Objective:
    """The ``metric`` to be as good as can be, of sets with ``min_trades`` closed trades that fulfil all constraints."""

    metric: str
    min_trades: int = 0
    constraints: tuple[Constraint, ...] = ()

    @property
    def more_is_better(self) -> bool:
        return more_is_better(self.metric)

    def value(self, score: ComboScore) -> float | None:
        """The metric; None where it is not defined, or not a finite number."""
        found = score.metrics.get(self.metric)
        return found if found is not None and isfinite(found) else None

    def merit(self, score: ComboScore) -> float | None:
        """The higher the better; None for a set that does not count."""
        value = self.value(score)
        if value is None or not self.allows(score):
            return None
        return value if self.more_is_better else -value

    def allows(self, score: ComboScore) -> bool:
        return score.trades >= self.min_trades and all(item.holds(score) for item in self.constraints)


def check_metric(name: str, field: str, *, own: bool = False) -> None:
    """BadInput when there is no metric ``name``; a constraint may also be on ``trades``, and where the objective is a
    function of the user's own, that is a metric, too.
    """
    known = (*METRICS, *(("trades",) if field == "constraint" else ()), *((OWN,) if own else ()))
    if name not in known:
        raise BadInput(f"There is no metric {name!r}.", field=field, value=name, fix=nearest(name, known))


def more_is_better(metric: str) -> bool:
    """Whether more of it is better, as it is of what a user's own function gives."""
    return METRICS.get(metric, True)


def check_own(source: str) -> None:
    """BadInput, with the line, unless the text defines a function ``objective`` that can be called with metrics."""
    try:
        _own(source, dict.fromkeys((*METRICS, "trades"), 1.0))
    except BadInput as error:
        # With figures that nobody ever scored it may well divide by 0.
        if not isinstance(error.__cause__, ArithmeticError | ValueError):
            raise


def with_own(source: str, score: ComboScore) -> ComboScore:
    """``score`` with the metric ``objective``: what the function of that name in ``source`` makes of the others.

    The function gets them by name, with ``trades``; one that is not defined is NaN, so that what is computed from it is
    not defined either. NaN, infinity and None say that the set does not count. Raises BadInput that names the line when
    it fails, or gives anything else.
    """
    given = {name: nan if value is None else value for name, value in score.metrics.items()}
    value = _own(source, {**given, "trades": score.trades})
    return replace(score, metrics={**score.metrics, OWN: value})


def _own(source: str, metrics: dict[str, float]) -> float | None:
    try:
        module = module_from(OWN, source)
    except BadInput as error:
        raise BadInput(error.message, field=OWN, value=f"{OWN}.py", fix=error.fix) from error
    function = getattr(module, OWN, None)
    if not callable(function):
        raise BadInput(
            f"The file has no function {OWN}.",
            field=OWN,
            value=f"{OWN}.py",
            fix=f"Write `def {OWN}(metrics): return metrics['sharpe']`, for one.",
        )
    try:
        found = function(metrics)
        value = None if found is None else float(found)
    except Exception as error:
        line = failed_line(error, str(module.__file__))
        where = f"{OWN}.py, line {line}" if line else f"What {OWN}.py returned"
        raise BadInput(
            f"{where}: {type(error).__name__}: {error}.",
            field=OWN,
            value=f"{OWN}.py",
            fix=f"It gets a dict of {', '.join(metrics)}, and returns a number, or None for a set that does not count.",
        ) from error
    return value if value is not None and isfinite(value) else None
