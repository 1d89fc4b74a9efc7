"""Functions of TA-Lib by name: the values of whole series, every function askable, bad names and numbers told."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from talib import abstract

from tests.trading.features.samples import agree, columns, sample, streamed
from trading.errors import BadInput
from trading.features.contract import FeatureTrack
from trading.features.registry import load_feature
from trading.features.ta_lib import ta_lib

ASKABLE = sorted(set(talib.get_functions()) - {"MAVP"})


@pytest.mark.covers("S1-14")
def test_values_are_those_of_the_whole_series() -> None:
    candles = sample("random")[:600]
    c = columns(candles)
    agree(streamed(ta_lib("ADX", timeperiod=7), candles), talib.ADX(c.high, c.low, c.close, 7))
    agree(streamed(ta_lib("ULTOSC"), candles), talib.ULTOSC(c.high, c.low, c.close))
    agree(streamed(ta_lib("AROON", "aroonup", timeperiod=25), candles), talib.AROON(c.high, c.low, 25)[1])
    agree(streamed(ta_lib("AROON", timeperiod=25), candles), talib.AROON(c.high, c.low, 25)[0])
    agree(streamed(ta_lib("MFI"), candles), talib.MFI(c.high, c.low, c.close, c.volume), atol=1e-9)


@pytest.mark.parametrize("name", ASKABLE)
def test_every_function_of_candles_answers_when_it_is_due(name: str) -> None:
    feature = load_feature(f"talib:{name}", {})
    whole = abstract.Function(name)
    assert feature.need == whole.lookback + 1
    track = FeatureTrack(feature)
    for candle in sample("random")[: feature.need - 1]:
        assert track.update(candle) is None
    value = track.update(sample("random")[feature.need - 1])
    assert (value is None) == (name in ("ACOS", "ASIN")), "prices have no arc cosine"


def test_the_window_moves_on_without_end() -> None:
    candles = sample("random")[:200]
    told = streamed(ta_lib("OBV", window=7), candles)
    c = columns(candles)
    assert list(told[-50:]) == [talib.OBV(c.close[n - 6 : n + 1], c.volume[n - 6 : n + 1])[-1] for n in range(150, 200)]
    assert np.isfinite(told).all()


@pytest.mark.parametrize(
    ("kind", "params", "output", "field", "fix"),
    [
        ("talib:RSII", {}, "", "kind", "Did you mean 'RSI'?"),
        ("talib:MAVP", {}, "", "kind", "Use a function of open, high, low, close and volume."),
        ("talib:RSI", {"period": 3}, "", "period", "Did you mean 'timeperiod'?"),
        ("talib:RSI", {"timeperiod": 1}, "", "timeperiod", "See TA-Lib's description of RSI for what each may be."),
        ("talib:RSI", {"timeperiod": 2.5}, "", "timeperiod", "Use a whole number from -100000 to 100000."),
        ("talib:RSI", {"window": 14}, "", "window", "Use at least 15, or 0 for a window that suits most functions."),
        ("talib:MACD", {}, "macdsignl", "output", "Did you mean 'macdsignal'?"),
        ("talib:RSI", {}, "real", "output", "talib:RSI has a single value: name no output."),
    ],
)
def test_a_bad_name_or_number_is_told(kind: str, params: dict[str, object], output: str, field: str, fix: str) -> None:
    with pytest.raises(BadInput) as told:
        load_feature(kind, params, output)
    assert (told.value.field, told.value.fix) == (field, fix)
