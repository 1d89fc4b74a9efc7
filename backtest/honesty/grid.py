"""The sets of parameters that a search tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import product

from trading.errors import BadInput
from trading.strategies.registry import load_strategy

__all__ = ["MOST_TRIALS", "combinations_of", "parse_axis"]

Number = int | float
MOST_TRIALS = 2000
"""More than this many runs of the reference engine are not a search but a wait."""


def parse_axis(text: str) -> tuple[str, list[Number]]:
    """``period=20,44,125`` or ``period=10:100:10`` (both ends included); BadInput names what is wrong."""
    name, sign, values = text.partition("=")
    try:
        if not sign or not name.strip() or not values.strip():
            raise ValueError
        if ":" in values:
            first, last, step = (Decimal(part) for part in values.split(":"))
            if step <= 0 or last < first or (last - first) / step >= MOST_TRIALS:
                raise ValueError
            numbers = [first + step * n for n in range(int((last - first) / step) + 1)]
        else:
            numbers = [Decimal(part) for part in values.split(",")]
        if not all(number.is_finite() for number in numbers):
            raise ValueError
    except (ArithmeticError, ValueError) as error:
        raise BadInput(
            f"--grid {text!r} cannot be read.",
            field="grid",
            value=text,
            fix="Write NAME=FIRST:LAST:STEP or NAME=A,B,C, such as period=20:60:10.",
        ) from error
    return name.strip(), list(dict.fromkeys(_plain(number) for number in numbers))


def combinations_of(
    strategy: str, base: Mapping[str, Number], grid: Mapping[str, Sequence[Number]], source: str = ""
) -> tuple[list[dict[str, Number]], int]:
    """Every combination that the strategy accepts, over its ``base`` parameters, and how many it refused.

    ``source`` is the text of a strategy that is not built in. One may refuse some, such as a fast average that is
    slower than the slow one; BadInput if it refuses all, or if there are too many.
    """
    count = 1
    for values in grid.values():
        count *= len(values)
    if not grid or count < 2 or count > MOST_TRIALS:
        raise BadInput(
            f"The grid has {count if grid else 0} combinations.",
            field="grid",
            value=count if grid else 0,
            fix=f"Give 2 to {MOST_TRIALS}.",
        )
    accepted, refusal = [], None
    for values in product(*grid.values()):
        params = {**base, **dict(zip(grid, values, strict=True))}
        try:
            load_strategy(strategy, params, source)
        except BadInput as error:
            refusal = refusal or error
        else:
            accepted.append(params)
    if refusal is not None and len(accepted) < 2:
        raise refusal
    return accepted, count - len(accepted)


def _plain(number: Decimal) -> Number:
    return int(number) if number == number.to_integral_value() else float(number)
