"""Compiled money is that of Python's whole numbers, digit by digit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.sweep.kernel.exact import (
    add,
    approximate,
    divided,
    exact,
    floor_divided,
    is_less,
    is_negative,
    subtract,
    times,
    value_of,
    whole,
)  # fmt: skip

MOST = 2**127


def around(bits: int) -> st.SearchStrategy[int]:
    """Numbers of up to so many bits of either sign, often beside a power of two or of few digits."""
    edges = st.builds(lambda bit, off, sign: sign * (2**bit + off), st.integers(0, bits - 2), st.integers(-3, 3),
                      st.sampled_from((1, -1)))  # fmt: skip
    return st.one_of(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1)), edges, st.integers(-1000, 1000))


@settings(max_examples=300)
@given(a=around(127), b=around(127))
def test_sums_and_comparisons(a: int, b: int) -> None:
    assert value_of(exact(a)) == a
    assert value_of(add(exact(a), exact(b))) == (a + b + MOST) % (2 * MOST) - MOST
    assert value_of(subtract(exact(a), exact(b))) == (a - b + MOST) % (2 * MOST) - MOST
    assert is_less(exact(a), exact(b)) == (a < b)
    assert is_negative(exact(a)) == (a < 0)


@settings(max_examples=300)
@given(a=around(75), b=around(52))
def test_products_by_whole_numbers_and_floats(a: int, b: int) -> None:
    assert value_of(times(exact(a), b)) == a * b
    assert value_of(times(exact(a), float(b))) == a * b
    assert value_of(whole(b)) == value_of(whole(float(b))) == b


@settings(max_examples=300)
@given(a=around(126))
def test_floats_of_money(a: int) -> None:
    found = Fraction(approximate(exact(a)))
    assert abs(found - a) <= abs(a) * Fraction(1, 2**52)
    assert (found < 0) == (a < 0)


@settings(max_examples=300)
@given(a=around(115), b=around(100).filter(bool))
def test_quotients_are_rounded_once(a: int, b: int) -> None:
    quotient = Fraction(a, b)
    assert abs(Fraction(divided(exact(a), exact(b))) - quotient) <= abs(quotient) * (
        Fraction(1, 2**53) + Fraction(1, 2**90)
    )


@settings(max_examples=300)
@given(a=around(126), b=around(120).filter(lambda b: b > 0), count=st.integers(0, 2**52 - 1), off=st.integers(-1, 1))
def test_whole_quotients(a: int, b: int, count: int, off: int) -> None:
    """Also right beside where one more fits."""
    if b * count < 2**125:
        wanted = max((b * count + off) // b, 0)
        assert floor_divided(exact(b * count + off), exact(b)) == wanted
    if a // b < 2**51:
        assert floor_divided(exact(a), exact(b)) == max(a // b, 0)


def test_what_does_not_fit_is_refused() -> None:
    assert value_of(exact(MOST - 1)) == MOST - 1
    for number in (MOST, -MOST - 1):
        with pytest.raises(OverflowError, match="127 bits"):
            exact(number)
