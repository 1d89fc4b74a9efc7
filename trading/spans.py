"""Sorted, disjoint spans of time: [from, to) pairs, as lists that are never changed in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Span", "add_span", "cut_span", "runs_between", "without"]

Span = tuple[int, int]


def add_span(spans: list[Span], start: int, end: int) -> list[Span]:
    """Return ``spans`` with [start, end) added; touching spans become one."""
    if start >= end:
        return spans
    merged: list[Span] = []
    for span in sorted([*spans, (start, end)]):
        if merged and span[0] <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
        else:
            merged.append(span)
    return merged


def cut_span(spans: list[Span], start: int, end: int) -> list[Span]:
    """Return ``spans`` without [start, end)."""
    out: list[Span] = []
    for low, high in spans:
        out += [(a, b) for a, b in ((low, min(high, start)), (max(low, end), high)) if a < b]
    return out


def runs_between(present: Iterable[int], start: int, end: int, step: int) -> Iterator[Span]:
    """Yield the maximal spans of [start, end) in which no multiple of ``step`` is in the ascending ``present``."""
    at = start
    for moment in present:
        if moment > at:
            yield at, moment
        at = moment + step
    if at < end:
        yield at, end


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return ``spans`` without ``taken``, both ascending and disjoint, in one pass."""
    left: list[Span] = []
    cuts = iter(taken)
    cut = next(cuts, None)
    for start, end in spans:
        at = start
        while cut is not None and cut[1] <= at:
            cut = next(cuts, None)
        while cut is not None and cut[0] < end:
            if cut[0] > at:
                left.append((at, cut[0]))
            at = max(at, cut[1])
            if cut[1] > end:
                break
            cut = next(cuts, None)
        if at < end:
            left.append((at, end))
    return left
