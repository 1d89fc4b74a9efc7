"""What the kernel does not do is said in words, and a kernel of it is refused with the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from backtest.requests import BacktestRequest
from backtest.sweep.kernel import KernelEvaluator, why_not
from tests.backtest.sweep.kernel.test_equals_reference import source_of
from tests.trading.series import MARKET, random_minutes
from tests.trading.strategies.own import text
from trading.config.costs import Costs
from trading.config.rules import Entries, Exits
from trading.errors import BadInput
from trading.strategies.registry import STRATEGIES


def asked(**changes: Any) -> BacktestRequest:
    return BacktestRequest(**{"strategy": "sma_cross", "market": MARKET, "intervals": ("1h",), **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intervals": ("1h", "4h")}, "2 intervals"),
        ({"strategy": "dip", "exits": Exits(stop_loss_percent=Decimal(2))}, "exits"),
        ({"strategy": "dip", "entries": Entries(cooldown_candles=2)}, "several lots"),
        ({"entries": Entries(order_type="limit")}, "limit orders"),
        ({"costs": Costs(slippage_of_range=Decimal("0.1"))}, "range"),
        ({"costs": Costs(entry_share_of_volume=Decimal("0.1"))}, "volume"),
        ({"costs": Costs(order_latency_minutes=1)}, "arrive"),
        ({"strategy": "mine", "source": text(more="def entry(now, p): return now.close")}, "defines entry"),
    ],
)
def test_what_it_does_not_do(changes: dict[str, Any], words: str) -> None:
    request = asked(**changes)
    reason = why_not(request)
    assert reason is not None
    assert words in reason
    with pytest.raises(BadInput, match="reference engine"):
        KernelEvaluator(request, source_of(random_minutes(0, 120)))


@pytest.mark.parametrize(
    "strategy",
    sorted(STRATEGIES),
)
@pytest.mark.parametrize("profile", ["spot", "perp"])
def test_what_it_does(strategy: str, profile: str) -> None:
    assert why_not(asked(strategy=strategy, profile=profile, entries=Entries(long_only=True))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"exits": Exits(stop_loss_percent=Decimal(2), take_profit_atr=Decimal(3), max_hold_candles=7)},
        {"exits": Exits(trailing_stop_percent=Decimal(1)), "entries": Entries(cooldown_candles=2)},
        {"entries": Entries(sessions_utc=("mon-fri",), reenter="at_once")},
        {"strategy": "mine", "source": text(more="def bracket(now, p): return 1.0, None")},
        {"strategy": "mine", "source": text(more="def sizing(now, p): return 0.5")},
    ],
)
def test_exits_and_entries_that_it_does(changes: dict[str, Any]) -> None:
    assert why_not(asked(**changes)) is None


def test_a_wrong_parameter_is_named() -> None:
    kernel = KernelEvaluator(asked(), source_of(random_minutes(0, 120)))
    with pytest.raises(BadInput, match="fast is 60"):
        kernel.evaluate([{"fast": 60}])
