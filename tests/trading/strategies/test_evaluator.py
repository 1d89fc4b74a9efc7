"""What a strategy answers is checked, and its state changes with answers alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.trading.strategies.own import MARKET, candle, candles, stepping, text
from trading.errors import BadInput
from trading.intervals import HOUR_MS
from trading.plan import NO_PLAN, Lot, Plan
from trading.strategies.contract import FLAT, HOLD, LONG, SHORT, StrategyFailed
from trading.strategies.evaluator import Answer, Evaluator
from trading.strategies.registry import load_strategy

DIP = stepping(
    "lots: tuple[Lot, ...] = ()\npeak: float = 0.0",
    """
    peak = max(state.peak, now.close)
    lots = tuple(lot for lot in state.lots if now.close < lot.price * 1.05)
    if now.close <= peak * 0.9:
        return State((*lots, Lot(share=0.25, price=now.close)), now.close)
    return State(lots, peak)
    """,
)


def evaluator(source: str, *, spot: bool = False) -> Evaluator:
    return Evaluator(load_strategy("mine", None, source), spot=spot)


def ask(it: Evaluator, close: float, number: int = 0) -> Answer:
    row = it._strategy.row(close)
    return it.ask(candle(number, close), row, row)


@pytest.mark.covers("S1-21")
def test_a_rule_says_its_target_with_all_that_it_defines() -> None:
    it = evaluator(
        text(
            "return HOLD if now.close == p.level else LONG if now.close > p.level else SHORT",
            more="""
            def confidence(now, p): return 0.25
            def bracket(now, p): return now.close / 10, None
            def sizing(now, p): return 0.5
            def tag(now, p): return "break"
            def reasons(now, p): return ("above", "quickly")
            """,
        )
    )
    assert ask(it, 120) == (LONG, 0.25, Plan(12.0, None, 0.5, "break", ("above", "quickly")))
    assert ask(it, 100) == (HOLD, 0.0, NO_PLAN)
    assert ask(it, 50)[:2] == (SHORT, 0.25)
    assert it.idle is NO_PLAN


def test_a_price_of_entry_is_asked_for_where_something_is_to_be_held() -> None:
    more = "def entry(now, p): return None if now.close > 150 else now.close - 1"
    it = evaluator(text("return HOLD if now.close == p.level else LONG if now.close > p.level else SHORT", more=more))
    assert ask(it, 120) == (LONG, 1.0, Plan(entry=119.0))
    assert ask(it, 50).plan.entry == 49.0
    assert ask(it, 160) == (LONG, 1.0, Plan())
    assert ask(it, 100) == (HOLD, 0.0, NO_PLAN)
    assert ask(evaluator(text(more=more), spot=True), 50) == (FLAT, 1.0, Plan())


def test_a_spot_account_holds_cash_instead_of_a_short() -> None:
    more = "def bracket(now, p): return 1.0, 2.0"
    assert ask(evaluator(text(more=more), spot=True), 50) == (FLAT, 1.0, Plan())
    assert ask(evaluator(text(more=more)), 50) == (SHORT, 1.0, Plan(1.0, 2.0))


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (text("return 7"), "rule returned 7, which is none of LONG"),
        (text("return None"), "rule returned None"),
        (text("return 1 / (now.close - 120)"), "line 22: ZeroDivisionError: "),
        (text("return {}[now.close]"), "line 22: KeyError: 120"),
        (text("return LONG", more="def confidence(now, p): return 1.5"), "confidence returned 1.5"),
        (text("return LONG", more="def confidence(now, p): return float('nan')"), "confidence returned nan"),
        (text("return LONG", more="def bracket(now, p): return 0.0, 1.0"), "bracket returned (0.0, 1.0)"),
        (text("return LONG", more="def bracket(now, p): return 1.0"), "bracket returned 1.0"),
        (text("return LONG", more="def sizing(now, p): return 2"), "sizing returned 2"),
        (text("return LONG", more="def entry(now, p): return 0.0"), "entry returned 0.0: use a price above 0"),
        (text("return LONG", more="def entry(now, p): return float('nan')"), "entry returned nan"),
        (text("return LONG", more="def entry(now, p): return 1e12"), "entry returned 1000000000000.0"),
        (text("return LONG", more="def entry(now, p): return '99'"), "entry returned '99'"),
        (text("return LONG", more="def entry(now, p): return now.close, None"), "entry returned (120"),
        (text("return LONG", more="def entry(now, p): return now.close / 0"), "line 23: ZeroDivisionError"),
        (text("return LONG", more="def reasons(now, p): return 'because'"), "use a short text and a tuple"),
        (stepping("target: int = FLAT", "return 5"), "step returned 5, which is no State"),
        (stepping("target: int = FLAT", "return State(9)"), "step made the target 9"),
        (stepping("target: int = FLAT\nx: float = 0.0", "return State(LONG, float('inf'))"), "step made x inf"),
        (stepping("lots: tuple = ()", "return State((1,))"), "use a tuple of Lot"),
        (stepping("lots: tuple = ()", "return State((Lot(share=0.0),))"), "a share is above 0"),
        (stepping("lots: tuple = ()", "return State((Lot(), Lot(long=False)))"), "long and short lots at once"),
        (stepping("lots: tuple = ()", "return State((Lot(opened_ms=5),))"), "changed a lot that is held"),
    ],
)
def test_what_no_strategy_may_say_is_told_with_candle_place_and_values(source: str, what: str) -> None:
    with pytest.raises(StrategyFailed) as caught:
        ask(evaluator(source), 120, 1)
    told = str(caught.value)
    assert what in told
    assert f"the 1h candle of {MARKET} that closed 1970-01-01 02:00 UTC" in told
    assert "It saw close=120" in told


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (stepping("target: int", "return state"), "State.target has no default"),
        (stepping("x: float = 0.0", "return state"), "either the field target or the field lots"),
        (stepping("target: int = FLAT\nlots: tuple = ()", "return state"), "either the field target or the field lots"),
        (stepping("target: int = FLAT\nname: str = ''", "return state"), "State.name starts as ''"),
        (stepping("lots: tuple = (1,)", "return state"), "State.lots does not start empty"),
        (stepping("target: int = 8", "return state"), "State.target starts as 8"),
        (
            stepping("lots: tuple = ()", "return state") + "\ndef entry(now, p): return 1.0\n",
            "it defines entry, but lots are bought at the next open",
        ),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_at_once(source: str, what: str) -> None:
    with pytest.raises(BadInput, match=re.escape(what)):
        load_strategy("mine", None, source)


def test_lots_are_named_by_their_candle_and_stay_as_they_are() -> None:
    it = evaluator(DIP)
    answers = [it.ask(item, row, row) for item in candles([100, 90, 85, 80, 88, 84, 90]) for row in [_row(it, item)]]
    held = [[(lot.name, lot.price) for lot in answer.plan.lots or ()] for answer in answers]
    first, second = (f"{2 * HOUR_MS}-0", 90.0), (f"{4 * HOUR_MS}-0", 80.0)
    assert held == [[], [first], [first], [first, second], [first], [first], [first]]
    assert [answer.code for answer in answers] == [FLAT, LONG, LONG, LONG, LONG, LONG, LONG]
    assert [answer.plan.state for answer in answers] == [(100.0,), (90.0,), (90.0,), (80.0,), (88.0,), (88.0,), (90.0,)]


def test_a_strategy_goes_on_from_a_stored_plan_as_if_it_had_never_stopped() -> None:
    whole, cut = evaluator(DIP), evaluator(DIP)
    series = candles([100, 90, 85, 80, 88, 79, 90, 60, 70])
    told = [whole.ask(item, _row(whole, item), None) for item in series]
    for item in series[:4]:
        cut.ask(item, _row(cut, item), None)
    stored = Plan.from_json(_through_json(cut.idle.to_json()))
    again = evaluator(DIP)
    again.resume(stored)
    assert again.idle == cut.idle
    assert [again.ask(item, _row(again, item), None) for item in series[4:]] == told[4:]


def test_a_state_of_another_shape_is_not_taken() -> None:
    it = evaluator(DIP)
    it.resume(Plan(state=(1.0, 2.0)))
    it.resume(NO_PLAN)
    assert it.idle == Plan(lots=(), state=(0.0,))


def test_a_failure_leaves_the_state_as_it_was() -> None:
    it = evaluator(
        stepping("target: int = FLAT\nseen: int = 0", "return State(LONG, state.seen + 10 // int(now.close))")
    )
    ask(it, 5)
    before = it.idle
    with pytest.raises(StrategyFailed, match="ZeroDivisionError"):
        ask(it, 0.5)
    assert it.idle == before == Plan(state=(2,))


def test_short_lots_on_spot_are_none() -> None:
    source = stepping(
        "lots: tuple = ()", "return State((Lot(long=False, price=now.close),)) if not state.lots else state"
    )
    assert ask(evaluator(source, spot=True), 100) == (FLAT, 1.0, Plan(lots=(), state=()))
    shorts = ask(evaluator(source), 100)
    assert (shorts.code, shorts.plan.lots) == (SHORT, (Lot(HOUR_MS, 0, False, price=100.0),))


def _row(it: Evaluator, item: Any) -> Any:
    return it._strategy.row(item.close / 1e8)


def _through_json(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(data))
    return found
