"""Every feature against TA-Lib, or against its definition over arrays, over whole series of every kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import talib

from tests.trading.features.samples import KINDS, Columns, Floats, agree, columns, real, sample, streamed
from trading.candles import Candle
from trading.features.averages import ema, rma
from trading.features.contract import Feature
from trading.features.extremes import highest, lowest
from trading.features.momentum import macd, rsi
from trading.features.ranges import atr, bollinger, returns, trange, volatility
from trading.features.stochastic import stochastic
from trading.features.trend import adx
from trading.features.volume import obv, volume_mean, volume_spike

Oracle = Callable[[Columns], Floats]


def _windows(values: Floats, size: int) -> Floats:
    """One window a row; rows before the first whole one are NaN."""
    whole = np.lib.stride_tricks.sliding_window_view(values, size)
    return np.vstack([np.full((size - 1, size), np.nan), whole])


def _returns(c: Columns, period: int) -> Floats:
    return np.concatenate([np.full(period, np.nan), c.close[period:] / c.close[:-period] - 1])


def _volatility(c: Columns, period: int) -> Floats:
    return np.asarray(np.concatenate([[np.nan], _windows(_returns(c, 1)[1:], period).std(axis=1, ddof=1)]))


def _percent(c: Columns) -> Floats:
    upper, _, lower = talib.BBANDS(c.close, 20, 2.0, 2.0)
    spread = _windows(c.close, 20).std(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (c.close - (talib.SMA(c.close, 20) - 2 * spread)) / (4 * spread)
    return np.where(np.isnan(upper + lower), np.nan, np.where(spread < 1e-9, 0.5, between))


def _width(c: Columns) -> Floats:
    return np.asarray(4 * _windows(c.close, 20).std(axis=1) / _windows(c.close, 20).mean(axis=1))


def _obv(c: Columns, period: int) -> Floats:
    total = talib.OBV(c.close, c.volume)
    return np.concatenate([np.full(period, np.nan), total[period:] - total[:-period]])


def _spike(c: Columns, period: int) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(c.volume / talib.SMA(c.volume, period))


def _late(values: Floats, first: int) -> Floats:
    """The values from ``first`` on: ours begin when all outputs of a feature do."""
    return np.where(np.arange(len(values)) < first, np.nan, values)


CASES: list[tuple[str, Feature, Oracle]] = [
    ("ema 2", ema(2), lambda c: talib.EMA(c.close, 2)),
    ("ema 21", ema(21), lambda c: talib.EMA(c.close, 21)),
    ("ema 200", ema(200), lambda c: talib.EMA(c.close, 200)),
    ("rma 14", rma(14), lambda c: talib.RMA(c.close, 14)),
    ("rsi 14", rsi(14), lambda c: talib.RSI(c.close, 14)),
    ("rsi 6", rsi(6), lambda c: talib.RSI(c.close, 6)),
    ("macd line", macd(12, 26, 9), lambda c: talib.MACD(c.close, 12, 26, 9)[0]),
    ("macd signal", macd(12, 26, 9)["signal"], lambda c: talib.MACD(c.close, 12, 26, 9)[1]),
    ("macd histogram", macd(12, 26, 9)["histogram"], lambda c: talib.MACD(c.close, 12, 26, 9)[2]),
    ("macd signal 5 35 5", macd(5, 35, 5)["signal"], lambda c: talib.MACD(c.close, 5, 35, 5)[1]),
    ("trange", trange(), lambda c: talib.TRANGE(c.high, c.low, c.close)),
    ("atr 14", atr(14), lambda c: talib.ATR(c.high, c.low, c.close, 14)),
    ("bollinger middle", bollinger(20, 2.0), lambda c: talib.BBANDS(c.close, 20, 2.0, 2.0)[1]),
    ("bollinger upper", bollinger(20, 2.0)["upper"], lambda c: talib.BBANDS(c.close, 20, 2.0, 2.0)[0]),
    ("bollinger lower", bollinger(20, 2.5)["lower"], lambda c: talib.BBANDS(c.close, 20, 2.5, 2.5)[2]),
    ("bollinger width", bollinger(20, 2.0)["width"], _width),
    ("bollinger percent", bollinger(20, 2.0)["percent"], _percent),
    ("returns 1", returns(1), lambda c: talib.ROCP(c.close, 1)),
    ("returns 10", returns(10), lambda c: _returns(c, 10)),
    ("volatility 20", volatility(20), lambda c: _volatility(c, 20)),
    ("volume mean 20", volume_mean(20), lambda c: talib.SMA(c.volume, 20)),
    ("volume spike 20", volume_spike(20), lambda c: _spike(c, 20)),
    ("obv 30", obv(30), lambda c: _obv(c, 30)),
    ("stochastic k", stochastic(5, 3, 3), lambda c: talib.STOCH(c.high, c.low, c.close, 5, 3, 0, 3, 0)[0]),
    ("stochastic d", stochastic(14, 1, 4)["d"], lambda c: talib.STOCH(c.high, c.low, c.close, 14, 1, 0, 4, 0)[1]),
    ("adx 14", adx(14), lambda c: talib.ADX(c.high, c.low, c.close, 14)),
    ("adx 5", adx(5), lambda c: talib.ADX(c.high, c.low, c.close, 5)),
    ("plus di 14", adx(14)["plus_di"], lambda c: _late(talib.PLUS_DI(c.high, c.low, c.close, 14), 27)),
    ("minus di 14", adx(14)["minus_di"], lambda c: _late(talib.MINUS_DI(c.high, c.low, c.close, 14), 27)),
    ("highest 1", highest(1), lambda c: c.high),
    ("highest 20", highest(20), lambda c: talib.MAX(c.high, 20)),
    ("lowest 20", lowest(20), lambda c: talib.MIN(c.low, 20)),
    ("lowest 97", lowest(97), lambda c: talib.MIN(c.low, 97)),
]


def _rounding(feature: Feature, c: Columns) -> float:
    """Where the value is a difference of prices, what rounding leaves of it is measured against the price."""
    if feature.kind in ("macd", "atr"):
        return 1e-14 * float(c.close.max())
    if feature.output == "percent":
        return 1e-10
    if feature.kind in ("stochastic", "adx"):
        return 1e-10
    return 1e-14 if feature.kind in ("rsi", "returns") or feature.output == "width" else 0.0


def _series(kind: str, shared_data: Path) -> tuple[Candle, ...]:
    return real(shared_data) if kind == "real" else sample(kind)


@pytest.mark.covers("S1-14")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("feature", "oracle"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_a_whole_series_agrees(shared_data: Path, kind: str, feature: Feature, oracle: Oracle) -> None:
    candles = _series(kind, shared_data)
    c = columns(candles)
    agree(streamed(feature, candles), oracle(c), atol=_rounding(feature, c))


def test_the_series_are_what_they_are_called(shared_data: Path) -> None:
    assert all(len(_series(kind, shared_data)) > 300 for kind in KINDS)
    assert len({candle.close for candle in sample("flat")}) == 1
    assert any(older.close_time_ms < newer.open_time_ms for older, newer in pairwise(sample("absent minutes")))
    assert sample("trending")[-1].close > 2 * sample("trending")[0].close
    pieces = sample("flat pieces")
    assert len({candle.close for candle in pieces[160:290]}) == 1 < len({candle.close for candle in pieces[300:440]})
