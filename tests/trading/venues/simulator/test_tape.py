"""What the venue shows is a function of the candles and of its time."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import BadInput
from trading.intervals import MINUTE, parse_interval
from trading.venues.simulator.dialects.binance import Binance
from trading.venues.simulator.sample import SAMPLE_END_MS, SAMPLE_START_MS, SESSION_START_MS
from trading.venues.simulator.tape import Frame, Kline, Tape
from trading.venues.simulator.wire import decimal_text

MINUTE_MS = 60_000


def frames(tape: Tape) -> Iterator[Frame]:
    while tape.peek is not None:
        yield tape.take()


def test_the_sample_is_31_whole_days(sample: CandleColumns) -> None:
    assert (sample.start_ms, sample.end_ms) == (SAMPLE_START_MS, SAMPLE_END_MS)
    assert len(sample) == 31 * 1440
    assert SAMPLE_START_MS + 125 * 148 * MINUTE_MS < SESSION_START_MS < SAMPLE_END_MS


def test_a_minute_is_four_frames_and_the_last_is_the_candle(sample: CandleColumns) -> None:
    hour = sample.slice(end_ms=sample.start_ms + 60 * MINUTE_MS)
    played = list(frames(Tape("BTCUSDT", hour)))

    assert len(played) == 4 * 60
    assert [frame.event_ms for frame in played] == sorted({frame.event_ms for frame in played})
    for candle, minute in zip(hour.candles(), zip(*[iter(played)] * 4, strict=True), strict=True):
        opening, first, second, closing = (frame.kline for frame in minute)
        assert (opening.open, opening.high, opening.low, opening.close) == (candle.open,) * 4
        assert first.close == (candle.low if candle.close >= candle.open else candle.high)
        assert {first.close, second.close} == {candle.low, candle.high}
        assert (closing.open, closing.high, closing.low, closing.close) == candle[4:8]
        assert closing.volume == candle.volume
        assert 0 <= opening.volume <= first.volume <= second.volume <= closing.volume
        assert [frame.closed for frame in minute] == [False, False, False, True]
        assert minute[0].event_ms >= candle.open_time_ms
        assert minute[2].event_ms < candle.close_time_ms <= minute[3].event_ms < candle.close_time_ms + 10


def test_six_columns_are_filled_in(sample: CandleColumns) -> None:
    closing = list(frames(Tape("BTCUSDT", sample.slice(end_ms=sample.start_ms + MINUTE_MS))))[-1].kline

    assert closing.quote_volume == pytest.approx(closing.volume * closing.close / 1e8)
    assert closing.taker_volume == closing.volume // 2
    assert closing.trades == 4


def test_twelve_columns_are_shown_as_they_are(shared_data: Path) -> None:
    path = shared_data / "candles_1m" / "binance_spot_BTCUSDT_1m_12col_20210701-20210715.csv.gz"
    closing = list(frames(Tape("BTCUSDT", load_columns(path, "m:M").slice(end_ms=1625154240000))))

    assert closing[3].kline[7:] == (588383_09191864, 539, 9_69745000, 324935_81156654)
    assert (closing[3].first_trade, closing[7].first_trade) == (1, 540)


def test_klines_never_tell_the_future(sample: CandleColumns) -> None:
    tape, start = Tape("BTCUSDT", sample), sample.start_ms

    assert tape.klines(MINUTE, start, 10) == []
    opening = tape.klines(MINUTE, start + 10, 10)
    assert [(row.open, row.high, row.low, row.close) for row in opening] == [(int(sample.open[0]),) * 4]
    assert tape.klines(MINUTE, start + 59_999, 10)[-1].close != opening[-1].close
    closed = tape.klines(MINUTE, start + MINUTE_MS, 10)
    assert [row.close for row in closed] == [int(sample.close[0])]


@pytest.mark.parametrize("name", tuple(Binance.intervals))
def test_every_page_of_an_interval_agrees_with_the_whole(sample: CandleColumns, name: str) -> None:
    tape, interval = Tape("BTCUSDT", sample), parse_interval(name)
    now = sample.start_ms + 9 * 1440 * MINUTE_MS + 777 * MINUTE_MS + 30_000
    whole = tape.klines(interval, now, 100_000)

    assert tape.klines(interval, now, 3) == whole[-3:]
    assert tape.klines(interval, now, 3, end_ms=whole[-1].open_ms - 1) == whole[:-1][-3:]
    assert tape.klines(interval, now, 3, start_ms=whole[0].open_ms + 1) == whole[1:4]
    assert tape.klines(interval, now, 3, start_ms=whole[-1].open_ms) == whole[-1:]
    paged: list[Kline] = []
    while rows := tape.klines(interval, now, 1000, start_ms=paged[-1].open_ms + 1 if paged else 0):
        paged += rows
    assert paged == whole
    assert whole[-1].open_ms <= now < whole[-1].close_ms
    assert sum(row.volume for row in whole) == sum(row.volume for row in tape.klines(MINUTE, now, 100_000))


def test_hours_agree_with_the_venues_own(shared_data: Path) -> None:
    """Prices to the last digit, over four weeks of real hours."""
    minutes = load_columns(shared_data / "candles_1m" / "binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz", "m:M")
    hours = load_columns(shared_data / "candles_1h" / "binance_spot_BTCUSDT_1h_to20251031.csv.gz", "m:M")
    start, end = 1_748_736_000_000, 1_748_736_000_000 + 28 * 1440 * MINUTE_MS
    rows = Tape("BTCUSDT", minutes).klines(parse_interval("1h"), end, 28 * 24, start_ms=start)

    theirs = [candle[2:3] + candle[4:8] for candle in hours.slice(start, end).candles()]
    assert [row[0:1] + row[2:6] for row in rows] == theirs


def test_absent_minutes_never_happen(gapped: CandleColumns) -> None:
    tape = Tape("BTCUSD", gapped)
    present = gapped.open_time_ms.tolist()
    gap, after = next((time, later) for time, later in pairwise(present) if later - time > MINUTE_MS)

    assert [frame.kline.open_ms for frame in frames(tape) if frame.closed] == present
    rows = tape.klines(MINUTE, gapped.end_ms, 2, start_ms=gap)
    assert [row.open_ms for row in rows] == [gap, after]
    # At the venue's time inside the gap nothing is forming.
    assert tape.klines(MINUTE, gap + MINUTE_MS + 30_000, 1)[-1].open_ms == gap


def test_only_minutes_can_be_played(shared_data: Path) -> None:
    hours = load_columns(shared_data / "candles_4h" / "binance_spot_BTCUSDT_4h_to20251031.csv.gz", "m:M")

    with pytest.raises(BadInput, match="4h"):
        Tape("BTCUSDT", hours)


@pytest.mark.parametrize(
    ("units", "text"), [(0, "0.00000000"), (638, "0.00000638"), (11779402000000, "117794.02000000")]
)
def test_numbers_have_eight_decimals(units: int, text: str) -> None:
    assert decimal_text(units) == text
