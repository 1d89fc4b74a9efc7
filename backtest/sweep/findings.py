"""What a sweep found, and how much of it may be luck: the best of many looks good whatever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from backtest.honesty.deflated_sharpe import deflated_sharpe
from backtest.honesty.neighbourhood import neighbourhood
from backtest.honesty.overfitting import overfitting
from backtest.sweep.objective import Objective
from backtest.sweep.search import Scored
from backtest.sweep.space import Space
from trading.accounts.score import DAYS_A_YEAR
from trading.errors import BadInput

__all__ = ["Tally", "best_of", "conclude"]

_MOST_JUDGED = 5000
"""Of more columns of daily returns the probability of overfitting takes minutes and says the same."""


@dataclass(frozen=True, slots=True)
class Tally:
    """All scores of a sweep: those of ``first`` stage, which all sets were tried in, and of the ``last`` one.

    Without halving both are the same. ``refused`` counts the sets that the strategy does not take.
    """

    first: Sequence[Scored]
    last: Sequence[Scored]
    refused: int


def conclude(space: Space, goal: Objective, tally: Tally, best_returns: Sequence[float]) -> dict[str, Any]:
    """The best set beside what tells skill from search; ``best_returns`` are its daily returns."""
    best = best_of(goal, tally)
    merits = [goal.merit(item.score) for item in tally.last]
    place = tally.last.index(best)
    points = [space.searched(item.asked.params) for item in tally.last]
    near = neighbourhood(points, merits, place)
    overfit = _overfitting(tally)
    result: dict[str, Any] = {
        "best": {**_plain(best), "searched": points[place], "value": goal.value(best.score)},
        "objective": goal.metric,
        "tried": len(tally.first),
        "refused": tally.refused,
        "counted": sum(merit is not None for merit in merits),
        "deflated_sharpe": deflated_sharpe(best_returns, _trial_sharpes(tally.first)),
        "overfitting": overfit,
        "neighbourhood": asdict(near) if near is not None else None,
    }
    return {**result, "words": _words(result, goal)}


def best_of(goal: Objective, tally: Tally) -> Scored:
    """The best of the last stage, the first of equal ones; BadInput that says why when none counts."""
    counted = [(merit, item) for item in tally.last if (merit := goal.merit(item.score)) is not None]
    if counted:
        return max(counted, key=lambda pair: (pair[0], -pair[1].asked.number))[1]
    defined = sum(goal.value(item.score) is not None for item in tally.last)
    if not defined:
        raise BadInput(
            f"{goal.metric} is not defined for any of the {len(tally.last)} combinations that were tried.",
            field="objective",
            value=goal.metric,
            fix="Choose a longer range, shorter periods so that there are trades, or another --objective.",
        )
    wanted = [f"{goal.min_trades} closed trades"] if goal.min_trades else []
    wanted += [str(item) for item in goal.constraints]
    raise BadInput(
        f"None of the {len(tally.last)} combinations that were tried has {' and '.join(wanted)}.",
        field="constraint" if goal.constraints else "min_trades",
        value=", ".join(wanted),
        fix="Ask for less; the scores are kept, and `manta sweep best` shows them by any metric.",
    )


def _plain(item: Scored) -> dict[str, Any]:
    return {
        "number": item.asked.number,
        "params": dict(item.asked.params),
        "metrics": dict(item.score.metrics),
        "trades": item.score.trades,
    }


def _trial_sharpes(scored: Sequence[Scored]) -> list[float]:
    """Of single days; one that never traded has 0."""
    return [(item.score.metrics.get("sharpe") or 0.0) / sqrt(DAYS_A_YEAR) for item in scored]


def _overfitting(tally: Tally) -> dict[str, Any] | None:
    if tally.first is not tally.last or len(tally.last) > _MOST_JUDGED:
        return None
    kept = [item.score.returns for item in tally.last if item.score.returns]
    days = max((len(item) for item in kept), default=0)
    # What was ruined, or has no returns, cannot be compared day by day.
    columns = [item for item in kept if len(item) == days]
    if len(columns) < 2:
        return None
    found = overfitting(np.column_stack([np.asarray(item) for item in columns]))
    return asdict(found) if found is not None else None


def _words(result: Mapping[str, Any], goal: Objective) -> list[str]:
    best, tried = result["best"], result["tried"]
    said = [
        f"{tried} combinations were tried"
        + (f", {result['refused']} more the strategy does not take" if result["refused"] else "")
        + f"; the best {goal.metric} of {tried} is {_number(best['value'])}, in sample: expect less."
    ]
    deflated = result["deflated_sharpe"]
    if deflated is not None:
        meaning = "is likely skill" if deflated >= 0.95 else "may be luck"
        said.append(f"Deflated Sharpe ratio {deflated:.0%}: the best of {tried} {meaning}, given the search.")
    overfit = result["overfitting"]
    if overfit is not None:
        meaning = (
            "choosing by the past is no better than chance" if overfit["pbo"] >= 0.4 else "the choice carries over"
        )
        said.append(f"Probability of backtest overfitting {overfit['pbo']:.0%}: {meaning}.")
    near = result["neighbourhood"]
    if near is not None and near["stability"] is not None:
        meaning = "a plateau" if near["stability"] >= 0.7 else "a lonely peak"
        said.append(f"Parameters next to the best score {near['stability']:.0%} of it in the median: {meaning}.")
    if best["trades"] < 30:
        said.append(f"{best['trades']} trades are too few to tell skill from luck, whatever the figures say.")
    said.append("What is chosen here is judged out of sample by `manta walkforward run`.")
    return said


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
