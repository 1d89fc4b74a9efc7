"""Which line of a strategy's file makes the difference between two runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Step", "first_difference", "tracing"]

_MAX_STEPS = 5_000
_SHOWN = 80
_COMPARED = 2_000


class Step(NamedTuple):
    """A line of the strategy's file that was run, and what its function's variables held before it."""

    line: int
    function: str
    held: tuple[tuple[str, str], ...]


@contextmanager
def tracing(name: str) -> Iterator[list[Step]]:
    """Collect the lines that the file of the strategy ``name`` runs meanwhile."""
    found: list[Step] = []
    mark = f"<{name}.py "
    before = sys.gettrace()

    def local(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if event in ("line", "return") and len(found) < _MAX_STEPS:
            held = [(key, _shown(value)) for key, value in frame.f_locals.items()]
            if event == "return":
                held.append(("it returned", _shown(argument)))
            found.append(Step(frame.f_lineno, frame.f_code.co_name, tuple(held)))
        return local

    def calls(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return local if frame.f_code.co_filename.startswith(mark) else None

    sys.settrace(calls)
    try:
        yield found
    finally:
        sys.settrace(before)


def first_difference(one: list[Step], other: list[Step]) -> tuple[int, str, str, str] | None:
    """Line, function, and what it held in each run, where two runs of the same lines begin to differ.

    It is the line that ran before: what it made is what differs.
    """
    line, function = 0, ""
    for left, right in zip_longest(one, other):
        if left is None or right is None or left.line != right.line or left.function != right.function:
            return (line, function, "", "") if line else None
        if left.held != right.held:
            mine, theirs = dict(left.held), dict(right.held)
            name = next(key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key))
            told, other_told = (f"{name}: {held.get(name, 'nothing')}"[:_SHOWN] for held in (mine, theirs))
            return line or left.line, function or left.function, told, other_told
        line, function = left.line, left.function
    return None


def _shown(value: Any) -> str:
    """Short, and the same for equal values in two runs; of what is large only its size."""
    if isinstance(value, list | dict | set):
        return f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    if " at 0x" in text:
        return type(value).__name__
    return text[:_COMPARED]
