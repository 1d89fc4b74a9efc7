"""How a walk-forward cuts time: parameters are chosen on days before, and judged on days after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trading.errors import BadInput

__all__ = ["Fold", "Mode", "make_folds"]

Mode = Literal["rolling", "anchored"]


@dataclass(frozen=True, slots=True)
class Fold:
    """``train`` are the days that choose, ``test`` is the range of days that judges: places in the run's daily grid."""

    number: int
    train: tuple[int, ...]
    test: range


def make_folds(days: int, *, mode: Mode, train: int, test: int, purge: int = 0, embargo: int = 0) -> list[Fold]:
    """Cut ``days`` into folds of ``test`` days, each chosen on ``train`` days before it.

    Rolling windows have ``train`` days, anchored ones begin at the first day and grow. The last ``purge`` days before a
    test are not trained on, since positions entered then reach into it. The ``embargo`` days after each earlier test
    are not trained on either, since they still show its influence. Days at the end that do not fill a whole test are
    judged if they are at least half of one. BadInput when there is no room for a single fold.
    """
    folds: list[Fold] = []
    at = train
    while at < days and min(test, days - at) * 2 >= test:
        judged = range(at, min(at + test, days))
        first = 0 if mode == "anchored" else at - train
        banned = {day for fold in folds for day in range(fold.test.stop, fold.test.stop + embargo)}
        chosen = tuple(day for day in range(first, at - purge) if day not in banned)
        if len(chosen) < 2:
            raise BadInput(
                f"Purge {purge} and embargo {embargo} leave {len(chosen)} of {train} days to train on.",
                field="purge",
                value=purge,
                fix="Train on more days, or leave out fewer.",
            )
        folds.append(Fold(len(folds) + 1, chosen, judged))
        at += test
    if not folds:
        raise BadInput(
            f"{days} days have no room for {train} days to train on and {test} to test on.",
            field="train",
            value=train,
            fix="Choose a longer range, or shorter windows.",
        )
    return folds
