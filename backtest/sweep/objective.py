"""What a sweep looks for: a metric, and what a set of parameters must fulfil to count at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from operator import ge, gt, le, lt

from backtest.sweep.evaluator import METRICS, ComboScore
from trading.errors import BadInput
from trading.parameters import nearest

__all__ = ["Constraint", "Objective", "check_metric"]

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
        return METRICS[self.metric]

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


def check_metric(name: str, field: str) -> None:
    """BadInput when there is no metric ``name``; a constraint may also be on ``trades``."""
    known = tuple(METRICS) if field != "constraint" else (*METRICS, "trades")
    if name not in known:
        raise BadInput(f"There is no metric {name!r}.", field=field, value=name, fix=nearest(name, known))
