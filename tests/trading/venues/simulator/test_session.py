"""The session's time: lockstep, speed, pause, and the order of what happens."""

import json
from typing import Any

import pytest

from trading.candle_columns import CandleColumns
from trading.errors import BadInput
from trading.venues.simulator.dialects.binance import kline_text
from trading.venues.simulator.faults import Action, Send, parse_fault
from trading.venues.simulator.session import Session
from trading.venues.simulator.tape import CLOSE_DELAY_MS

MINUTE_MS = 60_000


def session(sample: CandleColumns, **options: Any) -> Session:
    return Session({"BTCUSDT": sample}, **options)


def sent(happenings: list[Send | Action]) -> list[dict[str, Any]]:
    """What is sent, as Binance words it."""
    return [json.loads(kline_text(each))["k"] for each in happenings if isinstance(each, Send)]


def test_lockstep_waits_for_a_listener_and_keeps_to_its_lead(sample: CandleColumns) -> None:
    replay = session(sample, lead=7)

    assert replay.target_ms(0.0, listening=False) == sample.start_ms
    for _ in range(3):
        target = replay.target_ms(0.0, listening=True)
        last = [kline for kline in sent(replay.run_to(target)) if kline["x"]][-1]
        assert last["T"] + 1 == replay.watermark_ms + 7 * MINUTE_MS
        assert replay.run_to(replay.target_ms(1e9, listening=True)) == []
        replay.watermark(last["T"] + 1)


def test_the_watermark_is_the_slowest_market(sample: CandleColumns) -> None:
    replay = Session({"BTCUSDT": sample, "ETHUSDT": sample}, lead=7)

    replay.watermark(sample.start_ms + 3 * MINUTE_MS, "binance:BTCUSDT")
    assert replay.watermark_ms == sample.start_ms
    replay.watermark(sample.start_ms + 2 * MINUTE_MS, "ETHUSDT")
    assert replay.watermark_ms == sample.start_ms + 2 * MINUTE_MS
    with pytest.raises(BadInput, match="SOLUSDT"):
        replay.watermark(0, "binance:SOLUSDT")


def test_speed_scales_the_hosts_time(sample: CandleColumns) -> None:
    replay = session(sample, speed=60)

    replay.run_to(replay.target_ms(100.0, listening=False))
    replay.run_to(replay.target_ms(100.5, listening=False))
    assert replay.position_ms == sample.start_ms + 30_000
    assert replay.wait_s() == pytest.approx(10 / 60)
    replay.pause()
    assert replay.target_ms(200.0, listening=True) == replay.position_ms
    replay.resume()
    replay.run_to(replay.target_ms(300.0, listening=True))
    replay.run_to(replay.target_ms(301.0, listening=True))
    assert replay.position_ms == sample.start_ms + 90_000


def test_two_symbols_are_told_in_the_order_of_time(sample: CandleColumns) -> None:
    late = sample.slice(start_ms=sample.start_ms + 5 * MINUTE_MS)
    replay = Session({"BTCUSDT": sample, "ETHUSDT": late}, speed=1)

    happenings = replay.run_to(sample.start_ms + 10 * MINUTE_MS + CLOSE_DELAY_MS)
    events = [each.event_ms for each in happenings if isinstance(each, Send)]

    assert events == sorted(events)
    assert len(happenings) == 4 * (10 + 5)


def test_wide_streams_agree_with_rest(sample: CandleColumns) -> None:
    replay = session(sample, start_ms=sample.start_ms + 7 * MINUTE_MS)
    replay.want({("BTCUSDT", "5m")})

    happenings = replay.run_to(sample.start_ms + 32 * MINUTE_MS)
    closed = [
        kline
        for kline in sent([each for each in happenings if isinstance(each, Send) and each.interval == "5m"])
        if kline["x"]
    ]
    from trading.intervals import parse_interval

    rows = replay.tapes["BTCUSDT"].klines(
        parse_interval("5m"), replay.position_ms, 100, start_ms=sample.start_ms + 5 * MINUTE_MS
    )
    assert [kline["t"] for kline in closed] == [row.open_ms for row in rows[:-1]]
    assert [round(float(kline["v"]) * 1e8) for kline in closed] == [row.volume for row in rows[:-1]]


def test_the_end_is_the_end(sample: CandleColumns) -> None:
    replay = session(sample, start_ms=sample.end_ms - 2 * MINUTE_MS)

    happenings = replay.run_to(replay.target_ms(0.0, listening=True))

    assert len(happenings) == 8
    assert replay.ended
    assert replay.target_ms(0.0, listening=True) == replay.position_ms == sample.end_ms + CLOSE_DELAY_MS
    assert replay.state()["ended"] is True


def test_a_scheduled_fault_comes_between_the_frames_around_it(sample: CandleColumns) -> None:
    replay = session(sample)
    replay.order(parse_fault({"kind": "drop", "at_ms": sample.start_ms + 3 * MINUTE_MS}))

    happenings = replay.run_to(sample.start_ms + 5 * MINUTE_MS)
    at = next(number for number, each in enumerate(happenings) if isinstance(each, Action))

    assert at == 11, "after two whole minutes and three frames: the third close is told just after its time"
    assert replay.faults.pending() == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"speed": 0.5}, "speed"),
        ({"speed": 3601}, "speed"),
        ({"lead": 0}, "lead"),
        ({"start_ms": 1}, "start"),
        ({"start_ms": 1_751_328_000_001}, "start"),
        ({"start_ms": 1_754_006_400_000}, "start"),
    ],
)
def test_impossible_options_are_refused(sample: CandleColumns, options: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refusal:
        session(sample, **options)
    assert refusal.value.field == field
    assert refusal.value.fix
