"""The values of a parameter that a search tries, as a user writes them."""

from __future__ import annotations

from decimal import Decimal

from trading.errors import BadInput

__all__ = ["MOST_VALUES", "parse_axis"]

Number = int | float
MOST_VALUES = 2000


def parse_axis(text: str) -> tuple[str, list[Number]]:
    """``period=20,44,125`` or ``period=10:100:10`` (both ends included); BadInput names what is wrong."""
    name, sign, values = text.partition("=")
    try:
        if not sign or not name.strip() or not values.strip():
            raise ValueError
        if ":" in values:
            first, last, step = (Decimal(part) for part in values.split(":"))
            if step <= 0 or last < first or (last - first) / step >= MOST_VALUES:
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


def _plain(number: Decimal) -> Number:
    return int(number) if number == number.to_integral_value() else float(number)
