"""What a sweep says of its held-out part and of overfitting, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from backtest.honesty.words import overfitting_words
from backtest.sweep.evaluator import ComboScore
from backtest.sweep.findings import Tally, held_out
from backtest.sweep.objective import Objective
from backtest.sweep.search import Asked, Scored
from trading.intervals import DAY_MS


def scored(values: Sequence[float | None], metric: str, trades: int = 7) -> list[Scored]:
    return [
        Scored(
            Asked(0, number, {"period": number}),
            ComboScore({"period": number}, {metric: value, "total_return": 0.01}, trades),
        )
        for number, value in enumerate(values)
    ]


def held(values: Sequence[float | None], metric: str = "sharpe", trades: int = 7) -> dict[str, Any]:
    """``values`` are those held out of sets that were ever worse in sample."""
    inside = scored([9.0 - number for number in range(len(values))], metric)
    outside = scored(values, metric, trades)
    return held_out(Objective(metric), Tally(inside, inside, 0, len(inside)), outside, (0, 30 * DAY_MS))


def test_a_rank_correlation_tells_of_how_many_sets_it_is() -> None:
    found = held([10.0 - number for number in range(10)] + [None] * 8)
    assert found["rank_correlation"] == pytest.approx(1.0)
    assert found["words"][1] == (
        "Rank correlation of 10 sets, in sample with held out, +1.00: better in sample was better there, too."
    )


def test_of_few_sets_no_rank_correlation_is_told() -> None:
    found = held([10.0 - number for number in range(9)] + [None] * 9)
    assert (found["rank_correlation"], len(found["words"])) == (None, 1)


@pytest.mark.parametrize(
    ("metric", "value", "trades", "words"),
    [
        ("sharpe", 1.5, 7, "there the best has a sharpe of 1.5 and returned"),
        ("objective", 1.5, 7, "there the best has an objective of 1.5 and returned"),
        ("sharpe", None, 0, "there the best has no sharpe (it is not defined, with 0 closed trades) and returned"),
        ("objective", None, 1, "has no objective (its function gave no number, with 1 closed trade) and returned"),
    ],
)
def test_a_best_without_a_value_held_out_says_why(metric: str, value: float | None, trades: int, words: str) -> None:
    assert words in held([value, 1.0, 2.0], metric, trades)["words"][0]


@pytest.mark.parametrize(
    ("pbo", "loss", "words"),
    [
        (0.3, 1.0, "30%: what looks best in one half of the days is mostly better than the median set in the other, but"
                   " loses money there in 100% of cases."),
        (0.3, 0.1, "in the other, and loses money there in 10% of cases."),
        (0.5, 0.8, "no better than chance. What looks best in one half of the days loses money in the other in 80%"),
    ],
)  # fmt: skip
def test_ranks_and_money_are_told_apart(pbo: float, loss: float, words: str) -> None:
    assert words in overfitting_words({"pbo": pbo, "loss": loss})
