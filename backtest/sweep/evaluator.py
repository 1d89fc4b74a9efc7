"""What scores combinations of parameters, and what a score is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ComboScore", "Evaluator"]


@dataclass(frozen=True, slots=True)
class ComboScore:
    """``metrics`` are those of ``trading.accounts.score.Score`` by name, None where one is not defined."""

    params: dict[str, int | float]
    metrics: dict[str, float | None]
    trades: int


class Evaluator(Protocol):
    """Scores combinations of one request's parameters, in their order."""

    def evaluate(self, combos: Sequence[Mapping[str, int | float]]) -> list[ComboScore]: ...
