"""One symbol's candles as the venue shows them: four kline frames a minute, and the klines of any interval.

Pure and without a clock: everything is a function of the candles and of the venue's time. A minute that the file does
not have never happened here: no frame is sent for it and REST has no row.

Where a file has only six columns the rest is filled in: quote volume = volume × close, half of the volume bought by
takers, and four trades in a minute that traded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from trading.candle_columns import CandleColumns, Integers
from trading.errors import BadInput
from trading.intervals import MINUTE, MINUTE_MS, Interval

__all__ = ["CLOSE_DELAY_MS", "FRAME_DELAYS_MS", "Frame", "Kline", "Tape", "fold"]

CLOSE_DELAY_MS = 5
# The venue's time, counted from the open, at which each frame of a minute is sent. The closing frame follows the close
# by a moment, as at the venue, and precedes the next minute's first frame.
FRAME_DELAYS_MS = (10, 20_000, 40_000, MINUTE_MS + CLOSE_DELAY_MS)
_STAGES = len(FRAME_DELAYS_MS)


class Kline(NamedTuple):
    """One kline, perhaps still forming. Times in ms, ``close_ms`` exclusive; prices and volumes at 10**-8."""

    open_ms: int
    close_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    taker_volume: int
    taker_quote_volume: int


class Frame(NamedTuple):
    """One state of a minute, sent at ``event_ms``. ``first_trade`` is the id of its first trade, if it has one;
    ``added_volume`` is what was traded since the state before.
    """

    event_ms: int
    kline: Kline
    first_trade: int
    added_volume: int
    closed: bool


class Tape:
    """The minutes of one symbol. ``peek`` is the next frame's time, ``take`` gives the frame and goes on."""

    def __init__(self, symbol: str, columns: CandleColumns) -> None:
        if columns.interval != MINUTE:
            raise BadInput(
                f"The candles of {symbol} are of {columns.interval}.",
                field="interval",
                value=columns.interval.name,
                fix="The simulator plays 1m candles: give a file of minutes.",
            )
        self.symbol = symbol
        self.columns = columns
        self._times = columns.open_time_ms
        self._filled = _Filled(columns)
        self._index = 0
        self._stage = 0
        self._frames: list[Frame] = []
        self._refill()

    def seek(self, time_ms: int) -> None:
        """Begin with the first minute that opens at or after ``time_ms``."""
        self._index = int(np.searchsorted(self._times, time_ms))
        self._stage = 0
        self._refill()

    @property
    def peek(self) -> int | None:
        """The event time of the next frame; None at the end of the candles."""
        return self._frames[self._stage].event_ms if self._frames else None

    def take(self) -> Frame:
        """Return the next frame and step past it."""
        frame = self._frames[self._stage]
        self._stage += 1
        if self._stage == _STAGES:
            self._stage = 0
            self._index += 1
            self._refill()
        return frame

    def _refill(self) -> None:
        self._frames = []
        if self._index < len(self._times):
            kline, first_trade = self._minute(self._index)
            before = 0
            for stage, (delay, state) in enumerate(zip(FRAME_DELAYS_MS, _states(kline), strict=True)):
                added = state.volume - before
                before = state.volume
                self._frames.append(Frame(kline.open_ms + delay, state, first_trade, added, stage == _STAGES - 1))

    def _minute(self, index: int) -> tuple[Kline, int]:
        return self._filled.klines(index, index + 1)[0], self._filled.first_trade(index)

    def revise(self, open_ms: int) -> Kline:
        """Change a past minute as a venue that corrects itself does: it went a little higher, and closed there."""
        index = int(np.searchsorted(self._times, open_ms))
        return self._filled.revise(index)

    def klines(
        self, interval: Interval, now_ms: int, limit: int, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Kline]:
        """Return what REST knows at ``now_ms``: at most ``limit`` klines, ascending, the forming one last.

        They open in ``start_ms`` … ``end_ms``, both inclusive: the oldest of these with ``start_ms``, else the newest.
        """
        closed = int(np.searchsorted(self._times, now_ms - MINUTE_MS, side="right"))
        stop = closed
        if end_ms is not None:
            stop = min(stop, int(np.searchsorted(self._times, interval.close_of(interval.open_of(end_ms)))))
        span = interval.typical_ms // MINUTE_MS * (limit + 1)
        if start_ms is None:
            begin = max(0, stop - span)
        else:
            first_ms = interval.open_of(start_ms)
            first_ms = first_ms if first_ms == start_ms else interval.close_of(first_ms)
            begin = int(np.searchsorted(self._times, first_ms))
            stop = min(stop, begin + span)
        minutes = self._filled.klines(begin, stop) if begin < stop else []
        cut = begin > 0 and start_ms is None and bool(minutes)
        if stop == closed and (forming := self._forming(closed, now_ms)) is not None:
            minutes.append(forming)
        rows = fold(minutes, interval)
        # Without a start the first window may lack its head: it is one more than was asked for.
        if cut and interval.open_of(int(self._times[begin - 1])) == rows[0].open_ms:
            rows = rows[1:]
        if start_ms is not None:
            rows = [row for row in rows if row.open_ms >= start_ms]
        if end_ms is not None:
            rows = [row for row in rows if row.open_ms <= end_ms]
        return rows[:limit] if start_ms is not None else rows[-limit:]

    def _forming(self, index: int, now_ms: int) -> Kline | None:
        """The state of minute ``index`` at ``now_ms``, if it has begun."""
        if index >= len(self._times):
            return None
        age_ms = now_ms - int(self._times[index])
        state = None
        if age_ms >= FRAME_DELAYS_MS[0]:
            for delay, candidate in zip(FRAME_DELAYS_MS, _states(self._minute(index)[0]), strict=True):
                state = candidate if age_ms >= delay else state
        return state


class _Filled:
    """Klines of a file's rows, with the values that the file lacks."""

    def __init__(self, columns: CandleColumns) -> None:
        self._columns = columns
        volume, close = columns.volume, columns.close
        quote = columns.quote_volume
        self._quote = np.rint(volume * (close / 1e8)).astype(np.int64) if quote is None else quote
        self._trades = np.where(volume > 0, 4, 0) if columns.trade_count is None else columns.trade_count
        self._taker = volume // 2 if columns.taker_buy_volume is None else columns.taker_buy_volume
        taker_quote = columns.taker_buy_quote_volume
        if taker_quote is None:
            taker_quote = np.rint(self._taker * (close / 1e8)).astype(np.int64)
        self._taker_quote = np.minimum(taker_quote, self._quote)
        self._trades_before: Integers = np.cumsum(self._trades) - self._trades

    def first_trade(self, index: int) -> int:
        return int(self._trades_before[index]) + 1

    def revise(self, index: int) -> Kline:
        columns = self._columns
        high, close, volume = (array.copy() for array in (columns.high, columns.close, columns.volume))
        high[index] += max(1, int(high[index]) // 1000)
        close[index] = high[index]
        volume[index] += max(1, int(volume[index]) // 100)
        self._columns = replace(columns, high=high, close=close, volume=volume)
        return self.klines(index, index + 1)[0]

    def klines(self, begin: int, stop: int) -> list[Kline]:
        columns, part = self._columns, slice(begin, stop)
        times = columns.open_time_ms[part]
        arrays = (
            times,
            times + MINUTE_MS,
            *(array[part] for array in (columns.open, columns.high, columns.low, columns.close, columns.volume)),
            *(array[part] for array in (self._quote, self._trades, self._taker, self._taker_quote)),
        )
        return [Kline(*row) for row in zip(*(array.tolist() for array in arrays), strict=True)]


def _states(full: Kline) -> tuple[Kline, Kline, Kline, Kline]:
    """The minute at its open, its first and second extreme, and its close; a rising minute meets its low first."""
    first, second = (full.low, full.high) if full.close >= full.open else (full.high, full.low)
    prices = (
        (full.open, full.open, full.open),
        (max(full.open, first), min(full.open, first), first),
        (full.high, full.low, second),
    )
    begun = [
        Kline(
            full.open_ms,
            full.close_ms,
            full.open,
            high,
            low,
            close,
            full.volume * part // _STAGES,
            full.quote_volume * part // _STAGES,
            -(-full.trades * part // _STAGES),
            full.taker_volume * part // _STAGES,
            full.taker_quote_volume * part // _STAGES,
        )
        for part, (high, low, close) in enumerate(prices, 1)
    ]
    return begun[0], begun[1], begun[2], full


def fold(minutes: Sequence[Kline], interval: Interval) -> list[Kline]:
    """Return the klines of ``interval`` that ``minutes`` make; sums are exact."""
    if interval == MINUTE:
        return list(minutes)
    folded = []
    for open_ms, group in groupby(minutes, key=lambda kline: interval.open_of(kline.open_ms)):
        parts = list(group)
        folded.append(
            Kline(
                open_ms,
                interval.close_of(open_ms),
                parts[0].open,
                max(part.high for part in parts),
                min(part.low for part in parts),
                parts[-1].close,
                *(sum(column) for column in list(zip(*parts, strict=True))[6:]),
            )
        )
    return folded
