"""Which sets a search asks for: each once, resumed from any point, and better ones the more it was told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.sweep.evaluator import METRICS, ComboScore
from backtest.sweep.objective import Constraint, Objective
from backtest.sweep.request import SweepRequest, widest
from backtest.sweep.search import Asked, Scored, search_of, stage_starts
from tests.backtest.sweep.world import START, wanted
from trading.errors import BadInput
from trading.intervals import DAY_MS

CROSS = {"fast": [2, 4, 6, 8], "slow": [5, 7, 9]}


def scored(asked: Asked, sharpe: float | None, trades: int = 50) -> Scored:
    metrics: dict[str, float | None] = {**dict.fromkeys(METRICS), "sharpe": sharpe, "max_drawdown": 0.1}
    return Scored(asked, ComboScore(asked.params, metrics, trades))


def run(
    request: SweepRequest,
    judge: Callable[[Asked], float | None],
    *,
    stages: int = 1,
    known: tuple[Scored, ...] = (),
    most: int = 10_000,
    batch: int = 3,
) -> list[Scored]:
    """Ask and tell until it is done or ``most`` were told; scores come back in another order than they were asked."""
    search, told, flying = search_of(request, known, stages), list[Scored](), list[Asked]()
    mix = random.Random(1)
    while len(told) < most:
        while len(flying) < 2 * batch and (asked := search.ask(batch)):
            flying += asked
        if not flying:
            assert search.done
            break
        back = scored(asked := flying.pop(mix.randrange(len(flying))), judge(asked))
        search.tell([back])
        told.append(back)
    return told


def keys(found: list[Scored]) -> list[tuple[int, int]]:
    return sorted((item.asked.stage, item.asked.number) for item in found)


def test_a_grid_is_every_combination_that_the_strategy_takes() -> None:
    request = wanted("sma_cross", grid=CROSS)
    found = run(request, lambda asked: 0.0)
    pairs = {(item.asked.params["fast"], item.asked.params["slow"]) for item in found}
    assert pairs == {(f, s) for f, s in itertools.product(*CROSS.values()) if f < s}
    assert len(found) == len(pairs)
    search = search_of(request, (), 1)
    assert (len(search.ask(100)), search.refused, search.total) == (len(pairs), 12 - len(pairs), 12)


@given(st.integers(0, 12), st.sampled_from([{"method": "grid"}, {"method": "random", "trials": 7, "seed": 5}]))
def test_a_resumed_search_asks_for_exactly_what_is_left(done: int, how: dict[str, Any]) -> None:
    request = wanted("sma_cross", grid=CROSS, **how)
    whole = run(request, lambda asked: 0.0)
    first = run(request, lambda asked: 0.0, most=done)
    rest = run(request, lambda asked: 0.0, known=tuple(first))
    assert sorted(keys(first) + keys(rest)) == keys(whole)


def test_a_random_search_of_a_thousand_million_takes_what_it_was_asked_for() -> None:
    axes = {name: list(range(2, 502)) for name in ("fast", "slow")} | {}
    request = wanted(
        "macd",
        grid={"fast": axes["fast"], "slow": axes["slow"], "signal": list(range(2, 502))},
        method="random",
        trials=40,
    )
    assert request.space().count == 500**3
    found = run(request, lambda asked: 0.0)
    assert 0 < len(set(keys(found))) == len(found) <= 40
    assert keys(run(request, lambda asked: 0.0)) == keys(found)
    other = run(request.model_copy(update={"seed": 1}), lambda asked: 0.0)
    assert keys(other) != keys(found)


def test_halving_keeps_the_best_third_and_ends_on_the_whole_range() -> None:
    request = wanted(grid={"period": list(range(2, 29))}, halving=True)
    starts = stage_starts(request, START, START + 90 * DAY_MS)
    assert starts == [START + 80 * DAY_MS, START + 60 * DAY_MS, START]
    found = run(request, lambda asked: float(asked.params["period"]), stages=3)
    by_stage = [sorted(item.asked.params["period"] for item in found if item.asked.stage == n) for n in range(3)]
    assert by_stage == [list(range(2, 29)), list(range(20, 29)), [26, 27, 28]]


@given(st.integers(0, 39))
def test_halving_goes_on_wherever_it_was_cut(done: int) -> None:
    request = wanted(grid={"period": list(range(2, 29))}, halving=True)

    def judge(asked: Asked) -> float:
        return -abs(asked.params["period"] - 11.4)

    whole = run(request, judge, stages=3)
    first = run(request, judge, stages=3, most=done)
    rest = run(request, judge, stages=3, known=tuple(first))
    assert sorted(keys(first) + keys(rest)) == keys(whole)


@pytest.mark.parametrize(("days", "sets", "stages"), [(90, 27, 3), (20, 27, 1), (400, 27, 4), (400, 2, 1)])
def test_a_short_range_or_a_small_grid_has_fewer_stages(days: int, sets: int, stages: int) -> None:
    request = wanted(grid={"period": list(range(2, 2 + sets))}, halving=True)
    assert len(stage_starts(request, START, START + days * DAY_MS)) == stages
    assert len(stage_starts(wanted(), START, START + days * DAY_MS)) == 1


def test_optuna_finds_more_of_a_hill_than_chance_and_tries_nothing_twice() -> None:
    grid = {"fast": list(range(2, 52)), "slow": list(range(60, 160))}

    def judge(asked: Asked) -> float:
        return -abs(asked.params["fast"] - 20) - abs(asked.params["slow"] - 100) / 2

    request = wanted("sma_cross", grid=grid, method="optuna", trials=80, seed=3)
    found = run(request, judge)
    assert len(set(keys(found))) == len(found) == 80
    by_chance = run(request.model_copy(update={"method": "random"}), judge)

    def near(told: list[Scored]) -> int:
        return sum(judge(item.asked) > -15 for item in told)

    assert near(found) > 2 * near(by_chance)
    rest = run(request, judge, known=tuple(found[:50]))
    assert len(rest) == 30
    assert not set(keys(rest)) & set(keys(found[:50]))


def test_optuna_ends_when_nothing_is_left() -> None:
    found = run(wanted("sma_cross", grid=CROSS, method="optuna", trials=12), lambda asked: 1.0)
    assert keys(found) == keys(run(wanted("sma_cross", grid=CROSS), lambda asked: 1.0))


def test_what_does_not_count_has_no_merit() -> None:
    [asked] = search_of(wanted(), (), 1).ask(1)
    goal = Objective("sharpe", 10, (Constraint.parse("max_drawdown <= 0.1"),))
    assert goal.merit(scored(asked, 2.0).score) == 2.0
    assert goal.merit(scored(asked, 2.0, trades=9).score) is None
    assert goal.merit(scored(asked, None).score) is None
    assert goal.merit(scored(asked, float("nan")).score) is None
    strict = Objective("sharpe", 0, (Constraint.parse("max_drawdown<0.1"),))
    assert strict.merit(scored(asked, 2.0).score) is None
    assert Objective("max_drawdown").merit(scored(asked, 2.0).score) == -0.1
    assert Objective("sharpe", 0, (Constraint.parse("trades>50"),)).merit(scored(asked, 2.0).score) is None
    assert Objective("sharpe", 0, (Constraint.parse("sortino>0"),)).merit(scored(asked, 2.0).score) is None


def test_the_run_that_needs_the_most_history_is_found_among_many() -> None:
    assert widest(wanted(grid={"period": list(range(2, 1002))})).params == {"period": 1001}


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"grid": {}}, "grid", 0),
        ({"grid": {"period": []}}, "grid", 0),
        ({"grid": {"perod": [5, 6]}}, "perod", 5),
        ({"grid": {"period": [5, 0]}}, "period", 0),
        ({"grid": {"period": [5, 7.5]}}, "period", 7.5),
        ({"objective": "sharp"}, "objective", "sharp"),
        ({"constraints": ("max_drawdown",)}, "constraint", "max_drawdown"),
        ({"constraints": ("drawdown<=0.3",)}, "constraint", "drawdown"),
        ({"constraints": ("max_drawdown<=1.2.3",)}, "constraint", "max_drawdown<=1.2.3"),
        ({"method": "random"}, "trials", None),
        ({"trials": 5}, "trials", 5),
        ({"method": "optuna", "trials": 5, "halving": True}, "halving", True),
        ({"min_trades": -1}, "min_trades", -1),
        ({"objective": "objective"}, "objective", "objective"),
        ({"objective": "objective", "objective_source": "def objectiv(m): ..."}, "objective", "objective.py"),
        ({"objective": "objective", "objective_source": "def objective(m) return 1"}, "objective", "objective.py"),
    ],
    ids=str,
)
def test_a_wrong_request_names_field_and_value(changes: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(BadInput) as caught:
        wanted(**changes)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.fix


def test_a_grid_of_which_the_strategy_takes_nothing_says_why() -> None:
    with pytest.raises(BadInput, match="fast is 9, slow is 3") as caught:
        widest(wanted("sma_cross", grid={"fast": [9, 8], "slow": [3, 4]}))
    assert caught.value.field == "fast"
