"""Optuna asked in batches: its sampler learns from what was found, also while other batches are under way."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from backtest.sweep.evaluator import Number
from backtest.sweep.objective import Objective
from backtest.sweep.search import Asked, Scored, Search
from backtest.sweep.space import Space

__all__ = ["OptunaSearch"]

_PATIENCE = 200


class OptunaSearch(Search):
    """The tree-structured Parzen estimator (Bergstra et al. 2011), each axis a range of places on it.

    A set is tried once: when it is proposed again, the sampler is reminded of what it gave. A set that does not count,
    or has no value, is told as pruned, which the sampler takes for worse than any that does. Refused ones count as
    tried. The search ends early when hundreds of proposals in a row brought nothing new.
    """

    def __init__(self, space: Space, goal: Objective, trials: int, seed: int, known: Sequence[Scored]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # What is known shifts the seed, or a resumed search would propose the same sets again.
            sampler = TPESampler(seed=(seed + len(known)) % 2**32, constant_liar=True)
        self.total, self.refused, self.done = trials, 0, False
        self._space, self._goal = space, goal
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._axes: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1) for name, values in space.axes.items()
        }
        self._open: dict[int, Trial] = {}
        self._merits: dict[int, float | None] = {}
        self._waiting: dict[int, list[Trial]] = {}
        for item in known:
            self._remember(item)

    def ask(self, most: int) -> list[Asked]:
        found: list[Asked] = []
        idle = 0
        while len(found) < most and not self.done:
            if len(self._merits) + len(self._open) >= self.total or idle >= _PATIENCE:
                self.done = True
                break
            trial = self._study.ask(self._axes)
            number = self._number(trial.params)
            if number in self._open:
                self._waiting.setdefault(number, []).append(trial)
                idle += 1
            elif number in self._merits:
                self._say(trial, self._merits[number])
                idle += 1
            elif self._space.refusal(params := self._space.params(number)) is not None:
                self._merits[number] = None
                self.refused += 1
                self._say(trial, None)
            else:
                self._open[number] = trial
                found.append(Asked(0, number, params))
                idle = 0
        return found

    def tell(self, scored: Iterable[Scored]) -> None:
        for item in scored:
            number, merit = item.asked.number, self._goal.merit(item.score)
            self._merits[number] = merit
            for trial in (self._open.pop(number), *self._waiting.pop(number, ())):
                self._say(trial, merit)

    def _say(self, trial: Trial, merit: float | None) -> None:
        if merit is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, merit)

    def _remember(self, item: Scored) -> None:
        number, merit = item.asked.number, self._goal.merit(item.score)
        self._merits[number] = merit
        self._study.add_trial(self._frozen(number, merit))

    def _frozen(self, number: int, merit: float | None) -> FrozenTrial:
        return create_trial(
            state=TrialState.PRUNED if merit is None else TrialState.COMPLETE,
            value=merit,
            params=dict(zip(self._axes, self._space.places(number), strict=True)),
            distributions=self._axes,
        )

    def _number(self, places: dict[str, Number]) -> int:
        number = 0
        for name, values in self._space.axes.items():
            number = number * len(values) + int(places[name])
        return number
