"""Strategies with a state of their own, compiled: each trade is the reference engine's."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.sweep.evaluator import Number, ReferenceEvaluator
from backtest.sweep.kernel import KernelEvaluator
from tests.backtest.sweep.kernel.test_equals_reference import agree, days, request, source_of
from tests.trading.series import Item, end_of, hole, random_minutes
from trading.candles import HoleReason
from trading.errors import DataHole
from trading.strategies.contract import StrategyFailed

pytestmark = pytest.mark.long(2)

BEGIN = 1_748_907_000_000
PATIENT = """
from typing import NamedTuple
from trading.features.averages import ema
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT

class Params(NamedTuple):
    period: int = 4
    patience: int = 3
    fall: float = 0.005

RANGES = {"period": Range(2, 100), "patience": Range(1, 100), "fall": Range(0.0, 1.0)}

class Row(NamedTuple):
    close: float
    average: float

class State(NamedTuple):
    target: int = FLAT
    run: int = 0
    best: float = 0.0

def features(p):
    return {"average": ema(p.period)}

def warmup(p):
    return 1

def longer(run, now):
    if now.close > now.average:
        return run + 1 if run > 0 else 1
    return run - 1 if run < 0 else -1

def step(state: State, now: Row, p: Params) -> State:
    run = longer(state.run, now)
    best: float = max(state.best, now.close)
    if now.close < best * (1.0 - p.fall):
        return state._replace(target=FLAT, run=0, best=0)
    if run >= p.patience:
        return State(LONG, run, best=best)
    return State(SHORT if run <= -p.patience else HOLD, run, best)
"""
COMBOS: list[dict[str, Number]] = [
    {"period": 3},
    {"period": 9, "patience": 1, "fall": 0.002},
    {"period": 3, "patience": 9},
]


@pytest.mark.covers("S1-42", "W6")
@settings(max_examples=8)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "5m", "37m")),
    profile=st.sampled_from(("spot", "perp")),
    leverage=st.sampled_from(("1", "20")),
)
def test_a_target_that_follows_from_what_was_before(
    items: list[Item], interval: str, profile: str, leverage: str
) -> None:
    source = source_of(items)
    lent = Decimal(leverage) if profile == "perp" else Decimal(1)
    asked = request("mine", interval, source=PATIENT, profile=profile, leverage=lent, params=COMBOS[0])
    try:
        agree(asked, source, COMBOS)
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source)


def test_a_state_outlives_a_hole_and_a_stretch_of_candles() -> None:
    """Features begin anew after missing minutes and the state goes on, as it does where one stretch of 4,096 ends."""
    gap = hole(BEGIN + 4_000 * 60_000, 30, HoleReason.MISSING)
    items = [*random_minutes(BEGIN, 4_000, 3, extras=False), gap, *random_minutes(end_of(gap), 700, 5, extras=False)]
    scores = agree(request("mine", source=PATIENT, params=COMBOS[0]), source_of(items), COMBOS)
    assert all(score.trades > 20 for score in scores)
    assert KernelEvaluator(request("mine", source=PATIENT), source_of(items)).trades({}), "it was compiled"


@pytest.mark.parametrize(
    ("old", "new"),
    [("run=0, best=0)", "run=0.5)"), ("return State(LONG, run, best=best)", "return State(*[LONG, run, best])")],
    ids=["a whole number becomes a fraction", "a state made of a list"],
)
def test_what_numba_does_not_take_runs_in_the_reference(old: str, new: str) -> None:
    text = PATIENT.replace(old, new)
    assert text != PATIENT
    source = source_of(random_minutes(BEGIN, 300, 3, extras=False))
    asked, combo = request("mine", source=text), {"period": 4, "patience": 3, "fall": 0.001}
    kernel = KernelEvaluator(asked, source)
    wanted = ReferenceEvaluator(asked, source).evaluate([combo])
    assert kernel.evaluate([combo]) == wanted
    assert wanted[0].trades > 3
    assert kernel.trades({}) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("best=0)", "best=1e308 * 10.0)", "finite"), ("State(LONG, run", "State(7, run", "target 7")],
)
def test_a_step_that_fails_fails_as_in_a_backtest(old: str, new: str, words: str) -> None:
    text = PATIENT.replace(old, new)
    assert text != PATIENT
    source = source_of(random_minutes(BEGIN, 300, 3, extras=False))
    with pytest.raises(StrategyFailed, match=words):
        KernelEvaluator(request("mine", source=text), source).evaluate([{"fall": 0.001}])
