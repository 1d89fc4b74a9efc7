"""What is looked up ahead is what a walk would have found itself, wherever it gets lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from backtest.sweep.kernel.turns import AHEAD, lost, next_turn


@njit
def found_by(  # noqa: PLR0917
    longs: Any, shorts: Any, flats: Any, may_short: bool, fills: Any, seams: Any, refused: Any, ahead: Any, out: Any
) -> int:
    """A walk whose orders fill but for those that are ``refused``: pairs of what it held and the candle found."""
    count, side, candle, found = len(fills), 0, 0, 0
    while candle < count and found < len(out):
        candle = next_turn(longs, shorts, flats, side, candle, may_short, fills, seams, ahead)
        out[found, 0], out[found, 1] = side, candle
        found += 1
        if candle < count:
            bit, word = np.uint64(1) << np.uint64(candle & 63), candle >> 6
            if side == 0:
                side = 1 if longs[word] & bit else -1
            else:
                turns = (shorts[word] & bit and may_short) if side > 0 else longs[word] & bit
                side = -side if turns else 0
            if side != 0 and refused[candle]:
                side = 0
                lost(ahead)
            candle += 1
    return found


def bits_of(codes: Any, code: int) -> Any:
    padded = np.zeros(-(-len(codes) // 64) * 64, np.bool_)
    padded[: len(codes)] = codes == code
    return np.packbits(padded, bitorder="little").view(np.uint64)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 2_000),
    quiet=st.sampled_from((0.0, 0.5, 0.98)),
    refusals=st.sampled_from((0.0, 0.05, 0.9)),
    may_short=st.booleans(),
)
def test_turns(seed: int, count: int, quiet: float, refusals: float, may_short: bool) -> None:
    random = np.random.default_rng(seed)
    codes = np.where(random.random(count) < quiet, 2, random.integers(-1, 2, count))
    refused = random.random(count) < refusals
    fills = np.minimum(np.arange(count) + 1, count)
    out = np.zeros((count + 1, 2), np.int64)
    made = found_by(
        *(bits_of(codes, code) for code in (1, -1, 0)), may_short, fills, np.zeros((count + 1, 2), np.int64), refused,
        np.zeros(AHEAD, np.int64), out,
    )  # fmt: skip
    wanted, side = [], 0
    for candle, code in enumerate(codes.tolist()):
        ends = {0: (1, -1) if may_short else (1,), 1: (0, -1), -1: (0, 1)}[side]
        if code in ends:
            wanted.append((side, candle))
            side = code if code == 1 or may_short else 0
            if refused[candle]:
                side = 0
    wanted.append((side, count))
    assert [tuple(row) for row in out[:made].tolist()] == wanted[:made]
    assert made in {len(wanted), len(wanted) - 1}
