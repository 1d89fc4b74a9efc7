"""Made-up candles to try strategies on: calm and wild stretches, trends, flat ones, jumps, and some without volume."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from operator import attrgetter

import numpy as np

from trading.candles import UNIT, Candle
from trading.fold import fold
from trading.intervals import DAY_MS, MINUTE_MS, parse_interval

__all__ = ["MARKET", "Series", "common_width", "made_up", "other_future", "series_of"]

MARKET = "check:BTCUSDT"
# A Wednesday long ago, at a day's and a week's distance from round numbers.
_START_MS = 18_000 * DAY_MS
_FLAT_EVERY, _FLAT_FOR = 211, 9
_TREND = 55


@dataclass(frozen=True, slots=True, repr=False)
class Series:
    """``own`` are the candles that a strategy decides on; ``every`` are these and the ones of other intervals that its
    features read, in the order in which they close, the shorter first.
    """

    own: list[Candle]
    every: list[Candle]

    def upto(self, number: int) -> int:
        """How many of ``every`` have closed with the own candle ``number``."""
        if self.every is self.own:
            return number + 1
        return 0 if number < 0 else bisect_right(self.every, self.own[number].close_time_ms, key=_closes)

    def begin_at(self, number: int) -> Series:
        """What begins with the own candle ``number``, or later."""
        own = self.own[number:]
        if self.every is self.own:
            return Series(own, own)
        return Series(own, [item for item in self.every if item.open_time_ms >= own[0].open_time_ms])


_closes = attrgetter("close_time_ms")


def series_of(candles: list[Candle], own: str, others: Sequence[str]) -> Series:
    """``candles`` folded to ``own`` and each of ``others``, which they must add up to."""
    if not others:
        return Series(candles, candles)
    folded = {name: candles if name == candles[0].interval else fold(candles, name) for name in (own, *others)}
    widths = {name: parse_interval(name).typical_ms for name in folded}
    every = [item for items in folded.values() for item in items]
    every.sort(key=lambda item: (item.close_time_ms, widths[item.interval]))
    return Series(folded[own], every)


def common_width(names: Sequence[str]) -> str:
    """The widest interval of which candles add up to each of ``names``."""
    widths = [parse_interval(name) for name in names]
    parts = [part for item in widths for part in (item.width_ms or DAY_MS, item.offset_ms)]
    return parse_interval(f"{gcd(*parts) // MINUTE_MS}m").name


def made_up(count: int, interval: str, seed: int = 1, *, market: str = MARKET) -> list[Candle]:
    """``count`` candles, always the same for a ``seed``."""
    return _candles(_prices(count, seed), interval, market)


def other_future(candles: Sequence[Candle], after: int, seed: int) -> list[Candle]:
    """``candles`` up to and with number ``after``, and then, as many as before, others that could have followed."""
    past = list(candles[: after + 1])
    rest = len(candles) - len(past)
    if not rest:
        return past
    last = past[-1]
    columns = _prices(rest, seed)
    columns[:4] *= last.close / UNIT / columns[0, 0]
    fresh = _candles(columns, last.interval, last.market)
    shift = last.close_time_ms - fresh[0].open_time_ms
    return past + [
        item._replace(open_time_ms=item.open_time_ms + shift, close_time_ms=item.close_time_ms + shift)
        for item in fresh
    ]


def _prices(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Columns open, high, low, close, volume."""
    chance = np.random.default_rng(seed)
    numbers = np.arange(count)
    wild = np.where(numbers // 97 % 2 == 0, 0.004, 0.015)
    drift = np.where(numbers // _TREND % 3 == 0, 0.002, np.where(numbers // _TREND % 3 == 1, -0.002, 0.0))
    moves = chance.normal(0.0, 1.0, count) * wild + drift
    flat = numbers % _FLAT_EVERY >= _FLAT_EVERY - _FLAT_FOR
    moves[flat] = 0.0
    close = 30_000.0 * np.exp(np.cumsum(moves))
    open_ = np.concatenate([close[:1], close[:-1]])
    jump = chance.random(count) < 0.05
    open_[jump & ~flat] *= 1.0 + chance.normal(0.0, 0.003, count)[jump & ~flat]
    reach = np.abs(chance.normal(0.0, 0.5, (2, count))) * wild
    reach[:, flat] = 0.0
    high = np.maximum(open_, close) * (1.0 + reach[0])
    low = np.minimum(open_, close) * (1.0 - reach[1])
    volume = chance.lognormal(2.0, 1.0, count)
    volume[chance.random(count) < 0.01] = 0.0
    return np.stack([open_, high, low, close, volume])


def _candles(columns: np.ndarray[tuple[int, int], np.dtype[np.float64]], interval: str, market: str) -> list[Candle]:
    width = parse_interval(interval).typical_ms
    first = _START_MS // width * width
    # Venues quote two decimals; volumes may be finer.
    prices = np.rint(columns[:4] * 100).astype(np.int64) * (UNIT // 100)
    volumes = np.rint(columns[4] * 10_000).astype(np.int64) * (UNIT // 10_000)
    made = []
    for number, volume in enumerate(volumes):
        open_, high, low, close = (int(price) for price in prices[:, number])
        open_ms = first + number * width
        made.append(Candle(market, interval, open_ms, open_ms + width, open_, high, low, close, int(volume)))
    return made
