"""Backtests over files of longer candles."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.coarse import as_minutes, check_foldable
from backtest.run import BacktestRequest, Source, load_file, run_backtest
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.errors import BadInput
from trading.fold import fold
from trading.intervals import HOUR_MS, parse_interval
from trading.seed_files import append_seed_file
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET


@pytest.fixture(scope="module")
def minutes() -> list[Candle]:
    return load_candles(SAMPLE_FILE, SAMPLE_MARKET)


@pytest.fixture(scope="module")
def hours(minutes: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's hours in a file of the first downloader's kind."""
    return append_seed_file(tmp_path_factory.mktemp("data"), "BTC_USDT", "60M", fold(minutes, "1h")).path


def ran(source: Source, intervals: tuple[str, ...], profile: str) -> tuple[list[tuple[object, ...]], dict[str, object]]:
    request = BacktestRequest(strategy="ma44", market=SAMPLE_MARKET, intervals=intervals, profile=profile)
    result, summary, _ = run_backtest(request, [source], "book")
    return [
        tuple(getattr(fill, name) for name in ("time_ms", "side", "price")) for fill in result.records.fills
    ], summary


def test_two_minutes_fold_back_into_their_candle(minutes: list[Candle]) -> None:
    for interval in ("5m", "1h", "1d"):
        candles = fold(minutes, interval)
        assert fold(as_minutes(candles), interval) == candles


def test_nothing_of_a_candle_but_its_opening_is_known_before_its_end(minutes: list[Candle]) -> None:
    for candle in fold(minutes, "1h"):
        opening, rest = as_minutes([candle])
        assert (opening.open_time_ms, opening.close_time_ms) == (candle.open_time_ms, candle.open_time_ms + 60_000)
        assert {opening.open, opening.high, opening.low, opening.close} == {candle.open}
        assert opening.volume == 0
        assert (rest.open_time_ms, rest.close_time_ms) == (candle.close_time_ms - 60_000, candle.close_time_ms)


@pytest.mark.covers("S0-24")
@pytest.mark.parametrize("profile", ["spot", "perp"])
def test_hours_give_the_trades_of_their_minutes(minutes: list[Candle], hours: Path, profile: str) -> None:
    intervals = ("1h", "4h")
    request = BacktestRequest(strategy="ma44", market=SAMPLE_MARKET, intervals=intervals)
    source = load_file(hours, SAMPLE_MARKET, request)
    fine = Source(minutes, [], source.market, known_market=False)
    (coarse_fills, coarse), (fine_fills, whole) = (ran(each, intervals, profile) for each in (source, fine))
    assert len(fine_fills) > 20
    assert coarse_fills == fine_fills
    assert coarse["total_return"] == pytest.approx(whole["total_return"], rel=1e-12)
    assert coarse["candles"] == 31 * 24
    assert coarse["absent_minutes"] == 0
    assert any("1h candles" in line for line in coarse["assumptions"])  # type: ignore[attr-defined]


def test_an_absent_hour_is_counted_as_its_minutes(minutes: list[Candle], tmp_path: Path) -> None:
    bars = [bar for bar in fold(minutes, "1h") if bar.open_time_ms // HOUR_MS % 24 != 5]
    path = append_seed_file(tmp_path, "BTC_USDT", "1h", bars).path
    source = load_file(path, SAMPLE_MARKET, BacktestRequest(strategy="ma44", market=SAMPLE_MARKET, intervals=("1h",)))
    assert ran(source, ("1h",), "spot")[1]["absent_minutes"] == 31 * 60


@pytest.mark.parametrize(
    ("width", "fits", "does_not"),
    [
        ("1h", ("1h", "4h", "1d", "1w", "1M"), ("1m", "37m", "148m")),
        ("4h", ("4h", "8h", "12h", "1d", "3d", "1w"), ("1h", "2h")),
        ("1d", ("1d", "3d", "1w", "1M"), ("12h",)),
        ("3d", ("3d",), ("1w", "1M", "1d")),
        ("1w", ("1w",), ("1d", "1M", "14d")),
        ("1M", ("1M",), ("1d",)),
    ],
)
def test_only_what_adds_up_can_be_folded(width: str, fits: tuple[str, ...], does_not: tuple[str, ...]) -> None:
    check_foldable(fits, parse_interval(width))
    for name in does_not:
        with pytest.raises(BadInput, match="do not add up") as caught:
            check_foldable([name], parse_interval(width))
        assert caught.value.field == "intervals"
