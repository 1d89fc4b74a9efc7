"""A quotient without a division has the bits of one."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backtest.sweep.kernel.columns import quotient

MOST = 2**53 - 1


@settings(max_examples=500)
@given(a=st.integers(0, MOST), b=st.integers(1, MOST))
@example(a=0, b=7)
@example(a=MOST, b=MOST - 1)
@example(a=1, b=MOST)
def test_quotients_of_whole_numbers(a: int, b: int) -> None:
    assert quotient(float(a), float(b), 1.0 / b) == a / b


@settings(max_examples=500)
@given(b=st.integers(1, 2**40), middle=st.integers(2**53, 2**54 - 1), off=st.integers(-1, 1))
def test_quotients_beside_the_middle_of_two_floats(b: int, middle: int, off: int) -> None:
    """Where rounding is hardest: half a unit of the last place from both, or as near as whole numbers come."""
    exponent = max(0, (middle * b).bit_length() - 53)
    a = ((2 * (middle // 2) + 1) * b >> exponent) + off
    if 0 <= a <= MOST:
        assert quotient(float(a), float(b), 1.0 / b) == a / b
