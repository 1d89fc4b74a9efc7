"""One market's minutes as arrays, so that many of them can be passed over, searched or folded at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trading.accounts.fills import FUNDING_MS
from trading.candle_columns import CandleColumns, Integers
from trading.candle_series import CandleSeries
from trading.candles import Candle, Hole, HoleReason, Source
from trading.errors import BadInput
from trading.fold import fold
from trading.fold_columns import fold_columns, touched
from trading.intervals import DAY_MS, HOUR_MS, MINUTE

__all__ = ["Minutes"]

_EXTRAS = ("quote_volume", "trade_count", "taker_buy_volume")


class Minutes:
    """1m ``candles`` of one market in order, with their times (ms) and prices (10**-8) as arrays of the same length.

    ``fundings``, ``hours`` and ``day_ends`` are the places of the minutes before whose open funding is due, that close
    with an hour, and that are the last of their UTC day, ascending.
    """

    def __init__(self, candles: Sequence[Candle]) -> None:
        series = CandleSeries.of(candles)
        self.market = series.market
        self.candles = candles
        self.series = series
        self.open_ms, self.close_ms = series.open_time_ms, series.close_time_ms
        self.open, self.high, self.low, self.close = series.open, series.high, series.low, series.close
        before_ms = np.concatenate([self.open_ms[:1], self.close_ms[:-1]])
        # The first funding at or after the close before comes by this open.
        self.fundings = _places(-(-before_ms // FUNDING_MS) * FUNDING_MS <= self.open_ms)
        self.hours = _places(self.close_ms % HOUR_MS == 0)
        self.day_ends = _places(np.diff((self.close_ms - 1) // DAY_MS) != 0)

    def __len__(self) -> int:
        return len(self.candles)

    def closed_by(self, times_ms: Sequence[int]) -> list[int]:
        """How many have closed at each of ``times_ms``."""
        found: list[int] = np.searchsorted(self.close_ms, np.array(times_ms, np.int64), side="right").tolist()
        return found

    def fold(self, interval: str, holes: Sequence[Hole] = ()) -> list[Candle]:
        """What ``trading.fold.fold`` makes of them, bit for bit, and many times as fast."""
        starts = [int(self.open_ms[0]), *(hole.from_ms for hole in holes)]
        ends = [int(self.close_ms[-1]), *(hole.to_ms for hole in holes)]
        columns, odd = self._columns()
        try:
            folded = fold_columns(columns, interval, start_ms=min(starts), end_ms=max(ends))
        except BadInput:
            return fold(list(self.candles), interval, holes)
        if any(getattr(folded, name) is None and getattr(columns, name) is not None for name in _EXTRAS):
            return fold(list(self.candles), interval, holes)
        made = folded.candles(Source.DERIVED.value)
        opens, closes = folded.open_time_ms, folded.close_time_ms
        for place in np.unique(np.searchsorted(closes, self.open_ms[odd], side="right")).tolist():
            # Odd minutes before the first whole candle, or after the last, are part of none.
            if place < len(made) and made[place].close_time_ms > self.open_ms[0]:
                first, last = np.searchsorted(self.open_ms, (opens[place], closes[place]))
                made[place : place + 1] = fold(
                    self.candles[first:last], interval, start_ms=int(opens[place]), end_ms=int(closes[place])
                )
        for place in np.flatnonzero(touched(folded, _missing(holes))).tolist():
            made[place] = made[place]._replace(complete=False)
        return made

    def _columns(self) -> tuple[CandleColumns, list[int]]:
        """All that is folded, and the places of minutes of which something is unknown or lent: they are 0 there."""
        series = self.series
        is_odd = series.is_lent
        extras: dict[str, Integers | None] = dict.fromkeys(_EXTRAS)
        for name in _EXTRAS:
            if (found := series.known(name)) is not None:
                extras[name], unknown = found
                is_odd |= unknown
        columns = CandleColumns(
            self.market, MINUTE, self.open_ms, self.open, self.high, self.low, self.close, series.volume,
            extras["quote_volume"], extras["trade_count"], extras["taker_buy_volume"],
        )  # fmt: skip
        return columns, _places(is_odd)


def within(places: Sequence[int], first: int, last: int) -> Sequence[int]:
    """Those of the ascending ``places`` from ``first`` up to ``last``, which is left out."""
    return places[bisect_left(places, first) : bisect_left(places, last)]


def _places(flags: NDArray[np.bool_]) -> list[int]:
    found: list[int] = np.flatnonzero(flags).tolist()
    return found


def _missing(holes: Sequence[Hole]) -> Integers:
    """The missing minutes as disjoint ascending rows of [from, to)."""
    spans: list[list[int]] = []
    for hole in sorted(hole for hole in holes if hole.reason == HoleReason.MISSING):
        if spans and hole.from_ms <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], hole.to_ms)
        else:
            spans.append([hole.from_ms, hole.to_ms])
    return np.array(spans, np.int64).reshape(-1, 2)
