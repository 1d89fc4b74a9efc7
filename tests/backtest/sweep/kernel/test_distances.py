"""Compiled code books the decimal that Python writes a float as, to the last digit, or says that it cannot tell."""

from __future__ import annotations

from decimal import Decimal
from math import nextafter

from hypothesis import example, given
from hypothesis import strategies as st

from backtest.sweep.kernel.distances import NOT_EXACT, decimal_of, units_of

# Halves of the last digit kept, and floats beside them.
HALVES = st.integers(0, 10**12).map(lambda units: (2 * units + 1) / 2e8)
NEAR = st.builds(nextafter, HALVES, st.sampled_from((0.0, 1e300)))
WRITTEN = st.builds(lambda number, power: number / 10**power, st.integers(1, 10**15), st.integers(0, 15))
VALUES = st.one_of(HALVES, NEAR, WRITTEN, st.floats(1e-6, 1e6))


@given(value=VALUES, multiple=st.sampled_from(((1, 1), (3, 2), (25, 10), (1_001, 1_000))))
@example(value=1.25e-07, multiple=(1, 1))
@example(value=1e9, multiple=(1, 1))
def test_units(value: float, multiple: tuple[int, int]) -> None:
    times, of = multiple
    wanted = (Decimal(times) / Decimal(of) * Decimal(str(value))).quantize(Decimal("1e-8")).scaleb(8)
    found = units_of(value, times, of)
    # Where no price is: beyond millions, and finer than any step.
    assert found == wanted or (found == NOT_EXACT and (wanted > 2**47 or value < 1e-6))


@given(value=VALUES)
@example(value=0.3)
@example(value=0.0013436424411240122)
def test_decimals(value: float) -> None:
    number, power = decimal_of(value)
    assert power < 0 or Decimal(int(number)).scaleb(-power) == Decimal(str(value))
    assert power >= 0 or value < 1e-6 or value > 1e6
