"""Order statistics, against values worked out by hand."""

import pytest

from bench.samples import percentile, spread


def test_a_percentile_lies_between_its_neighbours():
    assert percentile([40, 10, 30, 20], 0.5) == 25
    assert percentile(range(101), 0.99) == 99
    assert percentile([1.0, 2.0], 0.25) == 1.25


def test_the_ends_are_the_least_and_the_greatest():
    assert percentile([3, 1, 2], 0) == 1
    assert percentile([3, 1, 2], 1) == 3
    assert percentile([7], 0.99) == 7


def test_no_samples_have_no_percentile():
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_a_spread_names_both_ends_and_how_many_there_were():
    assert spread([2.5, 1.25, 3.0], "s") == "1.25 to 3 s over 3 runs"
