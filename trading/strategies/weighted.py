"""Several opinions weighed: trend, RSI, MACD and Bollinger bands vote from −1 to 1; it acts beyond a threshold.

The sum is that of the votes times their weights, over the sum of the weights. Long above ``threshold``, short below
its negative; between them whatever is held stays. A weight of 0 leaves an opinion out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trading.features.contract import Feature
from trading.features.momentum import macd, rsi
from trading.features.ranges import atr, bollinger
from trading.features.sma import sma
from trading.parameters import Range
from trading.strategies.contract import HOLD, LONG, SHORT

FULL_TREND_DISTANCE = 0.02


class Params(NamedTuple):
    threshold: float = 0.3
    trend_weight: float = 1.0
    rsi_weight: float = 1.0
    macd_weight: float = 1.0
    bollinger_weight: float = 1.0
    trend_period: int = 44
    rsi_period: int = 14


RANGES = {
    "threshold": Range(0.0, 1.0),
    "trend_weight": Range(0.0, 100.0),
    "rsi_weight": Range(0.0, 100.0),
    "macd_weight": Range(0.0, 100.0),
    "bollinger_weight": Range(0.0, 100.0),
    "trend_period": Range(2, 10_000),
    "rsi_period": Range(2, 1_000),
}


class Row(NamedTuple):
    close: float
    average: float
    rsi: float
    histogram: float
    atr: float
    lower: float
    upper: float


def features(p: Params) -> Mapping[str, Feature]:
    bands = bollinger(20, 2.0)
    return {
        "average": sma(p.trend_period),
        "rsi": rsi(p.rsi_period),
        "histogram": macd(12, 26, 9)["histogram"],
        "atr": atr(14),
        "lower": bands["lower"],
        "upper": bands["upper"],
    }


def warmup(p: Params) -> int:
    return max(p.trend_period, p.rsi_period + 1, 34)


def signed(value: float) -> float:
    """``value`` within −1 and 1."""
    return max(-1.0, min(1.0, value))


def votes(now: Row, p: Params) -> tuple[float, float, float, float]:
    """Trend follows the distance from its average, MACD its histogram in ATRs; RSI and bands go against extremes."""
    trend = signed((now.close - now.average) / (FULL_TREND_DISTANCE * now.average))
    oversold = signed((50.0 - now.rsi) / 50.0)
    momentum = signed(now.histogram / now.atr) if now.atr > 0.0 else 0.0
    half = (now.upper - now.lower) / 2.0
    stretched = signed(((now.upper + now.lower) / 2.0 - now.close) / half) if half > 0.0 else 0.0
    return trend, oversold, momentum, stretched


def balance(now: Row, p: Params) -> float:
    """The weighted mean of the votes, −1 to 1; 0 when no opinion has a weight."""
    whole = p.trend_weight + p.rsi_weight + p.macd_weight + p.bollinger_weight
    if whole <= 0.0:
        return 0.0
    trend, oversold, momentum, stretched = votes(now, p)
    total = trend * p.trend_weight + oversold * p.rsi_weight
    total = total + momentum * p.macd_weight + stretched * p.bollinger_weight
    return total / whole


def rule(now: Row, prev: Row, p: Params) -> int:
    found = balance(now, p)
    if found > p.threshold:
        return LONG
    if found < -p.threshold:
        return SHORT
    return HOLD


def confidence(now: Row, p: Params) -> float:
    return min(1.0, abs(balance(now, p)))


def reasons(now: Row, p: Params) -> tuple[str, ...]:
    trend, oversold, momentum, stretched = votes(now, p)
    return (
        f"trend {trend:+.2f}, rsi {oversold:+.2f}, macd {momentum:+.2f}, bands {stretched:+.2f}",
        f"together {balance(now, p):+.2f} against {p.threshold:g}",
    )
