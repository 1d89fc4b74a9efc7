"""Oscillators of the close: RSI with Wilder's averages, and MACD. Both follow TA-Lib from the first value on."""

from __future__ import annotations

from typing import Any, NamedTuple

from trading.candles import UNIT
from trading.errors import BadInput
from trading.features.averages import SAME, WILDER
from trading.features.contract import Feature, FeatureDef
from trading.parameters import Range

__all__ = ["MACD", "RSI", "macd", "rsi"]

# Below this sum of the average gain and loss a series counts as flat, as in TA-Lib.
NOTHING = 1e-14


class RsiParams(NamedTuple):
    period: int


class RsiState(NamedTuple):
    """``gain`` and ``loss`` are sums of the first ``seen`` − 1 differences, and averages from then on."""

    seen: int
    price: float
    gain: float
    loss: float


def rsi_step(state: RsiState, candle: Any, _beside: object, k: RsiParams) -> tuple[RsiState, float]:
    """Return the index, 0 … 100; a flat series has 0, as in TA-Lib."""
    seen, before, gain, loss = state
    price = candle.close / UNIT
    if seen == 0:
        return RsiState(1, price, 0.0, 0.0), 0.0
    change = price - before
    up = change if change > 0.0 else 0.0
    down = -change if change < 0.0 else 0.0
    if seen <= k.period:
        gain, loss = gain + up, loss + down
        if seen == k.period:
            gain, loss = gain / k.period, loss / k.period
        seen += 1
    else:
        gain = (gain * (k.period - 1) + up) / k.period
        loss = (loss * (k.period - 1) + down) / k.period
        # What a long flat stretch leaves of earlier moves must not depend on how early they were.
        if gain + loss < NOTHING * min(1.0, price):
            gain = loss = 0.0
    total = gain + loss
    return RsiState(seen, price, gain, loss), 100.0 * (gain / total) if total >= NOTHING else 0.0


RSI = FeatureDef(
    kind="rsi",
    params=RsiParams,
    ranges={"period": Range(2, 10_000)},
    start=RsiState(0, 0.0, 0.0, 0.0),
    step=rsi_step,
    need=lambda k: k.period + 1,
    history=lambda k: WILDER * k.period + 1,
)


def rsi(period: int) -> Feature:
    """Wilder's relative strength index of the close, 0 … 100."""
    return RSI.bind({"period": period})


class MacdParams(NamedTuple):
    fast: int = 12
    slow: int = 26
    signal: int = 9


class MacdState(NamedTuple):
    """``seen`` candles; sums of the closes (at 10**-8) and of the lines that seed the averages."""

    seen: int
    fast_total: int
    slow_total: int
    line_total: float
    fast: float
    slow: float
    signal: float


def macd_step(state: MacdState, candle: Any, _beside: object, k: MacdParams) -> tuple[MacdState, tuple[float, ...]]:
    """Return line, signal and histogram. Both averages are seeded at the same candle, the slow one's first."""
    seen, fast_total, slow_total, line_total, fast, slow, signal = state
    close = candle.close
    price = close / UNIT
    seen += 1
    if seen <= k.slow:
        slow_total += close
        if seen > k.slow - k.fast:
            fast_total += close
        fast, slow = fast_total / (k.fast * UNIT), slow_total / (k.slow * UNIT)
    else:
        fast = (price - fast) * (2.0 / (k.fast + 1)) + fast
        slow = (price - slow) * (2.0 / (k.slow + 1)) + slow
        if abs(price - fast) <= SAME * (k.fast + 1) * price:
            fast = price
        if abs(price - slow) <= SAME * (k.slow + 1) * price:
            slow = price
    line = fast - slow
    if k.slow <= seen < k.slow + k.signal:
        line_total += line
        signal = line_total / (seen - k.slow + 1)
    elif seen >= k.slow + k.signal:
        signal = (line - signal) * (2.0 / (k.signal + 1)) + signal
        if abs(line - signal) <= SAME * (k.signal + 1) * abs(line):
            signal = line
        elif line == 0.0 and abs(signal) < 1e-15 * price:
            # What a long flat stretch leaves of earlier lines must not depend on how early they were.
            signal = 0.0
    # Only "enough" matters from here on, and a small number stays exact when compiled.
    seen = min(seen, k.slow + k.signal)
    return MacdState(seen, fast_total, slow_total, line_total, fast, slow, signal), (line, signal, line - signal)


def _in_order(k: MacdParams) -> None:
    if k.fast >= k.slow:
        raise BadInput(
            f"macd: fast is {k.fast}, slow is {k.slow}.", field="fast", value=k.fast, fix="Make fast less than slow."
        )


MACD = FeatureDef(
    kind="macd",
    params=MacdParams,
    ranges={"fast": Range(2, 10_000), "slow": Range(2, 10_000), "signal": Range(1, 10_000)},
    start=MacdState(0, 0, 0, 0.0, 0.0, 0.0, 0.0),
    step=macd_step,
    need=lambda k: k.slow + k.signal - 1,
    # While a price stands still the signal forgets nothing until so little is left of it that it is nothing.
    history=lambda k: 20 * k.slow + 40 * k.signal,
    outputs=("line", "signal", "histogram"),
    check=_in_order,
)


def macd(fast: int = 12, slow: int = 26, signal: int = 9) -> Feature:
    """Moving average convergence divergence: outputs line, signal and histogram."""
    return MACD.bind({"fast": fast, "slow": slow, "signal": signal})
