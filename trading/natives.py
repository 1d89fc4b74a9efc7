"""A venue's own longer candles, where 1m history is too short to make them: which are wanted, and which one holds.

Of two candles for the same time a complete derived one holds, then the venue's, then a partial derived one. A native
candle warms features up and is never decided on: nobody traded on what a venue told later than the minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trading.candles import Candle, Source
from trading.intervals import parse_interval

__all__ = ["holds", "is_native", "lacking", "merge_natives"]

_NATIVE = Source.NATIVE.value


def is_native(candle: Candle) -> bool:
    """Whether the venue itself made ``candle`` out of its trades."""
    return candle.source == _NATIVE


def holds(candle: Candle, other: Candle) -> bool:
    """Whether ``candle`` takes the place of ``other`` when both tell of the same time."""
    return _rank(candle) > _rank(other)


def merge_natives(derived: Sequence[Candle], natives: Collection[Candle]) -> list[Candle]:
    """Both in order of time, one candle for each."""
    if not natives:
        return list(derived)
    found = {candle.open_time_ms: candle for candle in derived}
    for native in natives:
        known = found.get(native.open_time_ms)
        if known is None or holds(native, known):
            found[native.open_time_ms] = native
    return [found[opened] for opened in sorted(found)]


def lacking(
    interval: str,
    known: Collection[int],
    span: tuple[int, int],
    *,
    begins_ms: int,
    start_ms: int,
    folded_ms: int,
) -> list[int]:
    """Open times of the ``interval`` candles within ``span`` that only the venue can tell of.

    ``known`` are those that need nothing. Minutes are recorded from ``begins_ms`` on: what opened before cannot be made
    of them. What closed after ``start_ms``, when the session began, is left out once the candle after it was folded,
    as ``folded_ms`` says: that one was decided on without it, and would be no more what it was.
    """
    width = parse_interval(interval)
    opened = width.open_of(span[0])
    found = []
    while opened < begins_ms and (close_ms := width.close_of(opened)) <= span[1]:
        if opened not in known and (close_ms <= start_ms or width.close_of(close_ms) > folded_ms):
            found.append(opened)
        opened = close_ms
    return found


def _rank(candle: Candle) -> int:
    return 1 if is_native(candle) else 2 if candle.complete else 0
