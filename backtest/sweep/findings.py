"""What a sweep found, and how much of it may be luck: the best of many looks good whatever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import median
from typing import Any

import numpy as np

from backtest.honesty.deflated_sharpe import deflated_sharpe
from backtest.honesty.neighbourhood import neighbourhood
from backtest.honesty.overfitting import overfitting
from backtest.honesty.reality_check import reality_check
from backtest.honesty.words import few_trades, overfitting_words
from backtest.metrics.series import Floats
from backtest.sweep.objective import OWN, Objective
from backtest.sweep.search import Scored
from backtest.sweep.space import Space
from trading.accounts.score import DAYS_A_YEAR
from trading.errors import BadInput
from trading.intervals import DAY_MS

__all__ = ["MOST_JUDGED", "Tally", "best_of", "conclude", "held_out", "ranked"]

MOST_JUDGED = 20_000
"""Of more columns of daily returns the statistics that look at each take minutes and say the same."""
_FIRST_HELD = 10
"""What was held out is summed up for so many of the best."""
_LEAST_RANKED = 10
"""Of fewer sets a rank correlation says nothing: of four, one order in 24 is perfect by chance."""


@dataclass(frozen=True, slots=True)
class Tally:
    """All scores of a sweep: those of ``first`` stage, which all sets were tried in, and of the ``last`` one.

    Without halving both are the same. ``refused`` counts the sets that the strategy does not take, ``runs`` those made
    in all stages: a set that halving kept was run more than once, and is one trial all the same.
    """

    first: Sequence[Scored]
    last: Sequence[Scored]
    refused: int
    runs: int


def conclude(
    space: Space, goal: Objective, tally: Tally, best_returns: Sequence[float], *, seed: int = 0
) -> dict[str, Any]:
    """The best set beside what tells skill from search; ``best_returns`` are its daily returns, ``seed`` that of the
    bootstrap.
    """
    best = best_of(goal, tally)
    merits = [goal.merit(item.score) for item in tally.last]
    place = tally.last.index(best)
    points = [space.searched(item.asked.params) for item in tally.last]
    near = neighbourhood(points, merits, place)
    returns = _returns(tally)
    overfit = overfitting(returns) if returns is not None else None
    result: dict[str, Any] = {
        "best": {**_plain(best), "searched": points[place], "value": goal.value(best.score)},
        "objective": goal.metric,
        "tried": len(tally.first),
        "runs": tally.runs,
        "refused": tally.refused,
        "counted": sum(merit is not None for merit in merits),
        "deflated_sharpe": deflated_sharpe(best_returns, _trial_sharpes(tally.first)),
        "overfitting": asdict(overfit) if overfit is not None else None,
        "reality_check": reality_check(returns, seed=seed) if returns is not None else None,
        "neighbourhood": asdict(near) if near is not None else None,
    }
    return {**result, "words": _words(result, goal)}


def ranked(goal: Objective, scored: Sequence[Scored]) -> list[Scored]:
    """Those that count, the best first, and of equal ones the first."""
    counted = [(merit, item) for item in scored if (merit := goal.merit(item.score)) is not None]
    return [item for _, item in sorted(counted, key=lambda pair: (-pair[0], pair[1].asked.number))]


def held_out(goal: Objective, tally: Tally, outside: Sequence[Scored], span: tuple[int, int]) -> dict[str, Any]:
    """How the best sets did over ``span``, UTC ms, which chose nothing: ``outside`` are their scores there.

    ``rank_correlation`` is Spearman's, of the objective in sample and held out, over the sets in which both are
    defined, and None of less than ten such; ``profitable`` the share of sets that made money.
    """
    there = {item.asked.number: item.score for item in outside}
    best = [(item, there[item.asked.number]) for item in ranked(goal, tally.last) if item.asked.number in there]
    values = [(goal.value(item.score), goal.value(score)) for item, score in best]
    pairs = [(one, other) for one, other in values if one is not None and other is not None]
    first = [value for _, value in values[:_FIRST_HELD] if value is not None]
    returns = [score.metrics["total_return"] or 0.0 for _, score in best]
    sets = [
        {
            "number": item.asked.number,
            "value": value,
            "held_value": held,
            "held_metrics": dict(score.metrics),
            "held_trades": score.trades,
        }
        for (item, score), (value, held) in zip(best, values, strict=True)
    ]
    found: dict[str, Any] = {
        "start": span[0],
        "end": span[1],
        "median_of_first": median(first) if first else None,
        "profitable": sum(value > 0 for value in returns) / len(returns) if returns else None,
        "rank_correlation": _rank_correlation(pairs),
        "sets": sets,
    }
    return {**found, "words": _held_words(found, goal, len(pairs))}


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's; None of too few pairs, or where all are alike."""
    if len(pairs) < _LEAST_RANKED:
        return None
    one, other = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    if one.std() == 0 or other.std() == 0:
        return None
    found: Floats = np.asarray(np.corrcoef(np.stack([one, other])))
    return float(found[0, 1])


def _ranks(values: Sequence[float]) -> Floats:
    """The place of each in order; equal ones share the middle of theirs."""
    _, places, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    middles: Floats = (ends - (counts - 1) / 2)[places]
    return middles


def _held_words(found: Mapping[str, Any], goal: Objective, compared: int) -> list[str]:
    if not found["sets"]:
        return []
    best = found["sets"][0]
    days = (found["end"] - found["start"]) / DAY_MS
    said = [
        f"Held out were the last {days:.0f} days, which chose nothing: there the best {_held_value(best, goal)}"
        f" and returned {best['held_metrics']['total_return'] or 0:+.1%};"
        f" {found['profitable']:.0%} of the best {len(found['sets'])} made money."
    ]
    tie = found["rank_correlation"]
    if tie is not None:
        meaning = "better in sample was better there, too" if tie >= 0.3 else "better in sample was no better there"
        said.append(f"Rank correlation of {compared} sets, in sample with held out, {tie:+.2f}: {meaning}.")
    return said


def _held_value(best: Mapping[str, Any], goal: Objective) -> str:
    """What the objective of the best is where it was held out, or why it is none."""
    if best["held_value"] is not None:
        article = "an" if goal.metric == OWN else "a"
        return f"has {article} {goal.metric} of {_number(best['held_value'])}"
    closed = f"{best['held_trades']} closed trade{'s' if best['held_trades'] != 1 else ''}"
    if goal.metric == OWN:
        return f"has no {goal.metric} (its function gave no number, with {closed})"
    return f"has no {goal.metric} (it is not defined, with {closed})"


def best_of(goal: Objective, tally: Tally) -> Scored:
    """The best of the last stage, the first of equal ones; BadInput that says why when none counts."""
    counted = ranked(goal, tally.last)
    if counted:
        return counted[0]
    defined = sum(goal.value(item.score) is not None for item in tally.last)
    if not defined:
        raise BadInput(
            f"{goal.metric} is not defined for any of {_combinations(len(tally.last))} tried.",
            field="objective",
            value=goal.metric,
            fix="Choose a longer range, shorter periods so that there are trades, or another --objective.",
        )
    wanted = [f"{goal.min_trades} closed trades"] if goal.min_trades else []
    wanted += [str(item) for item in goal.constraints]
    raise BadInput(
        f"None of {_combinations(len(tally.last))} tried has {' and '.join(wanted)}.",
        field="constraint" if goal.constraints else "min_trades",
        value=", ".join(wanted),
        fix="Ask for less; the scores are kept, and `manta sweep best` shows them by any metric.",
    )


def _combinations(count: int) -> str:
    return "the 1 combination that was" if count == 1 else f"the {count} combinations that were"


def _plain(item: Scored) -> dict[str, Any]:
    return {
        "number": item.asked.number,
        "params": dict(item.asked.params),
        "metrics": dict(item.score.metrics),
        "trades": item.score.trades,
    }


def _trial_sharpes(scored: Sequence[Scored]) -> list[float]:
    """Of single days; one that never traded has 0.

    With halving they are those of the first stage, where every set has one. Over so short a part they differ more from
    each other than over the whole range, so that the best has to be better to count as skill, never less good.
    """
    return [(item.score.metrics.get("sharpe") or 0.0) / sqrt(DAYS_A_YEAR) for item in scored]


def _returns(tally: Tally) -> Floats | None:
    """The daily returns of all sets, a column each; None with halving, of too many, or of less than two."""
    if tally.first is not tally.last or len(tally.last) > MOST_JUDGED:
        return None
    kept = [item.score.returns for item in tally.last if item.score.returns]
    days = max((len(item) for item in kept), default=0)
    # What was ruined, or has no returns, cannot be compared day by day.
    columns = [item for item in kept if len(item) == days]
    return np.column_stack([np.asarray(item) for item in columns]) if len(columns) >= 2 else None


def _words(result: Mapping[str, Any], goal: Objective) -> list[str]:
    best, tried = result["best"], result["tried"]
    said = [
        f"{tried} combination{'s were' if tried != 1 else ' was'} tried"
        + (f" in {result['runs']} runs" if result["runs"] > tried else "")
        + (f", {result['refused']} more the strategy does not take" if result["refused"] else "")
        + f"; the best {goal.metric} of {tried} is {_number(best['value'])}, in sample: expect less."
    ]
    deflated = result["deflated_sharpe"]
    if deflated is not None:
        meaning = "is likely skill" if deflated >= 0.95 else "may be luck"
        said.append(f"Deflated Sharpe ratio {deflated:.0%}: the best of {tried} {meaning}, given the search.")
    overfit = result["overfitting"]
    if overfit is not None:
        said.append(overfitting_words(overfit))
    checked = result["reality_check"]
    if checked is not None:
        meaning = "the best beats cash" if checked <= 0.05 else "that the best beats cash is not shown"
        said.append(f"White's reality check p = {checked:.2f}: {meaning}.")
    near = result["neighbourhood"]
    if near is not None and near["stability"] is not None:
        meaning = "a plateau" if near["stability"] >= 0.7 else "a lonely peak"
        said.append(f"Parameters next to the best score {near['stability']:.0%} of it in the median: {meaning}.")
    if best["trades"] < 30:
        said.append(f"{few_trades(best['trades'])} too few to tell skill from luck, whatever the figures say.")
    said.append("What is chosen here is judged out of sample by `manta walkforward run`.")
    return said


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
