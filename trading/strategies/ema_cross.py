"""Two exponential averages: long when the fast one crosses above the slow one, short when it crosses below.

Between two crosses whatever is held stays, so a position that an exit has closed is not opened again before the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.errors import BadInput
from trading.features.averages import ema
from trading.features.contract import Feature
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT


class Params(NamedTuple):
    fast: int = 9
    slow: int = 21


RANGES = {"fast": Range(1, 10_000), "slow": Range(2, 10_000)}


class Row(NamedTuple):
    close: float
    fast: float
    slow: float


def features(p: Params) -> Mapping[str, Feature]:
    if p.fast >= p.slow:
        raise BadInput(
            f"fast is {p.fast}, slow is {p.slow}.", field="fast", value=p.fast, fix="Make fast less than slow."
        )
    return {"fast": ema(p.fast), "slow": ema(p.slow)}


def warmup(p: Params) -> int:
    # The cross is seen from one candle to the next.
    return max(p.fast, p.slow) + 1


def rule(now: Row, prev: Row, p: Params) -> int:
    if now.fast > now.slow and prev.fast <= prev.slow:
        return LONG
    if now.fast < now.slow and prev.fast >= prev.slow:
        return SHORT
    return HOLD
