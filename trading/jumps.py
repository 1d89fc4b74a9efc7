"""Prices that jump too far to be believed at once.

A market that trades around the clock opens near where it closed. A candle whose open or close is more than three times
the close before it, or less than a third, is believed when the candle after it opens near its close: a price that has
really moved stays there for a moment, a spoiled row stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from trading.candles import Candle
from trading.feed_events import Anomaly
from trading.intervals import DAY_MS

__all__ = ["Doubts", "jump_anomaly", "jumps"]

_FACTOR = 3
# After a longer pause any price is possible.
_MEMORY_MS = DAY_MS
_INSISTENCE = 6
_MOST_DOUBTS = 1000


def jumps(before: Candle | None, candle: Candle) -> bool:
    """Whether ``candle`` jumps too far from ``before``, the one that was told last; None: nothing is known."""
    if before is None or candle.open_time_ms - before.close_time_ms > _MEMORY_MS:
        return False
    return _is_far(candle.open, before.close) or _is_far(candle.close, before.close)


class Doubts:
    """What is not believed yet. A row that REST gives again and again, though no candle bears it out, is believed."""

    def __init__(self) -> None:
        self._seen: dict[Candle, int] = {}

    def first(self, before: Candle | None, candles: Sequence[Candle]) -> tuple[Candle | None, bool]:
        """The first of ascending ``candles`` that is doubtful now, and whether it is so for the first time.

        ``before`` is the candle known to come before them. When there is none, the first is as doubtful as the second
        that jumps away from it.
        """
        found = _first_doubtful(before, candles)
        if found is None:
            return None, False
        if len(self._seen) > _MOST_DOUBTS:
            self._seen.clear()
        seen = self._seen[found] = self._seen.get(found, 0) + 1
        if seen < _INSISTENCE:
            return found, seen == 1
        del self._seen[found]
        return None, False


def jump_anomaly(candle: Candle) -> Anomaly:
    """The note that ``candle`` is not told for its price."""
    detail = f"prices {candle[4:8]} in {candle.source} jump away from those around"
    return Anomaly(candle.market, "jump", detail, candle.open_time_ms, candle.close_time_ms)


def _first_doubtful(before: Candle | None, candles: Sequence[Candle]) -> Candle | None:
    if before is None and len(candles) > 1 and jumps(candles[0], candles[1]):
        return candles[0]
    for number, candle in enumerate(candles):
        if jumps(before, candle):
            after = candles[number + 1] if number + 1 < len(candles) else None
            if after is None or _is_far(after.open, candle.close):
                return candle
        before = candle
    return None


def _is_far(price: int, other: int) -> bool:
    return price > _FACTOR * other or _FACTOR * price < other
