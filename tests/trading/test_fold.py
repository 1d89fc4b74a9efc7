"""The batch fold against hand-made candles and against the real minutes of venues."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trading.series import MARKET, at, flat_minutes, hole, random_minutes, told
from trading.candle_files import load_candles
from trading.candles import UNIT, Candle, HoleReason
from trading.fold import fold
from trading.intervals import CANONICAL, HOUR_MS, MINUTE_MS
from trading.timeframe import TimeframeState

NOON = at("2025-06-02 12:00")


def test_a_candle_is_first_highest_lowest_last_and_sum() -> None:
    minutes = flat_minutes(NOON, [3, 9, 1, 4, 5, 6])
    first, second = fold(minutes, "3m")
    assert first[:9] == (MARKET, "3m", NOON, NOON + 3 * MINUTE_MS, 3 * UNIT, 9 * UNIT, 1 * UNIT, 1 * UNIT, 3 * UNIT)
    assert second.close == 6 * UNIT
    assert first.complete
    assert first.source == "derived"


def test_only_candles_that_began_and_closed_within_the_history_are_given() -> None:
    minutes = flat_minutes(NOON + MINUTE_MS, [1.0] * 10)
    assert [c.open_time_ms for c in fold(minutes, "3m")] == [NOON + n * 3 * MINUTE_MS for n in (1, 2)]
    assert len(fold(minutes, "3m", start_ms=NOON, end_ms=NOON + HOUR_MS)) == 4
    assert fold([], "3m") == []


def test_missing_minutes_make_incomplete_and_absent_ones_do_not() -> None:
    minutes = flat_minutes(NOON, [1.0] * 12)
    holes = [hole(NOON + 4 * MINUTE_MS, 1, HoleReason.MISSING), hole(NOON + 7 * MINUTE_MS, 1, HoleReason.ABSENT)]
    present = [m for n, m in enumerate(minutes) if n not in {4, 7}]
    assert [c.complete for c in fold(present, "3m", holes)] == [True, False, True, True]


@pytest.mark.covers("S1-11", "S1-12", "S1-13a")
@pytest.mark.parametrize(
    "name",
    ["binance_spot_BTCUSDT_1m_20250520-20250818", "bitfinex_BTCUSD_1m_2018", "binance_usdm_AVAXUSDT_1m_12col_202402"],
)
def test_live_and_batch_agree_on_real_minutes(shared_data: Path, name: str) -> None:
    minutes = load_candles(shared_data / "candles_1m" / f"{name}.csv.gz", MARKET, interval="1m")[:70_000]
    state = TimeframeState(MARKET, CANONICAL, heal_wait_minutes=10)
    live: dict[str, list[Candle]] = {interval: [] for interval in CANONICAL}
    for item in told(minutes):
        for out in state.handle(item):
            assert isinstance(out, Candle)
            live[out.interval].append(out._replace(received_ns=0))
    for interval in CANONICAL[1:]:
        assert live[interval] == fold(minutes, interval), interval
        assert live[interval]


@pytest.mark.parametrize(("interval", "folder"), [("1h", "candles_1h"), ("4h", "candles_4h"), ("1d", "candles_1d")])
def test_folded_minutes_equal_the_venues_own_candles(shared_data: Path, interval: str, folder: str) -> None:
    files = sorted((shared_data / folder).glob("binance_spot_BTCUSDT_*to2025*.csv.gz"))
    if not files:
        pytest.skip(f"no venue candles in {folder}")
    start_ms, end_ms = at("2025-05-20 00:00"), at("2025-06-20 00:00")
    path = shared_data / "candles_1m" / "binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"
    minutes = load_candles(path, MARKET, interval="1m", start_ms=start_ms, end_ms=end_ms)
    native = load_candles(files[0], MARKET, interval=interval, start_ms=start_ms, end_ms=end_ms)
    mine = fold(minutes, interval)
    assert len(mine) > 25
    assert [c[2:8] for c in mine] == [c[2:8] for c in native]
    for own, theirs in zip(mine, native, strict=True):
        assert own.volume == pytest.approx(theirs.volume, rel=1e-12)


def test_more_history_before_or_after_changes_no_candle() -> None:
    minutes = random_minutes(NOON, 6000)
    for interval in ("3m", "37m", "148m", "1d"):
        whole = fold(minutes, interval)
        later, earlier = fold(minutes[1000:], interval), fold(minutes[:-1000], interval)
        assert later == whole[len(whole) - len(later) :]
        assert earlier == whole[: len(earlier)]
        assert later
        assert earlier
