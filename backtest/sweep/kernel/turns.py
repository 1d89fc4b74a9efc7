"""Looks up decisions ahead of the walk, so that what its orders need of their minutes is in the cache when they come.

A walk that waits for each of its prices takes several times as long. The candles found are those that end what is held
if every order fills. Where a walk goes another way it says that it is ``lost``, and is looked ahead for again once it
has taken a few decisions without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.sweep.kernel.bits import is_set, next_bit, prefetch
from backtest.sweep.kernel.compiling import inlined, uncounted

__all__ = ["AHEAD", "lost", "next_turn"]

# Candles are found in batches: while one is used, the prices of the next are on their way, and of the one after it the
# minutes at which its orders fill.
_BATCH, _RING, _CALM = 16, 64, 4
# An array's places: how many candles are used and how many found, what is held after the last found, where to look
# next, and how many decisions were taken without.
_USED, _FOUND, _SIDE, _CANDLE, _TAKEN = range(5)
_FIRST = 5
AHEAD = _FIRST + _RING


@inlined
def next_turn(  # noqa: PLR0913, PLR0917
    longs: Any, shorts: Any, flats: Any, side: Any, candle: Any, may_short: Any, fills: Any, seams: Any, ahead: Any
) -> Any:
    """The first candle from ``candle`` on that ends holding ``side`` (0: nothing), or how many candles there are.

    ``ahead`` are ``AHEAD`` whole numbers that are 0 at first.
    """
    if ahead[_TAKEN] < _CALM:
        ahead[_TAKEN] += 1
        return _turn(longs, shorts, flats, side, candle, may_short, len(fills))
    if ahead[_FOUND] == ahead[_USED]:
        ahead[_SIDE], ahead[_CANDLE] = side, candle
    if ahead[_FOUND] - ahead[_USED] <= 2 * _BATCH:
        _look_ahead(longs, shorts, flats, may_short, fills, seams, ahead)
    found = ahead[_FIRST + (ahead[_USED] & (_RING - 1))]
    ahead[_USED] += 1
    return found


@inlined
def lost(ahead: Any) -> None:
    """What was found from here on is not what the walk does."""
    ahead[_USED] = ahead[_FOUND] = ahead[_TAKEN] = 0


@inlined
def _turn(longs: Any, shorts: Any, flats: Any, side: Any, candle: Any, may_short: Any, count: Any) -> Any:
    if side == 0:
        return next_bit(longs, shorts if may_short else longs, candle, count)
    return next_bit(flats, shorts if side > 0 else longs, candle, count)


@uncounted
def _look_ahead(longs: Any, shorts: Any, flats: Any, may_short: bool, fills: Any, seams: Any, ahead: Any) -> None:
    count, found, side, candle = len(fills), ahead[_FOUND], ahead[_SIDE], ahead[_CANDLE]
    while found - ahead[_USED] <= 2 * _BATCH:
        for place in range(max(found - _BATCH, 0), found):
            turn = ahead[_FIRST + (place & (_RING - 1))]
            if turn < count:
                prefetch(seams, 2 * fills[turn])  # type: ignore[call-arg]
        for place in range(found, found + _BATCH):
            candle = _turn(longs, shorts, flats, side, candle, may_short, count)
            ahead[_FIRST + (place & (_RING - 1))] = candle
            if candle < count:
                prefetch(fills, candle)  # type: ignore[call-arg]
                if side == 0:
                    side = np.int64(1) if is_set(longs, candle) else np.int64(-1)
                elif (may_short and side > 0 and is_set(shorts, candle)) or (side < 0 and is_set(longs, candle)):
                    side = -side
                else:
                    side = np.int64(0)
                candle += 1
        found += _BATCH
    ahead[_FOUND], ahead[_SIDE], ahead[_CANDLE] = found, side, candle
