"""What a sweep reads: the minutes of one market and the candles that are decided on, as read-only arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backtest.minutes import Minutes
from backtest.sources import Source, check_missing, span_of
from trading.accounts.fills import FUNDING_MS
from trading.candle_columns import Integers
from trading.candles import Candle, HoleReason
from trading.errors import DataHole
from trading.intervals import DAY_MS, MINUTE, MINUTE_MS
from trading.markets import Market
from trading.natives import is_native, merge_natives

if TYPE_CHECKING:
    from backtest.requests import BacktestRequest

__all__ = ["Tape", "missing_ends", "starts_of", "told_on"]


@dataclass(frozen=True, slots=True)
class Tape:
    """Read-only arrays, so that workers can share them.

    Of minutes ``opens`` … ``closes`` at 10**-8, from ``first`` on traded. ``fundings`` are those before whose open
    funding is due; ``times`` counts how often, more than once after long absence. ``day_places`` is for each UTC day
    the last traded minute up to its end, -1 before the first.

    Of candles decided on ``bars``: rows of open, high, low, close and volume at 10**-8. ``fills`` is for each candle
    the first minute that opens at its close or later. Features begin anew at each of ``starts``. Candles before
    ``decides`` only warm up, and those that ``is_mute`` marks are not decided on: those with missing minutes hold, and
    those that ``is_native`` marks, the venue's own, say nothing at all.
    """

    market: Market
    live_from_ms: int
    opens: Integers
    highs: Integers
    lows: Integers
    closes: Integers
    open_ms: Integers
    first: int
    fundings: Integers
    times: Integers
    day_places: Integers
    bars: Integers
    bar_close_ms: Integers
    fills: Integers
    starts: Integers
    decides: int
    is_mute: NDArray[np.bool_]
    is_native: NDArray[np.bool_]

    @classmethod
    def of(cls, request: BacktestRequest, source: Source) -> Tape:
        """The tape of ``request``, which decides on one interval; raises DataHole as a single backtest does."""
        span = span_of(request, [source])
        check_missing(request, [source], span)
        [interval] = request.intervals
        minutes = Minutes(source.candles)
        if interval == MINUTE.name:
            bars = np.stack([minutes.open, minutes.high, minutes.low, minutes.close, minutes.series.volume])
            bar_close_ms = minutes.close_ms
            whole = np.ones(len(minutes), np.bool_)
            natively = np.zeros(len(minutes), np.bool_)
        else:
            told = told_on(source, minutes, interval)
            rows = [(c.open, c.high, c.low, c.close, c.volume) for c in told]
            bars = np.ascontiguousarray(np.array(rows, np.int64).reshape(-1, 5).T)
            bar_close_ms = np.array([candle.close_time_ms for candle in told], np.int64)
            whole = np.array([candle.complete for candle in told], np.bool_)
            natively = np.array([is_native(candle) for candle in told], np.bool_)
        is_mute = ~whole | natively
        first = int(np.searchsorted(minutes.close_ms, span.from_ms, side="right"))
        decides = int(np.searchsorted(bar_close_ms, span.from_ms, side="right"))
        if is_mute[decides:].size == 0 or bool(_natively(is_mute, whole)[decides:].all()):
            raise DataHole(
                f"No candle of {interval} closes in this range: there is nothing to decide on.",
                field="intervals",
                value=interval,
                fix="Choose shorter intervals, or a longer range.",
            )
        before_ms = np.concatenate([minutes.open_ms[:1], minutes.close_ms[:-1]])
        due = -(-before_ms // FUNDING_MS)
        times = minutes.open_ms // FUNDING_MS - due + 1
        fundings = np.flatnonzero(times > 0)
        days = np.arange(span.from_ms // DAY_MS, (int(minutes.close_ms[-1]) - 1) // DAY_MS + 1)
        day_places = np.searchsorted(minutes.close_ms, (days + 1) * DAY_MS, side="right") - 1
        tape = cls(
            market=source.market,
            live_from_ms=span.from_ms,
            opens=minutes.open,
            highs=minutes.high,
            lows=minutes.low,
            closes=minutes.close,
            open_ms=minutes.open_ms,
            first=first,
            fundings=fundings,
            times=times[fundings],
            day_places=np.where(day_places < first, -1, day_places),
            bars=bars,
            bar_close_ms=bar_close_ms,
            fills=np.searchsorted(minutes.open_ms, bar_close_ms),
            starts=np.array(starts_of(bar_close_ms, whole, missing_ends(source)), np.int64),
            decides=decides,
            is_mute=is_mute,
            is_native=natively,
        )
        for item in fields(tape):
            value = getattr(tape, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        return tape

    @property
    def most(self) -> int:
        """The highest price of all, at 10**-8."""
        return int(max(self.highs.max(), self.bars[1].max()))

    @property
    def decimals(self) -> int:
        """With how many decimals, at most eight, all prices of ``bars`` can be written."""
        common = int(np.gcd.reduce(self.bars[:4], axis=None))
        return next(found for found in range(9) if common % 10 ** (8 - found) == 0)

    def minute_ms(self, place: int) -> int:
        """When the minute at ``place`` closes."""
        return int(self.open_ms[place]) + MINUTE_MS


def told_on(source: Source, minutes: Minutes, interval: str) -> Sequence[Candle]:
    """The candles of ``interval`` that a backtest is told: ``minutes`` of ``source``, or longer ones made of them, with
    the venue's own where these are lacking.
    """
    if interval == MINUTE.name:
        return minutes.candles
    natives = [item for item in source.natives if item.interval == interval]
    last_ms = int(minutes.close_ms[-1])
    merged = merge_natives(minutes.fold(interval, source.holes), natives)
    return [candle for candle in merged if candle.close_time_ms <= last_ms]


def missing_ends(source: Source) -> Integers:
    """When stretches of missing minutes end, ascending."""
    return np.array(sorted(hole.to_ms for hole in source.holes if hole.reason == HoleReason.MISSING), np.int64)


def starts_of(close_ms: Integers, whole: NDArray[np.bool_], missing_ms: Integers) -> list[int]:
    """The places of the candles, closing at ``close_ms``, with which features begin: the first, those after one that
    lacks a minute, and those after the ends ``missing_ms`` of missing minutes.
    """
    found = {0, *np.searchsorted(close_ms, missing_ms).tolist(), *(np.flatnonzero(~whole) + 1).tolist()}
    return sorted(place for place in found if place < len(close_ms))


def _natively(is_mute: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which candles are the venue's own: mute, and not because something is missing."""
    return is_mute & whole
