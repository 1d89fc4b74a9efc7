"""What a reload changes, what it starts anew, and what it refuses by name."""

from typing import Any

import pytest

from manta.reload import plan_reload
from trading.config.model import Config
from trading.errors import ConfigError


def config(**sections: Any) -> Config:
    trend = {"name": "trend", "strategy": "ma44", "intervals": ["37m"]}
    return Config.model_validate({"intervals": ["37m"], "strategies": [trend]} | sections)


def strategy(**keys: Any) -> dict[str, Any]:
    return {"name": "trend", "strategy": "ma44", "intervals": ["37m"]} | keys


def test_nothing_changes_when_nothing_has_changed() -> None:
    plan = plan_reload(config(), config())
    assert (plan.changed, plan.roles, plan.intervals) == ((), (), ())
    # The order of named entries is no change.
    two = [strategy(), strategy(name="other")]
    assert plan_reload(config(strategies=two), config(strategies=two[::-1])).changed == ()


@pytest.mark.parametrize(
    ("sections", "changed", "roles", "intervals"),
    [
        ({"strategies": [strategy(params={"period": 20})]}, ["strategies.trend.params.period"], "brain execution", ""),
        ({"strategies": [strategy(), strategy(name="b")]}, ["strategies.b"], "brain execution", ""),
        ({"strategies": []}, ["strategies.trend"], "brain execution", ""),
        (
            {"strategies": [strategy(intervals=["37m", "15m"])]},
            ["strategies.trend.intervals"],
            "timeframe brain execution",
            "15m",
        ),
        ({"intervals": ["37m", "3h"]}, ["intervals"], "timeframe brain execution", "3h"),
        ({"gaps": {"mode": "strict"}}, ["gaps.mode"], "", ""),
        ({"gaps": {"intervals": ["1h", "4h", "1d", "2h"]}}, ["gaps.intervals"], "timeframe", "2h"),
        (
            {"features": [{"name": "s", "kind": "sma", "params": {"period": 5}, "intervals": ["37m"]}]},
            ["features.s"],
            "brain execution",
            "",
        ),
        ({"books": {"paper": {"late_after_s": 60}}}, ["books.paper.late_after_s"], "brain execution", ""),
        ({"books": {"paper": {"capital": 20_000}}}, ["books.paper.capital"], "brain execution", ""),
        ({"books": {"paper": {}, "other": {}}}, ["books.other"], "brain execution", ""),
        (
            {"notify": {"channels": {"log": {"kind": "log", "events": ["fill"]}}}},
            ["notify.channels.log.events"],
            "execution notifier",
            "",
        ),
    ],
)
def test_a_change_starts_those_anew_that_go_by_it_and_no_feed(
    sections: dict[str, Any], changed: list[str], roles: str, intervals: str
) -> None:
    plan = plan_reload(config(), config(**sections))
    assert list(plan.changed) == changed
    assert list(plan.roles) == roles.split()
    assert list(plan.intervals) == intervals.split()


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        ({"serve": {"port": 8001}}, ["serve.port"]),
        ({"markets": ["binance:ETHUSDT"]}, ["markets"]),
        ({"storage": {"port": 5433}, "ray": {"port": 7000}}, ["ray.port", "storage.port"]),
        ({"venues": {"binance": {"silence_timeout_s": 20}}}, ["venues.binance.silence_timeout_s"]),
        ({"packing": {"brains": 2}, "history": {"min_days": 3}}, ["history.min_days", "packing.brains"]),
        ({"books": {"paper": {"currency": "USDC"}}}, ["books.paper.currency"]),
        ({"serve": {"port": 8001}, "strategies": []}, ["serve.port"]),
    ],
)
def test_what_needs_a_restart_is_refused_by_name(sections: dict[str, Any], keys: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_reload(config(), config(**sections))
    assert refused.value.message == f"A reload cannot change {', '.join(keys)}."
    assert refused.value.field == keys[0]
    assert "manta down" in str(refused.value.fix)
