"""Parameters of features and strategies: a NamedTuple of numbers and words, read from what a user wrote.

Each has a ``Range`` of numbers or a ``Words`` that says which words are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, cast

from trading.errors import BadInput

__all__ = ["Kind", "Range", "Words", "nearest", "read_params"]

Shape = TypeVar("Shape", bound=tuple[Any, ...])


class Range(NamedTuple):
    """Both ends are allowed. Two ints mean a whole number, anything else a decimal one."""

    low: int | float
    high: int | float

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.low} to {self.high}"


class Words(NamedTuple):
    """``read`` returns the one spelling of an allowed word and raises ValueError for any other."""

    allowed: str
    read: Callable[[str], str]

    def __str__(self) -> str:
        return self.allowed

    @classmethod
    def of(cls, *words: str) -> Words:
        """One of a few."""

        def read(text: str) -> str:
            if text not in words:
                raise ValueError(text)
            return text

        return cls(f"one of {', '.join(words)}", read)


Kind = Range | Words


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """One sentence that names what ``name`` was probably meant to be, or all there is."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Use one of: {', '.join(known) or '(none)'}."


def read_params(
    owner: str,
    shape: type[Shape],
    ranges: Mapping[str, Kind],
    given: Mapping[str, object],
    defaults: Mapping[str, object] | None = None,
) -> Shape:
    """Return ``shape`` filled from ``given``, then ``defaults``, then the shape's own defaults.

    Raises BadInput that names the parameter, its value and the range if one is unknown, absent or out of range.
    """
    # NamedTuple subclasses have _fields and _field_defaults, which their static base, tuple, does not show.
    fields = cast("tuple[str, ...]", shape._fields)  # type: ignore[attr-defined]
    own = cast("dict[str, object]", shape._field_defaults)  # type: ignore[attr-defined]
    for name in given:
        if name not in fields:
            raise BadInput(
                f"{owner} has no parameter {name!r}.", field=name, value=given[name], fix=nearest(name, fields)
            )
    wanted = {**own, **(defaults or {}), **given}
    make = cast("Callable[..., Shape]", shape)
    return make(*(_value(owner, name, wanted.get(name), ranges[name]) for name in fields))


def _value(owner: str, name: str, value: object, allowed: Kind) -> int | float | str:
    if value is None:
        raise BadInput(f"{owner} needs the parameter {name!r}.", field=name, value=None, fix=f"Give {allowed}.")
    try:
        return _word(value, allowed) if isinstance(allowed, Words) else _number(value, allowed)
    except ValueError as error:
        raise BadInput(f"{owner}: {name} is {value!r}.", field=name, value=value, fix=f"Use {allowed}.") from error


def _word(value: object, allowed: Words) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return allowed.read(value)


def _number(value: object, allowed: Range) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not allowed.low <= value <= allowed.high:
        raise ValueError(value)
    if allowed.whole and value != int(value):
        raise ValueError(value)
    return int(value) if allowed.whole else float(value)
