"""Actions depend on what is held; names of decisions and orders never vary."""

import hashlib
from decimal import Decimal

import pytest

from trading.accounts.decisions import SUPPRESSED, Action, actions_for, decision_id, decision_key, fill_id, order_id

FLAT, HELD_LONG, HELD_SHORT = Decimal(0), Decimal("0.5"), Decimal("-0.5")


@pytest.mark.covers("S1-21")
@pytest.mark.parametrize(
    ("position", "target", "actions"),
    [
        (FLAT, "LONG", ["OPEN_LONG"]),
        (FLAT, "SHORT", ["OPEN_SHORT"]),
        (FLAT, "FLAT", []),
        (FLAT, "HOLD", []),
        (HELD_LONG, "LONG", []),
        (HELD_LONG, "SHORT", ["CLOSE_LONG", "OPEN_SHORT"]),
        (HELD_LONG, "FLAT", ["CLOSE_LONG"]),
        (HELD_LONG, "HOLD", []),
        (HELD_SHORT, "LONG", ["CLOSE_SHORT", "OPEN_LONG"]),
        (HELD_SHORT, "SHORT", []),
        (HELD_SHORT, "FLAT", ["CLOSE_SHORT"]),
        (HELD_SHORT, "HOLD", []),
    ],
)
def test_actions_lead_from_what_is_held_to_the_target(position: Decimal, target: str, actions: list[str]) -> None:
    assert list(actions_for(position, target)) == actions


@pytest.mark.parametrize(
    ("action", "side"), [("OPEN_LONG", "BUY"), ("CLOSE_SHORT", "BUY"), ("OPEN_SHORT", "SELL"), ("CLOSE_LONG", "SELL")]
)
def test_each_action_has_one_side(action: str, side: str) -> None:
    assert Action(action).side == side
    assert Action(action).opens == action.startswith("OPEN")


@pytest.mark.covers("W2")
def test_ids_are_pure_functions_of_the_decision() -> None:
    key = decision_key("paper", "a-1", "binance:BTCUSDT", "37m", 1_750_000_020_000)
    assert key == "paper|a-1|binance:BTCUSDT|37m|1750000020000"
    assert decision_id(key) == hashlib.sha256(key.encode()).hexdigest()[:32]
    assert order_id(key, 1) == hashlib.sha256(f"{key}|1".encode()).hexdigest()[:32]
    assert order_id(key, 0) != order_id(key, 1)
    assert fill_id(order_id(key, 0)) == order_id(key, 0) + ":1"


def test_only_what_would_have_acted_counts_as_suppressed() -> None:
    assert {str(outcome) for outcome in SUPPRESSED} == {"late", "stale", "risk"}
