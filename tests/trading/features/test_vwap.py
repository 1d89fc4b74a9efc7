"""The session average against TA-Lib's of each session, its bands against their definition, and when sessions begin."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import talib

from tests.trading.features.samples import agree, columns, real, sample, streamed
from tests.trading.series import at
from trading.candles import Candle
from trading.errors import BadInput
from trading.features.contract import FeatureTrack
from trading.features.registry import load_feature
from trading.features.sessions import session_bounds
from trading.features.vwap import vwap
from trading.intervals import DAY_MS


def _days(candles: tuple[Candle, ...]) -> list[list[Candle]]:
    return [list(group) for _, group in groupby(candles, lambda candle: candle.open_time_ms // DAY_MS)]


@pytest.mark.covers("S4-3")
@pytest.mark.parametrize("kind", ["random", "absent minutes", "real"])
def test_each_session_is_ta_libs_over_its_candles_alone(shared_data: Path, kind: str) -> None:
    candles = real(shared_data)[40:] if kind == "real" else sample(kind)
    first, *days = _days(candles)
    expected = [np.full(len(first), np.nan)]
    for day in days:
        c = columns(day)
        told = talib.VWAP(c.high, c.low, c.close, c.volume)
        expected.append(np.where(np.cumsum(c.volume) > 0, told, np.nan))
    assert len(days) >= 2
    agree(streamed(vwap(), candles), np.concatenate(expected))


def test_bands_are_weighted_deviations(shared_data: Path) -> None:
    candles = real(shared_data)[:96]
    c = columns(candles)
    price = (c.high + c.low + c.close) / 3
    for name, sign in (("upper", 1.5), ("lower", -1.5)):
        told = streamed(vwap(1.5)[name], candles)
        for n in (0, 1, 50, 95):
            mean = np.average(price[: n + 1], weights=c.volume[: n + 1])
            spread = math.sqrt(np.average((price[: n + 1] - mean) ** 2, weights=c.volume[: n + 1]))
            assert told[n] == pytest.approx(mean + sign * spread, rel=1e-9)


def test_a_session_that_was_not_seen_from_its_start_has_no_value() -> None:
    candles = sample("random")
    midnight = next(n for n, candle in enumerate(candles) if candle.open_time_ms % DAY_MS == 0)
    track = FeatureTrack(vwap())
    assert [track.update(candle) for candle in candles[midnight - 20 : midnight]] == [None] * 20
    begun = FeatureTrack(vwap())
    whole = [begun.update(candle) for candle in candles[midnight : midnight + 50]]
    assert [track.update(candle) for candle in candles[midnight : midnight + 50]] == whole
    assert whole[-1] is not None


@pytest.mark.covers("W17")
def test_a_session_longer_than_any_window_keeps_all_its_candles() -> None:
    candles = sample("random")
    midnight = next(n for n, candle in enumerate(candles) if candle.open_time_ms % DAY_MS == 0)
    day = candles[midnight : midnight + 1440]
    c = columns(day)
    last = streamed(vwap(), day)[-1]
    assert last == pytest.approx(np.average((c.high + c.low + c.close) / 3, weights=c.volume), rel=1e-9)


@pytest.mark.parametrize(
    ("session", "zone", "time", "start", "end"),
    [
        ("day", "UTC", "2025-06-02 23:59", "2025-06-02 00:00", "2025-06-03 00:00"),
        ("day", "UTC", "2025-06-03 00:00", "2025-06-03 00:00", "2025-06-04 00:00"),
        ("week", "UTC", "2025-06-01 12:00", "2025-05-26 00:00", "2025-06-02 00:00"),
        ("09:30", "America/New_York", "2025-06-02 13:29", "2025-06-01 13:30", "2025-06-02 13:30"),
        ("09:30", "America/New_York", "2025-01-06 14:30", "2025-01-06 14:30", "2025-01-07 14:30"),
        # The clocks go forward in the night to 9 March and back in the night to 2 November.
        ("day", "America/New_York", "2025-03-09 12:00", "2025-03-09 05:00", "2025-03-10 04:00"),
        ("day", "America/New_York", "2025-11-02 12:00", "2025-11-02 04:00", "2025-11-03 05:00"),
        ("week", "Asia/Tokyo", "2025-06-01 15:00", "2025-06-01 15:00", "2025-06-08 15:00"),
    ],
)
def test_when_sessions_begin_and_end(session: str, zone: str, time: str, start: str, end: str) -> None:
    assert session_bounds(session, zone)(at(time)) == (at(start), at(end))


@pytest.mark.parametrize(
    ("params", "field"),
    [({"session": "noon"}, "session"), ({"session": "24:00"}, "session"), ({"zone": "Mars/Base"}, "zone"),
     ({"zone": "../etc"}, "zone"), ({"zone": 3}, "zone"), ({"width": -1}, "width"), ({"width": "2"}, "width")],
)  # fmt: skip
def test_a_bad_session_is_told(params: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as told:
        load_feature("vwap", params)
    assert told.value.field == field
    assert told.value.fix
