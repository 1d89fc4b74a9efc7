"""What a rival decides on, and when its trades are ours; vectorbt itself is not needed for that."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from backtest.sources import Source
from backtest.sweep.kernel.evaluate import KernelTrade
from bench import rivals
from bench.history import SAMPLE
from bench.rivals import Contest, rival_outcomes
from tests.trading.series import flat_minutes
from trading.config.costs import Costs
from trading.errors import MantaError
from trading.strategies.registry import load_strategy
from trading.venues.simulator.sample import SESSION_START_MS

CLOSES = [10, 10, 12, 13, 9, 8, 11]


def source() -> Source:
    return Source(flat_minutes(SESSION_START_MS, CLOSES), [], SAMPLE, known_market=True)


def trade(entry: int, left: int | None, price: str = "10") -> KernelTrade:
    opened = [candle.open_time_ms for candle in source().candles]
    return KernelTrade(
        "LONG", opened[entry], Decimal(price), Decimal(1), None if left is None else opened[left],
        None if left is None else Decimal(9),
    )  # fmt: skip


def test_decisions_are_those_of_the_rule_from_its_warm_up_on():
    codes, _ = rivals._decisions(source(), Contest(load_strategy("ma44", {"period": 2}), True, []))

    assert codes.tolist() == [2, 2, 1, 1, -1, -1, 1]


@pytest.mark.parametrize(
    ("ours", "equal"),
    [
        ([trade(1, 3), trade(4, None)], 2),
        ([trade(2, 3), trade(4, None)], 0),
        ([trade(1, 3, price="10.1")], 0),
        ([trade(1, 5)], 0),
        ([trade(1, None)], 0),
    ],
)
def test_trades_are_the_same_by_side_time_and_price(ours: list[KernelTrade], equal: int):
    # Rows of the decision: entry fills at the open after it, an exit there or, at a stop, within it.
    rows = np.array([[1, 0, 2, 10.0, 9.0, True], [1, 3, 6, 10.0, 11.0, False]])
    contest = Contest(load_strategy("ma44", {"period": 2}), False, ours)

    found = rivals._outcome(source(), contest, [7e-9, 21e-9, 14e-9], rows, 0.1)

    assert (found.equal, found.trades) == (equal, 2)
    assert found.ns == pytest.approx(2)


def test_a_target_that_the_rival_slips_is_the_same_trade_and_a_better_price_is_not():
    opened = [candle.open_time_ms for candle in source().candles]

    def same(price: float) -> bool:
        return rivals._same(trade(1, 3), [1, 0, 3, 10.0, price, True], opened, 0.1)

    assert [same(price) for price in (9.0, 9.0 * 0.9, 9.0 * 1.1)] == [True, True, False]


def test_without_a_package_index_it_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    with pytest.raises(MantaError, match="could not be installed"):
        rival_outcomes(source(), Costs(), [], 1)

    assert not any((tmp_path / "manta").iterdir())
