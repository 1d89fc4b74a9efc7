"""Which sets of parameters are tried next: every one, some at random, ever fewer on ever more time, or Optuna's choice.

A search is asked for sets and told their scores, in any order. It can be made again from what was stored: told the
scores that are known, it never asks for those sets again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from backtest.sweep.evaluator import ComboScore, Number
from backtest.sweep.objective import Objective
from backtest.sweep.request import SweepRequest
from backtest.sweep.space import Space
from trading.intervals import DAY_MS

__all__ = ["Asked", "Scored", "Search", "listed", "search_of", "stage_starts"]

_THIRD = 3
_MOST_STAGES = 4
_LEAST_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Asked:
    """One set to try. ``number`` is its own in its ``stage``."""

    stage: int
    number: int
    params: dict[str, Number]


@dataclass(frozen=True, slots=True)
class Scored:
    """A set and its score."""

    asked: Asked
    score: ComboScore


class Search(Protocol):
    """``total`` is how many sets will be tried at most, ``refused`` how many of those the strategy does not take.

    ``ask`` returns at most so many sets; none while it waits to be told scores, and none for ever once ``done``.
    """

    total: int
    refused: int
    done: bool

    def ask(self, most: int) -> list[Asked]: ...

    def tell(self, scored: Iterable[Scored]) -> None: ...


def search_of(request: SweepRequest, known: Sequence[Scored], stages: int) -> Search:
    """The search that ``request`` wants, which knows the scores ``known``."""
    space = request.space()
    if request.method == "optuna":
        from backtest.sweep.optuna_search import OptunaSearch

        return OptunaSearch(space, request.goal(), request.combos, request.seed, known)
    numbers: Sequence[int] = range(space.count)
    if request.trials is not None and request.trials < space.count:
        # In order of number, so that neighbours share features.
        numbers = sorted(random.Random(request.seed).sample(numbers, request.trials))
    if stages > 1:
        return _Halving(space, request.goal(), numbers, stages, known)
    return _Listed(space, numbers, {item.asked.number for item in known})


def listed(space: Space, numbers: Sequence[int], known: Sequence[Scored]) -> Search:
    """Every set of these ``numbers`` that is not known, once."""
    return _Listed(space, numbers, {item.asked.number for item in known})


def stage_starts(request: SweepRequest, start_ms: int, end_ms: int) -> list[int]:
    """When the range of each stage begins, at a midnight, but the last at ``start_ms``: each three times as long.

    One stage unless the request wants halving, has sets enough for it, and the first part would have a week at least.
    """
    stages = 1
    while (
        request.halving
        and stages < _MOST_STAGES
        and request.combos >= _THIRD**stages
        and (end_ms - start_ms) // _THIRD**stages >= _LEAST_MS
    ):
        stages += 1
    parts = [(end_ms - start_ms) // _THIRD**left for left in range(stages - 1, 0, -1)]
    return [*((end_ms - part) // DAY_MS * DAY_MS for part in parts), start_ms]


class _Listed(Search):
    """Sets by their numbers, each once."""

    def __init__(self, space: Space, numbers: Sequence[int], known: set[int], stage: int = 0) -> None:
        self.total = len(numbers)
        self.refused = 0
        self.done = False
        self._space, self._stage = space, stage
        self._numbers: Iterator[int] = (number for number in numbers if number not in known)

    def ask(self, most: int) -> list[Asked]:
        found = list(islice(self._accepted(), most))
        self.done = len(found) < most
        return found

    def tell(self, scored: Iterable[Scored]) -> None:
        """What was found changes nothing."""

    def _accepted(self) -> Iterator[Asked]:
        for number in self._numbers:
            params = self._space.params(number)
            if self._space.refusal(params) is None:
                yield Asked(self._stage, number, params)
            else:
                self.refused += 1


@dataclass(slots=True)
class _Stage:
    """One stage under way: what it asks, and what it was told."""

    search: _Listed
    asked: int = 0
    told: dict[int, float | None] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.search.done and self.asked == len(self.told)


class _Halving(Search):
    """All sets on the last part of the range, the best third of them on a part three times as long, and so on."""

    def __init__(
        self, space: Space, goal: Objective, numbers: Sequence[int], stages: int, known: Sequence[Scored]
    ) -> None:
        self._space, self._goal, self._stages = space, goal, stages
        self._known = [[item for item in known if item.asked.stage == stage] for stage in range(stages)]
        self._number = 0
        self.refused = 0
        self.done = False
        self.total = sum(max(1, len(numbers) // _THIRD**stage) for stage in range(stages))
        self._stage = self._begin(numbers)

    def ask(self, most: int) -> list[Asked]:
        while not self.done:
            found = self._stage.search.ask(most)
            self._stage.asked += len(found)
            if found or not self._stage.over:
                return found
            self._next()
        return []

    def tell(self, scored: Iterable[Scored]) -> None:
        for item in scored:
            if item.asked.stage == self._number:
                self._stage.told[item.asked.number] = self._goal.merit(item.score)

    def _begin(self, numbers: Sequence[int]) -> _Stage:
        known = self._known[self._number]
        stage = _Stage(_Listed(self._space, numbers, {item.asked.number for item in known}, self._number), len(known))
        stage.told = {item.asked.number: self._goal.merit(item.score) for item in known}
        return stage

    def _next(self) -> None:
        self.refused += self._stage.search.refused
        ranked = sorted(
            ((merit, -number) for number, merit in self._stage.told.items() if merit is not None), reverse=True
        )
        best = sorted(-number for _, number in ranked[: max(1, len(self._stage.told) // _THIRD)])
        if self._number == self._stages - 1 or not best:
            self.done = True
            return
        self._number += 1
        self._stage = self._begin(best)
