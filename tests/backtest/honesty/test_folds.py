"""How a walk-forward cuts time and what it tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.honesty.folds import Mode, make_folds
from backtest.honesty.grid import parse_axis, parse_grid
from trading.errors import BadInput


def test_rolling_windows_move_and_anchored_ones_grow() -> None:
    rolling = make_folds(100, mode="rolling", train=40, test=20)
    assert [(fold.train[0], fold.train[-1], fold.test) for fold in rolling] == [
        (0, 39, range(40, 60)),
        (20, 59, range(60, 80)),
        (40, 79, range(80, 100)),
    ]
    anchored = make_folds(100, mode="anchored", train=40, test=20)
    assert [(fold.train[0], fold.train[-1]) for fold in anchored] == [(0, 39), (0, 59), (0, 79)]


def test_purged_days_lie_before_the_test_and_embargoed_ones_after_earlier_tests() -> None:
    folds = make_folds(100, mode="anchored", train=40, test=20, purge=3, embargo=2)
    assert folds[0].train == tuple(range(37))
    assert folds[1].train == tuple(range(57))
    assert folds[2].train == (*range(60), *range(62, 77))


def test_a_last_test_of_half_the_length_is_judged_and_a_shorter_one_is_not() -> None:
    assert [fold.test for fold in make_folds(70, mode="rolling", train=40, test=20)] == [range(40, 60), range(60, 70)]
    assert [fold.test for fold in make_folds(69, mode="rolling", train=40, test=20)] == [range(40, 60)]


@pytest.mark.parametrize(
    ("days", "purge", "words"), [(45, 0, "have no room"), (100, 39, "leave 1 of 40 days"), (0, 0, "have no room")]
)
def test_windows_that_do_not_fit_are_refused(days: int, purge: int, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        make_folds(days, mode="rolling", train=40, test=20, purge=purge)
    assert caught.value.fix


@given(
    st.integers(1, 400), st.sampled_from(["rolling", "anchored"]), st.integers(2, 90), st.integers(1, 60),
    st.integers(0, 5), st.integers(0, 5),
)  # fmt: skip
def test_nothing_trains_on_its_test_or_later(
    days: int, mode: Mode, train: int, test: int, purge: int, embargo: int
) -> None:
    try:
        folds = make_folds(days, mode=mode, train=train, test=test, purge=purge, embargo=embargo)
    except BadInput:
        return
    assert [fold.number for fold in folds] == list(range(1, len(folds) + 1))
    for fold in folds:
        assert fold.train[-1] < fold.test.start - purge
        assert len(fold.train) <= (train if mode == "rolling" else days)
    tested = [day for fold in folds for day in fold.test]
    assert tested == list(range(train, train + len(tested)))
    assert tested[-1] < days


def test_axes_are_read_as_they_are_written() -> None:
    assert parse_axis("period=20:60:20") == ("period", [20, 40, 60])
    assert parse_axis("period=20:59:20") == ("period", [20, 40])
    assert parse_axis("dip=0.1:0.3:0.1") == ("dip", [0.1, 0.2, 0.3])
    assert parse_axis("a=44,20,44") == ("a", [44, 20])


@pytest.mark.parametrize(
    "text",
    ["period", "=1,2", "period=", "period=1:2", "p=a,b", "p=nan,1", "p=0:inf:1"],
)
def test_an_axis_that_cannot_be_read_says_how_to_write_it(text: str) -> None:
    with pytest.raises(BadInput, match="cannot be read") as caught:
        parse_axis(text)
    assert caught.value.field == "grid"


@pytest.mark.parametrize(
    ("text", "words", "fix"),
    [
        ("p=1:9:0", "has the step 0", "Give a step above 0"),
        ("p=50:5:5", "goes down from 50 to 5", "p=5:50:5"),
        ("p=0:100:0.000001", "has more than 2,000 values", "larger step, 1 for 101 values"),
    ],
)
def test_a_range_that_cannot_be_says_why(text: str, words: str, fix: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        parse_axis(text)
    assert (caught.value.field, caught.value.value) == ("grid", text)
    assert fix in str(caught.value.fix)


def test_a_parameter_is_given_once() -> None:
    assert parse_grid(["fast=5,6", "slow=20"]) == {"fast": [5, 6], "slow": [20]}
    with pytest.raises(BadInput, match="gives fast twice") as caught:
        parse_grid(["fast=5", "fast=10"])
    assert (caught.value.field, caught.value.value) == ("grid", "fast=10")
