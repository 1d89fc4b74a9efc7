"""Strategies that hold several lots, compiled: each lot's trade is the reference engine's."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.run import simulate
from backtest.sources import load_file
from backtest.sweep.evaluator import Number, ReferenceEvaluator
from backtest.sweep.kernel import KernelEvaluator
from tests.backtest.sweep.kernel.test_equals_reference import CRASH, agree, days, request, source_of
from tests.trading.series import MARKET, Item, random_minutes
from trading.config.costs import Costs
from trading.config.rules import Entries
from trading.errors import DataHole
from trading.strategies.contract import StrategyFailed

pytestmark = pytest.mark.long(3)

BEGIN = 1_748_907_000_000
LADDER = """
from typing import NamedTuple
from trading.features.averages import ema
from trading.features.extremes import highest
from trading.parameters import Range
from trading.plan import Lot

class Params(NamedTuple):
    period: int = 5
    step: float = 0.0005
    stop: float = 0.003
    share: float = 0.13
    quote: float = 0.0
    most: int = 7

RANGES = {"period": Range(2, 100), "step": Range(0.0, 1.0), "stop": Range(0.0, 1.0), "share": Range(0.0, 1.0),
          "quote": Range(0.0, 1e6), "most": Range(1, 300)}

class Row(NamedTuple):
    close: float
    average: float
    high: float

class State(NamedTuple):
    lots: tuple[Lot, ...] = ()
    seen: int = 0
    last: float = 0.0

def features(p):
    return {"average": ema(p.period), "high": highest(2)}

def warmup(p):
    return 1

def one(now, p, long, far):
    stop = now.close * p.stop if p.stop > 0.0 else None
    return Lot(long=long, share=p.share, quote=p.quote if far else 0.0, price=now.close, stop_distance=stop,
               profit_distance=now.close * p.step * 3.3)

def step(state: State, now: Row, p: Params) -> State:
    up = now.close > now.average
    moved = abs(now.close - state.last) > now.close * p.step
    if any(lot.long != up for lot in state.lots):
        if moved and state.seen > 3:
            return State((one(now, p, up, False),), 0, now.close)
        return state._replace(lots=(), seen=0)
    if len(state.lots) >= p.most:
        return State(state.lots[1:], state.seen, state.last)
    if moved and state.lots and not all(lot.price < now.high for lot in state.lots):
        return state._replace(lots=(*state.lots, one(now, p, up, True), one(now, p, up, False)), last=now.close)
    if moved:
        return State(state.lots + (one(now, p, up, False),), state.seen, now.close)
    kept = state.lots
    for lot in state.lots:
        if lot.stop_distance is not None and abs(now.close - lot.price) > lot.stop_distance * 2.0:
            kept = tuple(other for other in kept if other.price != lot.price)
    return State(kept, state.seen + 1, state.last)
"""
COMBOS: dict[str, list[dict[str, Number]]] = {
    "dip": [
        {"dip_pct": 0.05, "take_profit_pct": 0.1},
        {"dip_pct": 0.1, "take_profit_pct": 0.03, "max_lots": 3, "percent_per_lot": 1.1},
        {"dip_pct": 0.02, "take_profit_pct": 0.3, "max_lots": 40, "percent_per_lot": 20.0},
    ],
    "accumulate": [{"rsi_period": 3, "rsi_low": 40.0}, {"rsi_period": 5, "quote": 333.0, "max_lots": 200}],
    "mine": [
        {},
        {"period": 3, "stop": 0.0, "quote": 77.7, "most": 20},
        {"period": 9, "step": 0.001, "stop": 0.001, "share": 0.3},
    ],
}


@pytest.mark.covers("S1-42", "W6")
@pytest.mark.parametrize("strategy", sorted(COMBOS))
@settings(max_examples=6)
@given(
    items=days(),
    interval=st.sampled_from(("1m", "1m", "5m")),
    profile=st.sampled_from(("spot", "perp")),
    long_only=st.booleans(),
    skipped=st.integers(0, 100),
    money=st.sampled_from((("10000", "0.00001", "5"), ("300", "0.001", "5"), ("1000", "0.37", "0"))),
)
def test_random_minutes(
    strategy: str, items: list[Item], interval: str, profile: str, long_only: bool, skipped: int, money: tuple[str, ...]
) -> None:
    capital, lot, least = money
    source = source_of(items, lot=lot, least=least)
    asked = request(
        strategy,
        interval,
        source=LADDER if strategy == "mine" else "",
        profile=profile,
        capital=Decimal(capital),
        entries=Entries(long_only=long_only),
        start_ms=source.candles[0].open_time_ms + skipped * 60_000,
    )
    try:
        agree(asked, source, COMBOS[strategy])
    except DataHole:
        with pytest.raises(DataHole, match="nothing to decide on"):
            KernelEvaluator(asked, source)


@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**16),
    leverage=st.sampled_from(("3.5", "20", "125")),
    costs=st.sampled_from((
        Costs(),
        Costs(taker_fee=Decimal(0), maker_fee=Decimal(0), slippage=Decimal(0), funding_per_8h=Decimal(0)),
        Costs(maker_fee=Decimal("-0.00015"), slippage=Decimal("0.00125"), funding_per_8h=Decimal("-0.00937")),
    )),
)  # fmt: skip
def test_liquidation_funding_and_ruin(seed: int, leverage: str, costs: Costs) -> None:
    items = random_minutes(BEGIN, 1_500, seed, extras=False)
    asked = request("mine", source=LADDER, leverage=Decimal(leverage), size=Decimal("0.9"), costs=costs)
    agree(asked, source_of(items), [{"stop": 0.0, "share": 0.5}, {"stop": 0.01, "share": 0.25, "most": 3}])


def test_the_property_is_about_something() -> None:
    """What it compares are stops, targets, decisions and liquidations of several lots at once, long and short."""
    items = random_minutes(BEGIN, 1_500, 7, extras=False)
    source = source_of(items)
    combos: list[dict[str, Number]] = [{"stop": 0.002, "share": 0.4}, {"stop": 0.0, "share": 0.5, "step": 0.003}]
    asked = request("mine", source=LADDER, leverage=Decimal(125))
    trades = [
        trade
        for params in combos
        for trade in simulate(asked.model_copy(update={"params": params}), [source], "reference", twin=False).trades
    ]
    assert {trade.exit_reason for trade in trades} >= {"stop_loss", "take_profit", "decision", "liquidation"}
    assert {trade.direction for trade in trades} == {"LONG", "SHORT"}
    assert len({trade.entry_ms for trade in trades}) < len(trades), "several are bought at one candle"
    agree(asked, source, combos)
    assert all(KernelEvaluator(asked, source).trades(combo) for combo in combos), "it was compiled"


@pytest.mark.parametrize(
    ("strategy", "file", "interval", "params"),
    [
        ("dip", CRASH, "1m", {"dip_pct": 0.4, "take_profit_pct": 0.7}),
        ("dip", CRASH, "5m", {"dip_pct": 0.3, "take_profit_pct": 0.2, "percent_per_lot": 3.3}),
        ("accumulate", CRASH, "15m", {"rsi_low": 45.0}),
    ],
)
def test_real_minutes(shared_data: Path, strategy: str, file: str, interval: str, params: dict[str, Number]) -> None:
    asked = request(strategy, interval, params=params)
    whole = load_file(shared_data / "candles_1m" / file, MARKET, asked)
    [found] = agree(asked, replace(whole, candles=whole.candles[:4_000]), [params])
    assert found.trades + found.open_trades > 5


def test_more_lots_than_are_kept_run_in_the_reference() -> None:
    text = LADDER.replace("up = now.close > now.average", "up = True").replace("* 3.3", "* 1e6")
    source = source_of(random_minutes(BEGIN, 500, 3, extras=False), lot="0.00000001", least="0")
    asked = request("mine", source=text, params={"step": 0.000001, "stop": 0.0, "share": 0.001, "most": 300})
    kernel = KernelEvaluator(asked, source)
    [found] = kernel.evaluate([{}])
    [wanted] = ReferenceEvaluator(asked, source).evaluate([found.params])
    assert found == wanted
    assert kernel.trades({}) == []
    assert kernel.trades({"most": 100}), "it was compiled"


def test_lots_that_may_not_be_fail_as_in_a_backtest() -> None:
    text = LADDER.replace("share=p.share", "share=p.share * 9.0")
    assert text != LADDER
    source = source_of(random_minutes(BEGIN, 500, 3, extras=False))
    with pytest.raises(StrategyFailed, match="share is above 0"):
        KernelEvaluator(request("mine", source=text), source).evaluate([{}])
