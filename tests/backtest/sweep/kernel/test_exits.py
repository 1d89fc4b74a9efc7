"""Stops, targets, trailing stops, time exits, cooldown, sessions and sizing: each trade is the reference engine's."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.run import simulate
from backtest.sources import load_file
from backtest.sweep.kernel import KernelEvaluator
from tests.backtest.sweep.kernel.test_equals_reference import (
    COMBOS,
    CRASH,
    SPARSE,
    agree,
    days,
    request,
    source_of,
)
from tests.trading.series import MARKET, end_of, random_minutes
from trading.config.costs import Costs
from trading.config.rules import Entries, Exits
from trading.errors import DataHole
from trading.strategies.contract import StrategyFailed

pytestmark = pytest.mark.long(5)

BEGIN = 1_748_907_000_000
BRACKETS = """
from typing import NamedTuple
from trading.features.averages import ema
from trading.features.momentum import rsi
from trading.features.ranges import atr
from trading.parameters import Range
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT

class Params(NamedTuple):
    fast: int = 3
    slow: int = 8
    low: float = 40.0
    stop: float = 1.5
    profit: float = 2.0

RANGES = {"fast": Range(2, 100), "slow": Range(2, 400), "low": Range(0.0, 100.0), "stop": Range(0.0, 50.0),
          "profit": Range(0.0, 50.0)}

class Row(NamedTuple):
    close: float
    fast: float
    slow: float
    rsi: float
    atr: float

def features(p):
    return {"fast": ema(p.fast), "slow": ema(p.slow), "rsi": rsi(5), "atr": atr(6)}

def warmup(p):
    return 1

def rule(now, prev, p):
    if now.fast > now.slow and prev.fast <= prev.slow and now.rsi > p.low:
        return LONG
    if now.fast < now.slow and prev.fast >= prev.slow:
        return SHORT
    return HOLD if now.rsi > 5.0 else FLAT

def bracket(now, p):
    STOPS
"""
BOTH = "return p.stop * now.atr + 0.01, p.profit * now.atr + 0.01"
AT_TIMES = """if now.rsi > 50.0:
        return None, p.profit * now.atr + 0.01
    return p.stop * now.atr + 0.01, None"""
STEP = """class State(NamedTuple):
    target: int = HOLD
    seen: int = 0
    fast: float = 0.0
    slow: float = 0.0

def step(state, now, p):
    return State(wanted(state, now, p), state.seen + 1, now.fast, now.slow)

def wanted(before, now, p):"""
LEVELS = [{"stop": 0.5, "profit": 0.7}, {"fast": 2, "slow": 30, "stop": 3.0, "profit": 0.3}, {"stop": 20.0}]


def bracketed(stops: str) -> str:
    return BRACKETS.replace("STOPS", stops)


@st.composite
def exits(draw: st.DrawFn) -> Exits:
    """Any exits; distances that minutes of up to three per mille reach."""
    values: dict[str, Any] = {}
    for name in ("stop_loss", "take_profit", "trailing_stop"):
        unit = draw(st.sampled_from(("percent", "atr", "")))
        if unit:
            sizes = ("0.05", "0.3", "0.777", "1", "2.125") if unit == "percent" else ("0.5", "1", "1.75", "3.001", "8")
            values[f"{name}_{unit}"] = Decimal(draw(st.sampled_from(sizes)))
            if unit == "atr":
                values["atr_period"] = 5
    if draw(st.booleans()):
        values["max_hold_candles"] = draw(st.integers(1, 30))
    return Exits(**values)


ENTRIES = st.builds(
    Entries,
    long_only=st.booleans(),
    cooldown_candles=st.sampled_from((0, 0, 1, 5)),
    sessions_utc=st.sampled_from(((), (), ("00:00-06:30",), ("mon,wed 13:10-18:00", "22:00-01:00"))),
    reenter=st.sampled_from(("new_signal", "new_signal", "at_once")),
)


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize("strategy", ["ma44", "rsi_reversion"])
@settings(max_examples=6)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "1m", "5m", "37m")),
    profile=st.sampled_from(("spot", "perp")),
    closes=exits(),
    opens=ENTRIES,
    leverage=st.sampled_from(("1", "1", "20")),
)
def test_configured_exits(
    strategy: str, items: list[Any], interval: str, profile: str, closes: Exits, opens: Entries, leverage: str
) -> None:
    source = source_of(items)
    asked = request(
        strategy, interval, profile=profile, exits=closes, entries=opens, params=COMBOS[strategy][0],
        leverage=Decimal(leverage if profile == "perp" else 1),
    )  # fmt: skip
    try:
        agree(asked, source, COMBOS[strategy])
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source)


@pytest.mark.parametrize("stops", [BOTH, AT_TIMES])
@settings(max_examples=3)
@given(items=days(), interval=st.sampled_from(("1m", "5m")), profile=st.sampled_from(("spot", "perp")), opens=ENTRIES)
def test_brackets(stops: str, items: list[Any], interval: str, profile: str, opens: Entries) -> None:
    asked = request("mine", interval, source=bracketed(stops), profile=profile, entries=opens)
    try:
        agree(asked, source_of(items), LEVELS)
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source_of(items))


def test_every_exit_is_made() -> None:
    """The properties above are about something: on these minutes each exit there is ends a trade."""
    source = source_of(random_minutes(BEGIN, 1_500, 7, extras=False))
    closes = Exits(
        stop_loss_percent=Decimal("0.4"), take_profit_atr=Decimal(3), trailing_stop_percent=Decimal("0.5"),
        atr_period=5, max_hold_candles=4,
    )  # fmt: skip
    reasons = set()
    for leverage in ("1", "125"):
        asked = request("ma44", exits=closes, leverage=Decimal(leverage), params={"period": 7})
        reasons |= {trade.exit_reason for trade in simulate(asked, [source], "reference", twin=False).trades}
        agree(asked, source, COMBOS["ma44"])
    assert reasons >= {"stop_loss", "take_profit", "trailing_stop", "time_exit", "liquidation"}


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize(
    ("file", "interval", "profile"), [(CRASH, "1m", "perp"), (SPARSE, "5m", "spot"), (CRASH, "15m", "perp")]
)
def test_real_minutes(shared_data: Path, file: str, interval: str, profile: str) -> None:
    asked = request("mine", interval, source=bracketed(BOTH), profile=profile)
    whole = load_file(shared_data / "candles_1m" / file, MARKET, asked)
    agree(asked, replace(whole, candles=whole.candles[:5_000]), LEVELS)


@pytest.mark.parametrize("share", ["0.25", "20.0 / (20.0 + now.rsi)"])
def test_sizing(share: str) -> None:
    text = bracketed(BOTH) + f"\ndef sizing(now, p):\n    return {share}\n"
    source = source_of(random_minutes(BEGIN, 1_200, 5, extras=False))
    for costs in (Costs(), Costs(taker_fee=Decimal(0), maker_fee=Decimal(0), slippage=Decimal(0))):
        scores = agree(request("mine", source=text, costs=costs, size=Decimal("0.5")), source, LEVELS)
        assert all(score.trades > 5 for score in scores)


def test_a_step_with_a_bracket() -> None:
    """A state says when to trade, the bracket how far to go."""
    text = bracketed(BOTH).replace("def rule(now, prev, p):", STEP).replace("prev.", "before.")
    source = source_of(random_minutes(BEGIN, 1_200, 5, extras=False))
    scores = agree(request("mine", source=text), source, LEVELS)
    assert all(score.trades > 5 for score in scores)


def test_combinations_that_decide_alike_are_told_apart() -> None:
    """A grid over what the rule reads and what only the bracket reads gives the scores of its sets one by one."""
    source = source_of(random_minutes(BEGIN, 1_200, 5, extras=False))
    kernel = KernelEvaluator(request("mine", source=bracketed(BOTH)), source)
    grid = [{"fast": fast, "stop": stop} for stop in (0.5, 2.0) for fast in (3, 2, 3)]
    found = kernel.evaluate(grid)
    assert found == [kernel.evaluate([combo])[0] for combo in grid]
    assert len({score.metrics["final_equity"] for score in found}) == 4


def test_a_bracket_of_nothing_fails_as_in_a_backtest() -> None:
    source = source_of(random_minutes(BEGIN, 300, 3, extras=False))
    asked = request("mine", source=bracketed("return p.stop * now.atr, None"))
    with pytest.raises(StrategyFailed, match="two distances above 0"):
        KernelEvaluator(asked, source).evaluate([{"stop": 0.0}])


def test_an_atr_of_nothing_opens_nothing() -> None:
    """Prices that do not move for a while: what waited for another signal need not wait on."""
    moving = random_minutes(BEGIN, 300, 3, extras=False)
    price = moving[-1].close
    still = [
        minute._replace(open=price, high=price, low=price, close=price)
        for minute in random_minutes(end_of(moving[-1]), 30, 1, extras=False)
    ]
    again = [
        minute._replace(**{
            name: getattr(minute, name) + price - moving[0].open for name in ("open", "high", "low", "close")
        })
        for minute in random_minutes(end_of(still[-1]), 300, 4, extras=False)
    ]  # fmt: skip
    closes = Exits(stop_loss_atr=Decimal("0.5"), take_profit_atr=Decimal("0.7"), atr_period=1)
    for opens in (Entries(), Entries(reenter="at_once")):
        asked = request("ma44", exits=closes, entries=opens, params={"period": 2})
        agree(asked, source_of([*moving, *still, *again]), COMBOS["ma44"])
