"""Strategies of a user's own: features of all sorts, rules that cannot be compiled, and rules that raise."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backtest.sweep.evaluator import ReferenceEvaluator
from backtest.sweep.kernel import KernelEvaluator
from tests.backtest.sweep.kernel.test_equals_reference import agree, request, source_of
from tests.trading.series import end_of, hole, random_minutes
from trading.candles import HoleReason
from trading.strategies.contract import StrategyFailed

pytestmark = pytest.mark.long(1)

BEGIN = 1_748_907_000_000
TEXT = """
from typing import NamedTuple
from trading.features.extremes import highest, lowest
from trading.features.ranges import atr, volatility
from trading.features.trend import adx
from trading.features.volume import obv, volume_mean, volume_spike
from trading.parameters import Range
from trading.strategies.contract import LONG, SHORT, HOLD

class Params(NamedTuple):
    period: int = 4

RANGES = {"period": Range(2, 100)}

class Row(NamedTuple):
    close: float
    FIELDS

def features(p):
    return FEATURES

def warmup(p):
    return 1

def rule(now, prev, p):
    BODY
    return HOLD
"""
MANY = {
    "high": "highest(p.period)",
    "low": "lowest(p.period)",
    "wild": "volatility(p.period)",
    "trend": "adx(p.period)",
    "flow": "obv(p.period)",
    "much": "volume_mean(p.period)",
}
VOTES = """
    votes = 0
    votes += 1 if now.high > prev.high else 0
    votes -= 1 if now.low < prev.low else 0
    votes += 1 if now.trend > prev.trend else -1
    votes += 1 if now.flow > prev.flow else -1
    if now.wild > prev.wild and votes > 0:
        return LONG
    if now.much > prev.much and votes < 0:
        return SHORT"""
NOT_COMPILED = """
    if any(value > now.high - 0.1 for value in [now.close]):
        return LONG"""
SPIKES = """
    if now.spike > 1.5:
        return LONG
    if now.spike < 0.5:
        return SHORT"""
RAISES = """
    if 1.0 / (now.close - now.high) < -2.0:
        return LONG"""


def own(features: dict[str, str], body: str) -> str:
    fields = "\n    ".join(f"{name}: float" for name in features)
    made = ", ".join(f'"{name}": {call}' for name, call in features.items())
    return TEXT.replace("FIELDS", fields).replace("FEATURES", f"{{{made}}}").replace("BODY", body.strip())


def test_features_of_all_sorts() -> None:
    gap = hole(BEGIN + 400 * 60_000, 30, HoleReason.MISSING)
    items = [*random_minutes(BEGIN, 400, 3, extras=False), gap, *random_minutes(end_of(gap), 300, 5, extras=False)]
    asked = request("mine", source=own(MANY, VOTES), profile="perp", capital=Decimal(1_000))
    scores = agree(asked, source_of(items), [{"period": 3}, {"period": 9}])
    assert all(score.trades > 5 for score in scores)
    source = source_of(items)
    assert KernelEvaluator(asked, source).trades({}), "it was compiled"


def test_volumes_whose_sums_no_number_of_a_processor_holds() -> None:
    """A coin of which billions are traded a minute: at 10**-8 that is near 2**63, and twenty minutes are far beyond."""
    minutes = random_minutes(BEGIN, 400, 3, extras=False)
    large = [minute._replace(volume=minute.volume * 9_000_000) for minute in minutes]
    asked = request("mine", source=own({"spike": "volume_spike(p.period)"}, SPIKES), profile="perp")
    scores = agree(asked, source_of(large), [{"period": 20}, {"period": 5}])
    assert all(score.trades > 5 for score in scores)
    assert max(minute.volume for minute in large) * 20 > 2**64


def test_a_rule_that_cannot_be_compiled_runs_in_the_reference() -> None:
    source = source_of(random_minutes(BEGIN, 300, 3, extras=False))
    asked = request("mine", source=own({"high": "highest(p.period)"}, NOT_COMPILED))
    kernel = KernelEvaluator(asked, source)
    combos = [{"period": 3}, {"period": 9}]
    assert kernel.evaluate(combos) == ReferenceEvaluator(asked, source).evaluate(combos)
    assert kernel.trades({}) == []


def test_a_rule_that_raises_fails_as_in_a_backtest() -> None:
    source = source_of(random_minutes(BEGIN, 300, 3, extras=False))
    asked = request("mine", source=own({"high": "highest(p.period)"}, RAISES))
    with pytest.raises(StrategyFailed, match="ZeroDivisionError"):
        KernelEvaluator(asked, source).evaluate([{"period": 2}])
