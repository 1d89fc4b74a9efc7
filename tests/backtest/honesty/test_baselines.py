"""What anybody could have had: the market, and random trades of the same kind."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.honesty.baselines import buy_and_hold, random_entry

PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.002, 5000)))


def test_holding_pays_for_one_purchase() -> None:
    found = buy_and_hold([100, 110, 88, 121], 0.01)
    assert found is not None
    assert found.total_return == pytest.approx(1.21 * 0.99 - 1)
    assert found.max_drawdown == pytest.approx(0.2)
    assert found.sharpe is not None
    assert buy_and_hold([100], 0.01) is None


def test_trades_without_skill_are_anywhere_among_random_ones() -> None:
    found = []
    for seed in range(100):
        source = np.random.default_rng(seed)
        prices = 100 * np.exp(np.cumsum(source.normal(0, 0.002, 3000)))
        begins = np.sort(source.choice(np.arange(0, 2900, 100), 12, replace=False))
        returns = prices[begins + 60] / prices[begins] - 1 - 0.002
        item = random_entry(prices, [60] * 12, [1] * 12, list(returns), cost=0.001, samples=200, seed=seed)
        assert item is not None
        found.append(item.p_value)
    # The largest distance from the uniform distribution that Kolmogorov and Smirnov allow at 1 %.
    assert np.abs(np.sort(found) - (np.arange(100) + 0.5) / 100).max() < 1.63 / 10


def test_foresight_is_detected() -> None:
    begins = np.arange(0, 4900, 100)
    sides = np.sign(PRICES[begins + 60] - PRICES[begins])
    returns = sides * (PRICES[begins + 60] / PRICES[begins] - 1) - 0.002
    found = random_entry(PRICES, [60] * 49, [int(x) for x in sides], list(returns), cost=0.001, samples=300)
    assert found is not None
    assert found.p_value < 0.01
    assert found.total_return > found.return_95


def test_random_trades_pay_their_costs_and_keep_to_their_size() -> None:
    still = np.full(1000, 50.0)
    found = random_entry(still, [10] * 5, [1, -1, 1, -1, 1], [0.0] * 5, cost=0.01, weights=[0.5] * 5, samples=50)
    assert found is not None
    assert found.return_05 == found.return_95 == pytest.approx(0.99**5 - 1)
    assert found.p_value == pytest.approx(1 / 51)


def test_trades_that_fill_the_whole_time_cannot_be_elsewhere() -> None:
    rising = np.linspace(100, 200, 101)
    found = random_entry(rising, [50, 50], [1, 1], [0.5, 1 / 3], cost=0.0, samples=50)
    assert found is not None
    assert found.return_05 == found.return_95 == pytest.approx(1.0)
    crowded = random_entry(rising, [80, 80], [1, 1], [0.1, 0.1], cost=0.0, samples=50)
    assert crowded is not None
    assert crowded.return_05 < crowded.return_95
    assert random_entry(rising, [], [], [], cost=0.0) is None
