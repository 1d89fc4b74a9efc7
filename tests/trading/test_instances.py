"""What a configuration asks of the decision core."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from trading.config.model import Config
from trading.errors import BadInput
from trading.features.ranges import ATR
from trading.instances import history_ms, resolve_instances
from trading.intervals import DAY_MS, MINUTE_MS


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


def test_each_configured_strategy_becomes_one_instance() -> None:
    given = config(
        markets=["binance:BTCUSDT", "binance:ETHUSDT"],
        strategies=[
            {"name": "slow", "strategy": "ma125", "profile": "perp", "leverage": "2", "size": "0.5", "share": "3"},
            {"name": "quick", "strategy": "ma44", "params": {"period": 10}, "markets": ["binance:ETHUSDT"]},
        ],
    )
    slow, quick = resolve_instances(given, live_from_ms=1000)
    assert (slow.name, slow.markets, slow.params, slow.live_from_ms) == (
        "slow",
        ("binance:BTCUSDT", "binance:ETHUSDT"),
        {"period": 125},
        1000,
    )
    assert slow.intervals == ("37m", "148m", "1d")
    assert (quick.markets, quick.params, quick.book) == (("binance:ETHUSDT",), {"period": 10}, "paper")
    assert quick.load().warmup == 10
    assert pickle.loads(pickle.dumps(quick)) == quick
    with pytest.raises(FrozenInstanceError):
        quick.name = "other"  # type: ignore[misc]


def test_an_instance_that_decided_before_goes_on_from_where_it_began() -> None:
    given = config(strategies=[{"name": "a", "strategy": "ma44"}, {"name": "b", "strategy": "ma44"}])
    known = resolve_instances(given, 1000)[0].instance_id
    assert [i.live_from_ms for i in resolve_instances(given, 9000, {known: 1000})] == [1000, 9000]


def test_a_bad_parameter_in_the_configuration_is_refused() -> None:
    with pytest.raises(BadInput, match=r"period is 0\. Use a whole number from 2 to 10000"):
        resolve_instances(config(strategies=[{"name": "a", "strategy": "ma44", "params": {"period": 0}}]), 0)


def test_history_is_what_the_longest_warm_up_wants_within_the_bounds() -> None:
    assert history_ms(config()) == 2 * DAY_MS
    one = {"name": "a", "strategy": "ma125", "intervals": ["37m"]}
    assert history_ms(config(strategies=[one])) == 127 * 37 * MINUTE_MS
    day = {"name": "b", "strategy": "ma44", "intervals": ["1d", "37m"]}
    assert history_ms(config(strategies=[one, day])) == 46 * DAY_MS
    shown = {"name": "ma500", "kind": "sma", "params": {"period": 500}, "intervals": ["1d"]}
    assert history_ms(config(strategies=[one], features=[shown])) == 400 * DAY_MS
    bounded = {"min_days": 1, "max_days": 30}
    assert history_ms(config(strategies=[day], history=bounded)) == 30 * DAY_MS
    assert history_ms(config(history=bounded)) == DAY_MS


def test_history_is_also_what_exits_in_atr_want() -> None:
    one = {"name": "a", "strategy": "ma44", "intervals": ["1d"]}
    atr = {"stop_loss_atr": 2, "atr_period": 10}
    candles = ATR.bind({"period": 10}).history
    assert candles > 46
    assert history_ms(config(strategies=[{**one, "exits": atr}], history={"max_days": 4000})) == (candles + 1) * DAY_MS
