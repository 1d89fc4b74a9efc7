"""When candle files are brought up to date."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.candles import UNIT, Candle
from trading.download_schedule import DownloadSchedule, next_due_ms
from trading.intervals import MINUTE_MS, parse_interval
from trading.seed_files import append_seed_file, read_seed_rows

HOUR, FOUR_HOURS, DAY = (parse_interval(name) for name in ("60M", "4H", "1D"))


def at(text: str) -> int:
    """Epoch ms of a UTC time of 2026-03-14, or of the day after when it begins with +."""
    day = datetime(2026, 3, 15 if text.startswith("+") else 14, tzinfo=UTC)
    hours, minutes = (int(part) for part in text.removeprefix("+").split(":"))
    return int((day + timedelta(hours=hours, minutes=minutes)).timestamp() * 1000)


@pytest.mark.covers("S0-3", "S0-11", "S0-23")
@pytest.mark.parametrize(
    ("interval", "times"),
    [
        ("60M", [f"{hour:02}:01" for hour in range(24)]),
        ("4H", ["00:05", "04:05", "08:05", "12:05", "16:05", "20:05"]),
        ("1D", ["00:10"]),
    ],
)
def test_the_times_of_a_day_are_the_first_downloaders(interval: str, times: list[str]) -> None:
    found, now_ms = [], at("00:00") - 1
    while (now_ms := next_due_ms(parse_interval(interval), now_ms)) < at("+0:00"):
        found.append(now_ms)
    assert found == [at(text) for text in times]


@given(after_ms=st.integers(0, 4_000_000_000_000), name=st.sampled_from(["1M", "5m", "60M", "4H", "8h", "1D", "1w"]))
def test_a_due_time_is_later_than_asked_and_no_candle_closes_unseen(after_ms: int, name: str) -> None:
    interval = parse_interval(name)
    due_ms = next_due_ms(interval, after_ms)
    assert due_ms > after_ms
    # One due time for each close: the next one is that of the next close.
    closes = interval.open_of(due_ms)
    again = next_due_ms(interval, due_ms)
    assert interval.open_of(again) == interval.close_of(closes)
    assert due_ms - after_ms <= interval.typical_ms


def test_at_the_start_all_is_due_at_once_and_then_each_in_its_turn() -> None:
    schedule = DownloadSchedule(("60M", "4H", "daily"))
    assert schedule.due(at("10:30")) == (HOUR, FOUR_HOURS, DAY)
    for interval in schedule.due(at("10:30")):
        schedule.done(interval, at("10:30"))
    assert schedule.due(at("11:00")) == ()
    assert schedule.next_ms(at("10:31")) == at("11:01")
    assert schedule.due(at("11:01")) == (HOUR,)
    schedule.done(HOUR, at("11:01"))
    assert schedule.due(at("12:04")) == (HOUR,)
    assert schedule.due(at("12:05")) == (HOUR, FOUR_HOURS)


@pytest.mark.covers("W15")
def test_what_was_missed_while_away_is_caught_up_with_once() -> None:
    schedule = DownloadSchedule(("60M",))
    schedule.done(HOUR, at("10:30"))
    assert schedule.due(at("19:47")) == (HOUR,)
    schedule.done(HOUR, at("19:47"))
    assert schedule.due(at("20:00")) == ()
    assert schedule.due(at("20:01")) == (HOUR,)


def test_a_failed_download_is_tried_again_soon_and_in_its_turn_at_the_latest() -> None:
    schedule = DownloadSchedule(("4H",))
    now_ms, tries = at("04:05"), []
    while now_ms < at("08:05"):
        tries.append((now_ms - at("04:05")) // MINUTE_MS)
        schedule.failed(FOUR_HOURS, now_ms)
        assert schedule.due(now_ms) == ()
        now_ms = schedule.next_ms(now_ms)
    assert tries[:7] == [0, 1, 3, 7, 15, 30, 45]
    assert now_ms == at("08:05")


def test_a_venue_that_wants_to_be_left_alone_is() -> None:
    schedule = DownloadSchedule(("4H",))
    schedule.failed(FOUR_HOURS, at("04:05"), retry_after_s=600)
    assert schedule.next_ms(at("04:05")) == at("04:15")


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    schedule = DownloadSchedule(("60M",))
    schedule.done(HOUR, at("+10:30"))
    assert schedule.next_ms(at("10:30")) == at("11:01")
    assert schedule.due(at("11:00")) == ()


@pytest.mark.covers("W16", "S0-23")
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"])
def test_where_the_machine_stands_changes_nothing(zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = Candle("pionex:BTC_USDT", "1d", at("00:00"), at("+0:00"), UNIT, UNIT, UNIT, UNIT, 0)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert [next_due_ms(each, at("12:00")) for each in (HOUR, FOUR_HOURS, DAY)] == [
            at("12:01"), at("12:05"), at("+0:10"),
        ]  # fmt: skip
        path = append_seed_file(tmp_path, "BTC_USDT", "1D", [day]).path
        assert path.read_text().splitlines()[1] == "2026-03-14 00:00:00,1,1,1,1,0"
        assert read_seed_rows(path)[0].open_time_ms == at("00:00")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.covers("S0-4")
def test_aliases_of_one_timeframe_are_one() -> None:
    assert [interval.name for interval in DownloadSchedule(("60M", "1h", "1D", "daily")).intervals] == ["1h", "1d"]
