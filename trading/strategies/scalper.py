"""Five factors that must agree: the EMA cross, session VWAP, RSI within bounds, a volume spike and the longer trend.

Long where the fast EMA has just crossed above the slow one, the close is above the session's VWAP, RSI is within its
bounds, the volume is a spike and the close is above the EMA of the longer trend; short where all is mirrored. Stop and
profit are distances in ATR. The longer trend is the EMA of candles ``trend_multiple`` times as long (5m ones for 1m; 12
gives 1h ones for 5m), as of the newest that has closed. Without ``require_htf`` (0) it need not agree: four of five are
enough then, and confidence says n/5 either way.

A signal is a duplicate, and not given again, while the newest one of the same side is less than
``duplicate_candles`` ago and its price less than ``duplicate_pct`` away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.averages import ema
from trading.features.contract import Feature
from trading.features.momentum import rsi
from trading.features.ranges import atr
from trading.features.volume import volume_spike
from trading.features.vwap import vwap
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT

FACTORS = 5
UNKNOWN = 2


class Params(NamedTuple):
    ema_fast: int = 9
    ema_slow: int = 21
    ema_trend: int = 50
    trend_multiple: int = 5
    atr_period: int = 14
    rsi_period: int = 6
    rsi_min: float = 30.0
    rsi_max: float = 70.0
    volume_ma_period: int = 20
    volume_spike_threshold: float = 1.5
    stop_loss_atr_multiplier: float = 1.5
    take_profit_atr_multiplier: float = 1.0
    require_htf: int = 1
    duplicate_candles: int = 5
    duplicate_pct: float = 0.3


RANGES = {
    "ema_fast": Range(1, 1_000),
    "ema_slow": Range(2, 1_000),
    "ema_trend": Range(2, 500),
    "trend_multiple": Range(1, 60),
    "atr_period": Range(2, 1_000),
    "rsi_period": Range(2, 1_000),
    "rsi_min": Range(0.0, 100.0),
    "rsi_max": Range(0.0, 100.0),
    "volume_ma_period": Range(2, 1_000),
    "volume_spike_threshold": Range(0.0, 100.0),
    "stop_loss_atr_multiplier": Range(0.1, 100.0),
    "take_profit_atr_multiplier": Range(0.1, 100.0),
    "require_htf": Range(0, 1),
    "duplicate_candles": Range(0, 10_000),
    "duplicate_pct": Range(0.0, 100.0),
}


class Row(NamedTuple):
    close: float
    fast: float
    slow: float
    vwap: float
    rsi: float
    spike: float
    trend: float
    atr: float


class State(NamedTuple):
    """``before`` is −1 while the fast EMA was below the slow one at the last candle, 1 above, 2 not known; ``side``,
    ``price`` and ``age`` are those of the newest signal, 0 for none.
    """

    target: int = HOLD
    before: int = UNKNOWN
    side: int = 0
    price: float = 0.0
    age: int = 0


def features(p: Params) -> Mapping[str, Feature]:
    return {
        "fast": ema(p.ema_fast),
        "slow": ema(p.ema_slow),
        "vwap": vwap(),
        "rsi": rsi(p.rsi_period),
        "spike": volume_spike(p.volume_ma_period),
        "trend": ema(p.ema_trend).on_multiple(p.trend_multiple),
        "atr": atr(p.atr_period),
    }


def warmup(p: Params) -> int:
    return max(p.ema_slow, p.volume_ma_period)


def sign(value: float) -> int:
    return 1 if value > 0.0 else -1 if value < 0.0 else 0


def agreeing(now: Row, p: Params, side: int) -> int:
    """How many of the factors beside the cross are on ``side``."""
    found = 0
    found += 1 if sign(now.close - now.vwap) == side else 0
    found += 1 if p.rsi_min <= now.rsi <= p.rsi_max else 0
    found += 1 if now.spike > p.volume_spike_threshold else 0
    found += 1 if sign(now.close - now.trend) == side else 0
    return found


def step(state: State, now: Row, p: Params) -> State:
    here = sign(now.fast - now.slow)
    age = state.age + 1 if state.side else 0
    side = 0
    # The cross is between the last two candles: what was equal counts as the other side.
    if here and state.before not in (UNKNOWN, here):
        trend_agrees = sign(now.close - now.trend) == here
        others = agreeing(now, p, here) - (1 if trend_agrees else 0)
        if others == FACTORS - 2 and (trend_agrees or not p.require_htf) and now.atr > 0.0:
            side = here
    if not side:
        return State(HOLD, here, state.side, state.price, age)
    moved = abs(now.close - state.price) * 100.0 / state.price if state.side else 0.0
    if side == state.side and age < p.duplicate_candles and moved < p.duplicate_pct:
        return State(HOLD, here, state.side, state.price, age)
    return State(LONG if side > 0 else SHORT, here, side, now.close, 0)


def side_of(now: Row) -> int:
    return sign(now.fast - now.slow)


def confidence(now: Row, p: Params) -> float:
    """The factors that agree, of five; the cross is one."""
    return (1 + agreeing(now, p, side_of(now))) / FACTORS


def bracket(now: Row, p: Params) -> tuple[float | None, float | None]:
    return now.atr * p.stop_loss_atr_multiplier, now.atr * p.take_profit_atr_multiplier


def tag(now: Row, p: Params) -> str:
    return "scalp"


def reasons(now: Row, p: Params) -> tuple[str, ...]:
    side = side_of(now)
    return (
        f"{1 + agreeing(now, p, side)}/{FACTORS} for {'LONG' if side > 0 else 'SHORT'}",
        f"EMA {now.fast:g} crossed {now.slow:g}, VWAP {now.vwap:g}, RSI {now.rsi:.1f}, volume x{now.spike:.2f}",
        f"longer trend {now.trend:g}, ATR {now.atr:g}",
    )
