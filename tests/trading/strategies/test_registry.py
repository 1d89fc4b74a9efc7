"""Strategies are found by name, refuse bad parameters, and are known by their code and parameters."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from trading.errors import BadInput
from trading.features.sma import sma
from trading.strategies.registry import STRATEGIES, instance_id, load_strategy


@pytest.mark.covers("S1-16")
@pytest.mark.parametrize(("name", "period"), [("ma44", 44), ("ma125", 125)])
def test_ma44_and_ma125_are_simple_averages_of_that_many_candles(name: str, period: int) -> None:
    strategy = load_strategy(name)
    assert strategy.features == {"ma": sma(period)}
    assert strategy.warmup == period
    assert strategy.params_dict() == {"period": period}
    assert strategy.history_of("1m") == period + 1


def test_the_period_can_be_chosen() -> None:
    assert load_strategy("ma44", {"period": 50}).features == {"ma": sma(50)}


@pytest.mark.parametrize(
    ("name", "params", "field", "fix"),
    [
        ("ma4", {}, "strategy", "Did you mean 'ma44'?"),
        ("zzz", {}, "strategy", f"Use one of: {', '.join(STRATEGIES)}."),
        ("ma44", {"period": 1}, "period", "Use a whole number from 2 to 10000."),
        ("ma44", {"periods": 44}, "periods", "Did you mean 'period'?"),
    ],
)
def test_a_bad_strategy_names_field_and_fix(name: str, params: dict[str, object], field: str, fix: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_strategy(name, params)
    assert (caught.value.field, caught.value.fix) == (field, fix)


def identity(name: str = "ma44", period: int = 44, profile: str = "spot", leverage: str = "1", size: str = "1") -> str:
    strategy = load_strategy(name, {"period": period})
    return instance_id("mine", strategy, profile=profile, leverage=Decimal(leverage), size=Decimal(size))


def test_an_instance_id_is_its_name_and_a_hash_of_what_changes_its_orders() -> None:
    assert re.fullmatch(r"mine-[0-9a-f]{8}", identity())
    assert identity() == identity(leverage="1.0", size="1E+0")
    different = [
        identity(),
        identity("ma125"),
        identity(period=45),
        identity(profile="perp"),
        identity(leverage="2"),
        identity(size="0.5"),
    ]
    assert len(set(different)) == len(different)


def test_an_instance_id_covers_the_code_of_rule_and_features() -> None:
    source = load_strategy("ma44").source
    assert "def rule(" in source
    assert "def step(" in source
