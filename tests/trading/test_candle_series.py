"""A series of candles is the list that it was made of, whatever its columns hold."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.series import LENDERS, MARKET, at, random_minutes
from trading.candle_columns import columns_of
from trading.candle_series import CandleSeries, by_market
from trading.candles import Candle, Source
from trading.errors import BadInput
from trading.intervals import MINUTE_MS

START = at("2025-06-02 23:30")
NUMBER = st.none() | st.integers(0, 2**62) | st.integers(2**63, 2**70)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "quote_volume": NUMBER,
        "trade_count": st.none() | st.integers(0, 2**40),
        "taker_buy_volume": NUMBER,
        "source": st.sampled_from(Source),
        "revision": st.integers(0, 3),
        "complete": st.booleans(),
        "received_ns": st.integers(0, 2**62),
        "origin": st.none() | st.sampled_from(LENDERS),
    },
)


@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(CHANGES, max_size=9),
    first=st.none() | st.integers(-10, 10),
    last=st.none() | st.integers(-10, 10),
)
def test_a_series_is_the_list_it_was_made_of(changes, first: int | None, last: int | None) -> None:
    candles = [
        candle._replace(**change) for candle, change in zip(random_minutes(START, len(changes)), changes, strict=True)
    ]
    series = CandleSeries.of(candles)
    assert CandleSeries.of(series) is series
    assert list(series) == [series[place] for place in range(len(series))] == candles
    assert all(repr(own) == repr(theirs) for own, theirs in zip(series, candles, strict=True))
    assert [series[-place - 1] for place in range(len(series))] == candles[::-1]
    assert series == candles
    assert list(series[first:last]) == candles[first:last]
    assert list(pickle.loads(pickle.dumps(series))) == candles
    assert series.is_lent.tolist() == [candle.origin is not None for candle in candles]
    assert series.is_complete.tolist() == [candle.complete for candle in candles]
    for name in ("quote_volume", "trade_count", "taker_buy_volume"):
        told = [getattr(candle, name) for candle in candles]
        known = [value is not None and value < 2**63 for value in told]
        found = series.known(name)
        if found is None:
            assert {*told} <= {None}
        else:
            assert found[0].tolist() == [value if kept else 0 for value, kept in zip(told, known, strict=True)]
            assert (~found[1]).tolist() == known


def test_it_is_cut_by_the_times_at_which_candles_close() -> None:
    candles = [*random_minutes(START, 5), *random_minutes(START + 20 * MINUTE_MS, 5)]
    series = CandleSeries.of(candles)
    for after in (-1, 0, 1, 5, 6, 21, 40):
        for upto in (0, 4, 20, 22, 50):
            after_ms, upto_ms = START + after * MINUTE_MS, START + upto * MINUTE_MS
            expected = [candle for candle in candles if after_ms < candle.close_time_ms <= upto_ms]
            assert list(series.closing(after_ms, upto_ms)) == expected


def test_beyond_its_end_there_is_nothing() -> None:
    series = CandleSeries.of(random_minutes(START, 3))
    for place in (3, -4):
        with pytest.raises(IndexError):
            series[place]
    assert series != random_minutes(START, 2)
    assert (series == 3) is False


def test_columns_of_a_file_become_the_same_candles() -> None:
    columns = columns_of(random_minutes(START, 50, extras=True))
    assert list(CandleSeries.from_columns(columns, Source.IMPORT.value)) == columns.candles()


def test_candles_of_several_markets_are_told_apart_and_refused_as_one_series() -> None:
    own = random_minutes(START, 3)
    other = [candle._replace(market="binance:ETHUSDT") for candle in own]
    mixed = [candle for pair in zip(other, own, strict=True) for candle in pair]
    expected = {"binance:ETHUSDT": other, MARKET: own}
    assert by_market(mixed) == expected
    assert by_market([CandleSeries.of(other), CandleSeries.of(own)]) == expected
    assert by_market(own) == by_market(CandleSeries.of(own)) == {MARKET: own}
    assert by_market([]) == by_market(CandleSeries.of(list[Candle]())) == {}
    with pytest.raises(BadInput, match="several series: binance:BTCUSDT 1m, binance:ETHUSDT 1m"):
        CandleSeries.of(mixed)
