"""Honesty in figures: golden values from the papers, by hand, and on simulated searches with and without skill."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from backtest.honesty.deflated_sharpe import (
    deflated_sharpe,
    expected_max_sharpe,
    plain_sharpe,
    probabilistic_sharpe,
)
from backtest.honesty.monte_carlo import monte_carlo
from backtest.honesty.neighbourhood import Neighbourhood, neighbourhood
from backtest.honesty.overfitting import overfitting
from backtest.honesty.reality_check import reality_check, stationary_bootstrap


def noise(days: int, trials: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (days, trials))


# -- deflated Sharpe ratio -------------------------------------------------------------------------------------------


def test_the_example_of_bailey_and_lopez_de_prado_2014() -> None:
    # Sharpe 2.5 a year over 1,250 days, 100 trials with variance 1/2 a year, skewness -3, kurtosis 10.
    threshold = expected_max_sharpe(0.5 / 250, 100)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(2.5 / sqrt(250), threshold, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)


def test_a_sharpe_ratio_that_equals_its_benchmark_is_a_coin_toss() -> None:
    assert probabilistic_sharpe(0.1, 0.1, 500) == 0.5
    assert probabilistic_sharpe(0.1, 0.0, 1) is None
    assert probabilistic_sharpe(2.0, 0.0, 100, skew=9.0) is None
    assert expected_max_sharpe(0.1, 1) == expected_max_sharpe(0.0, 50) == 0.0


def test_the_expected_maximum_is_that_of_simulated_trials() -> None:
    best = np.random.default_rng(1).normal(0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert expected_max_sharpe(0.09, 50) == pytest.approx(best, rel=0.02)


def test_the_best_of_many_without_skill_is_deflated_and_skill_is_not() -> None:
    deflated = []
    for seed in range(40):
        returns = noise(500, 60, seed)
        trials = [plain_sharpe(returns[:, n]) or 0.0 for n in range(60)]
        deflated.append(deflated_sharpe(returns[:, int(np.argmax(trials))], trials))
    assert sum(value > 0.95 for value in deflated if value is not None) <= 4
    assert np.mean([value for value in deflated if value is not None]) == pytest.approx(0.5, abs=0.15)

    skilled = noise(500, 60, 1)
    skilled[:, 7] += 0.006
    trials = [plain_sharpe(skilled[:, n]) or 0.0 for n in range(60)]
    assert int(np.argmax(trials)) == 7
    assert (deflated_sharpe(skilled[:, 7], trials) or 0) > 0.97


def test_a_series_without_variation_has_no_deflated_sharpe() -> None:
    assert deflated_sharpe([0.01] * 50, [0.1, 0.2]) is None
    assert deflated_sharpe([], []) is None
    assert plain_sharpe([0.01]) is None


# -- probability of backtest overfitting -----------------------------------------------------------------------------


def test_without_skill_the_choice_is_as_good_as_chance() -> None:
    found = [overfitting(noise(320, 20, seed), blocks=8) for seed in range(60)]
    assert np.mean([item.pbo for item in found if item]) == pytest.approx(0.5, abs=0.08)
    assert all(item and item.splits == 70 and item.blocks == 8 and item.trials == 20 for item in found)


def test_skill_is_seen_in_both_halves() -> None:
    returns = noise(480, 20, 3)
    returns[:, 4] += 0.008
    found = overfitting(returns)
    assert found is not None
    assert (found.splits, found.pbo) == (12_870, 0.0)
    assert found.loss < 0.05


def test_what_fits_one_half_and_fails_in_the_other_is_overfit() -> None:
    # Each trial gains in its own block and loses evenly elsewhere, so that whatever was best loses afterwards.
    returns = noise(400, 8, 5) * 0.05
    for trial in range(8):
        returns[:, trial] -= 0.004
        returns[trial * 50 : trial * 50 + 50, trial] += 0.032
    found = overfitting(returns, blocks=8)
    assert found is not None
    assert found.pbo > 0.9
    assert found.loss > 0.9


def test_splits_are_those_of_a_plain_calculation() -> None:
    returns = noise(46, 5, 9)
    found = overfitting(returns, blocks=4)
    assert found is not None
    blocks = returns[2:].reshape(4, 11, 5)
    bad = 0
    for half in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        inside = np.concatenate([blocks[n] for n in half])
        outside = np.concatenate([blocks[n] for n in range(4) if n not in half])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
        ratios = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        bad += int((ratios <= ratios[best]).sum() / 6 <= 0.5)
    assert found.pbo == pytest.approx(bad / 6)


def test_too_little_for_cross_validation() -> None:
    assert overfitting(noise(19, 5, 0)) is None
    assert overfitting(noise(400, 1, 0)) is None
    few = overfitting(noise(45, 5, 0))
    assert few is not None
    assert few.blocks == 8


# -- White's reality check -------------------------------------------------------------------------------------------


def test_blocks_of_the_bootstrap_have_the_mean_length_and_wrap() -> None:
    drawn = stationary_bootstrap(200, 400, 5.0, np.random.default_rng(2))
    assert drawn.shape == (400, 200)
    assert (drawn.min(), drawn.max()) == (0, 199)
    steps = np.diff(drawn, axis=1) % 200
    # A new block begins in one step of five, and one in 200 of those continues by chance.
    assert (steps != 1).mean() == pytest.approx(0.2 * 199 / 200, abs=0.01)
    assert np.bincount(drawn.ravel(), minlength=200).std() < 60
    singles = stationary_bootstrap(50, 2000, 1.0, np.random.default_rng(2))
    assert (np.diff(singles, axis=1) % 50 == 1).mean() == pytest.approx(1 / 50, abs=0.005)
    with pytest.raises(ValueError, match="at least 1"):
        stationary_bootstrap(0, 1, 1, np.random.default_rng(0))


def test_without_skill_p_values_are_uniform() -> None:
    found = [reality_check(noise(250, 10, seed), samples=300, seed=seed) for seed in range(120)]
    values = np.sort([value for value in found if value is not None])
    assert len(values) == 120
    # The largest distance from the uniform distribution that Kolmogorov and Smirnov allow at 1 %.
    distance = np.abs(values - (np.arange(120) + 0.5) / 120).max()
    assert distance < 1.63 / sqrt(120)


def test_skill_has_a_small_p_value_and_a_better_benchmark_takes_it_away() -> None:
    returns = noise(400, 30, 6)
    returns[:, 3] += 0.005
    assert (reality_check(returns) or 1) < 0.01
    assert (reality_check(returns, returns[:, 3] + 0.001) or 0) > 0.5
    assert reality_check(returns[:9]) is None
    assert reality_check(returns, seed=1) == reality_check(returns, seed=1)


# -- Monte Carlo over trades -----------------------------------------------------------------------------------------


def test_two_trades_by_hand() -> None:
    found = monte_carlo([0.5, -0.2], samples=4000, seed=3)
    assert found is not None
    assert found.drawdown_seen == pytest.approx(0.2)
    assert (found.drawdown_50, found.drawdown_95) == (pytest.approx(0.2), pytest.approx(0.2))
    # Drawn with replacement: 2.25, 1.2 twice, 0.64.
    assert found.return_50 == pytest.approx(0.2)
    assert (found.return_05, found.return_95) == (pytest.approx(-0.36), pytest.approx(1.25))
    assert found.loss == pytest.approx(0.25, abs=0.02)


def test_a_lucky_order_hides_the_drawdown_of_the_same_trades() -> None:
    lucky = [0.05, -0.05] * 30
    found = monte_carlo(lucky)
    assert found is not None
    assert found.drawdown_seen < 0.12 < found.drawdown_50 < found.drawdown_95 < 1
    assert monte_carlo([0.1]) is None
    ruined = monte_carlo([-1.5, 0.1])
    assert ruined is not None
    assert ruined.drawdown_seen == 1.0


# -- neighbourhood ---------------------------------------------------------------------------------------------------


def test_a_plateau_is_told_from_a_lonely_peak() -> None:
    points = [{"fast": fast, "slow": slow} for fast in (5, 10, 20) for slow in (50, 100, 200)]
    flat = [1.0, 1.1, 0.9, 1.0, 1.2, 1.1, 0.8, 1.0, 1.0]
    assert neighbourhood(points, flat, 4) == Neighbourhood(8, pytest.approx(1.0 / 1.2), 1.0, 0.8)
    lonely = [-1.0, None, -0.5, -1.0, 1.2, -2.0, 0.1, -1.0, -1.0]
    found = neighbourhood(points, lonely, 4)
    assert found is not None
    assert (found.stability, found.profitable, found.worst) == (pytest.approx(-1.0 / 1.2), 1 / 8, -2.0)


def test_neighbours_are_one_step_of_the_grid_away() -> None:
    points = [{"period": period} for period in (10, 20, 40, 80)]
    corner = neighbourhood(points, [2.0, 1.0, 9.0, 9.0], 0)
    assert corner == Neighbourhood(1, 0.5, 1.0, 1.0)
    losing = neighbourhood(points, [-1.0, -2.0, -3.0, -4.0], 0)
    assert losing is not None
    assert losing.stability is None
    assert neighbourhood([{"period": 10}], [1.0], 0) is None
