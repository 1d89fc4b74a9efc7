"""The values of a parameter that a search tries, as a user writes them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from trading.errors import BadInput

__all__ = ["MOST_VALUES", "parse_axis", "parse_grid"]

Number = int | float
MOST_VALUES = 2000


def parse_grid(texts: Iterable[str]) -> dict[str, list[Number]]:
    """Each of ``texts`` as ``parse_axis`` reads it, by name; BadInput also for a name that is given twice."""
    axes: dict[str, list[Number]] = {}
    for text in texts:
        name, values = parse_axis(text)
        if name in axes:
            raise BadInput(
                f"--grid gives {name} twice.",
                field="grid",
                value=text,
                fix=f"Give all its values at once, such as {name}=A,B,C.",
            )
        axes[name] = values
    return axes


def parse_axis(text: str) -> tuple[str, list[Number]]:
    """``period=20,44,125`` or ``period=10:100:10`` (both ends included); BadInput names what is wrong."""
    name, sign, values = text.partition("=")
    try:
        if not sign or not name.strip() or not values.strip():
            raise ValueError
        if ":" in values:
            first, last, step = (Decimal(part) for part in values.split(":"))
            if not (first.is_finite() and last.is_finite() and step.is_finite()):
                raise ValueError
            _check_range(name.strip(), text, first, last, step)
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


def _check_range(name: str, text: str, first: Decimal, last: Decimal, step: Decimal) -> None:
    if step <= 0:
        wrong, fix = f"has the step {step}", f"Give a step above 0, such as {name}=20:60:10."
    elif last < first:
        wrong, fix = f"goes down from {first} to {last}", f"Write the lower end first: {name}={last}:{first}:{step}."
    elif (last - first) / step >= MOST_VALUES:
        wrong = f"has more than {MOST_VALUES:,} values"
        fix = f"Give a larger step, {(last - first) / 100:g} for 101 values."
    else:
        return
    raise BadInput(f"--grid {text!r} {wrong}.", field="grid", value=text, fix=fix)


def _plain(number: Decimal) -> Number:
    return int(number) if number == number.to_integral_value() else float(number)
