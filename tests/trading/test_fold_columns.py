"""The numpy fold gives the candles of the plain one, to the bit, over every interval, hole and year end (I3)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.trading.series import MARKET, Item, at, flat_minutes, histories, random_minutes
from trading.candle_columns import columns_of
from trading.candle_files import load_columns
from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.errors import BadInput
from trading.fold import fold
from trading.fold_columns import fold_columns, open_times, touched
from trading.intervals import CANONICAL, MINUTE_MS, parse_interval


@pytest.mark.covers("S1-11", "S1-12")
@settings(max_examples=60, deadline=None)
@given(history=histories())
def test_numpy_folds_as_python_does(history: list[Item]) -> None:
    minutes = [item._replace(origin=None) for item in history if isinstance(item, Candle)]
    holes = [item for item in history if isinstance(item, Hole) and item.reason == HoleReason.MISSING]
    if not minutes:
        return
    columns = columns_of(minutes)
    merged = _merged(holes)
    for interval in CANONICAL:
        folded = fold_columns(columns, interval)
        expected = fold(minutes, interval, start_ms=minutes[0].open_time_ms, end_ms=minutes[-1].close_time_ms)
        extras = columns.quote_volume is not None
        told = [(*c[2:9], c.quote_volume if extras else None) for c in expected]
        assert [(*c[2:9], c.quote_volume) for c in folded.candles()] == told
        known = fold(minutes, interval, holes, start_ms=columns.start_ms, end_ms=columns.end_ms)
        complete = [candle.complete for candle in known]
        assert [not bad for bad in touched(folded, merged)] == complete


def _merged(holes: list[Hole]) -> np.ndarray:
    spans: list[list[int]] = []
    for hole in sorted(holes, key=lambda each: each.from_ms):
        if spans and hole.from_ms <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], hole.to_ms)
        else:
            spans.append([hole.from_ms, hole.to_ms])
    return np.array(spans, np.int64).reshape(-1, 2)


def test_steps_add_up_whatever_lies_between() -> None:
    minutes = columns_of(random_minutes(at("2024-12-29 00:00"), 20_000, extras=False))
    for inner, outer in (("5m", "15m"), ("37m", "148m"), ("1h", "1d"), ("15m", "3d"), ("1d", "1w")):
        twice = fold_columns(fold_columns(minutes, inner), outer)
        assert list(twice.candles()) == list(fold_columns(minutes, outer).candles())
        assert len(twice)


@pytest.mark.parametrize(("inner", "outer"), [("37m", "1h"), ("1w", "1M"), ("1d", "1h"), ("3d", "1w")])
def test_what_does_not_nest_is_refused(inner: str, outer: str) -> None:
    minutes = columns_of(random_minutes(at("2024-12-20 00:00"), 60_000, extras=False))
    with pytest.raises(BadInput, match=f"{inner} candles do not nest in {outer}"):
        fold_columns(fold_columns(minutes, inner), outer)


def test_open_times_are_those_of_the_interval() -> None:
    times = np.array([at("1999-12-31 23:59"), at("2024-02-29 12:00"), at("2025-01-01 00:00"), 0, 7], np.int64)
    for name in CANONICAL:
        width = parse_interval(name)
        assert open_times(times, width).tolist() == [width.open_of(int(t)) for t in times]


def test_a_sum_that_does_not_fit_is_left_out_or_refused() -> None:
    rows = [row._replace(quote_volume=4 * 10**18) for row in flat_minutes(at("2025-01-01 00:00"), [1.0] * 6)]
    folded = fold_columns(columns_of(rows), "3m")
    assert folded.quote_volume is None
    assert folded.volume.tolist() == [3 * UNIT] * 2
    with pytest.raises(BadInput, match="volume"):
        fold_columns(columns_of([row._replace(volume=4 * 10**18) for row in rows]), "3m")


def test_nothing_folds_to_nothing() -> None:
    columns = columns_of(flat_minutes(at("2025-01-01 00:00"), [1.0]))
    assert len(fold_columns(columns, "37m")) == 0
    assert len(fold_columns(columns.slice(end_ms=0), "37m")) == 0


def test_a_year_folds_at_once(shared_data: Path) -> None:
    columns = load_columns(shared_data / "candles_1m" / "bitfinex_BTCUSD_1m_2018.csv.gz", MARKET, interval="1m")
    folded = fold_columns(columns, "37m")
    assert (len(columns), len(folded)) == (520_499, 14_200)
    assert folded.end_ms - columns.end_ms <= 37 * MINUTE_MS
