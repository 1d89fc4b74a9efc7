"""Candles as Hyperliquid sends them, read exactly; everything else is named and harms nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trading.venues.hyperliquid.recorded import entries, texts
from trading.candles import Candle, check_candle
from trading.feed_events import Anomaly
from trading.venues.adapter import Forming, Message
from trading.venues.hyperliquid.messages import CandleReader, RowReader

MINUTE_MS = 60_000
AT_MS = 1_785_053_340_000
FRAME = {
    "t": AT_MS, "T": AT_MS + 59_999, "s": "BTC", "i": "1m", "o": "64340.0", "c": "64346.0", "h": "64347.0",
    "l": "64340.0", "v": "0.15124", "n": 21,
}  # fmt: skip


def frame(minute: int = 0, **changes: Any) -> str:
    """A candle frame of the ``minute``-th minute; a change to None leaves the key out."""
    times = {"t": AT_MS + minute * MINUTE_MS, "T": AT_MS + (minute + 1) * MINUTE_MS - 1}
    data = {key: value for key, value in (FRAME | times | changes).items() if value is not None}
    return json.dumps({"channel": "candle", "data": data}, separators=(",", ":"))


def reader() -> CandleReader:
    return CandleReader("hyperliquid:BTC", "BTC")


def anomaly(raw: str | bytes) -> Anomaly:
    (found,) = reader().read(raw, 1)
    assert isinstance(found, Anomaly), found
    return found


def closed(messages: tuple[Message, ...]) -> list[Candle]:
    return [item for item in messages if isinstance(item, Candle)]


def test_hl_01_open_frames_repeat_until_a_larger_open_time_closes_the_candle() -> None:
    reading = reader()
    for close in ("64340.0", "64346.0", "64341.5"):
        (forming,) = reading.read(frame(c=close), 5)
        assert isinstance(forming, Forming)
    candle, forming = reading.read(frame(1), 77)
    assert candle == Candle(
        "hyperliquid:BTC", "1m", AT_MS, AT_MS + MINUTE_MS, 6434000000000, 6434700000000, 6434000000000, 6434150000000,
        15124000, None, 21, None, "live", 0, True, 77,
    )  # fmt: skip
    assert isinstance(forming, Forming)
    assert forming.candle is not None
    assert forming.candle.open_time_ms == AT_MS + MINUTE_MS


def test_hl_01_a_quiet_minute_between_two_frames_is_nothing_the_reader_speaks_of() -> None:
    reading = reader()
    reading.read(frame(), 1)
    assert [candle.open_time_ms for candle in closed(reading.read(frame(3), 2))] == [AT_MS]
    assert [candle.open_time_ms for candle in closed(reading.read(frame(4), 3))] == [AT_MS + 3 * MINUTE_MS]


def test_hl_02_a_late_frame_is_told_again_and_never_closes_what_is_newer() -> None:
    reading = reader()
    reading.read(frame(), 1)
    reading.read(frame(1), 2)
    (late,) = reading.read(frame(c="64347.0", v="0.2"), 3)
    assert isinstance(late, Candle)
    assert (late.open_time_ms, late.volume, late.received_ns) == (AT_MS, 20000000, 3)
    (again,) = reading.read(frame(1, c="64341.0"), 4)
    assert isinstance(again, Forming)
    (candle,) = closed(reading.read(frame(2), 5))
    assert (candle.open_time_ms, candle.close) == (AT_MS + MINUTE_MS, 6434100000000)


def test_hl_02_what_was_seen_of_a_candle_ends_with_the_connection() -> None:
    before, after = reader(), reader()
    before.read(frame(), 1)
    assert not closed(after.read(frame(1), 2))


@pytest.mark.parametrize("raw", ["Websocket connection established.", "Websocket connection established"])
def test_hl_05_the_greeting_is_nothing(raw: str) -> None:
    assert reader().read(raw, 1) == ()


def test_hl_06_an_error_frame_is_noted_and_the_next_candle_read() -> None:
    reading = reader()
    (found,) = reading.read('{"channel":"error","data":"Already subscribed: {\\"type\\":\\"candle\\"}"}', 1)
    assert isinstance(found, Anomaly)
    assert (found.reason, found.detail[:18]) == ("server_error", "Already subscribed")
    assert isinstance(reading.read(frame(), 2)[0], Forming)


def test_hl_07_a_pong_is_a_sign_of_life_and_an_acknowledgement_nothing() -> None:
    assert reader().read('{"channel":"pong"}', 1) == (Forming(),)
    assert reader().read('{"channel":"subscriptionResponse","data":{"method":"subscribe"}}', 1) == ()


def test_a_forming_candle_is_told_only_when_wanted_yet_closes_all_the_same() -> None:
    reading = reader()
    assert reading.read(frame(), 1, want_forming=False) == (Forming(),)
    (candle, forming) = reading.read(frame(1), 2, want_forming=False)
    assert isinstance(candle, Candle)
    assert forming == Forming()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "malformed"),
        ("[1]", "malformed"),
        ("{" * 9000, "malformed"),
        (b"\xff\xfe", "malformed"),
        ('{"channel":"candle"}', "malformed"),
        ('{"channel":"trades","data":[]}', "unknown"),
        ('{"no":"channel"}', "unknown"),
        (frame(s="ETH"), "wrong_symbol"),
        (frame(s="btc"), "wrong_symbol"),
        (frame(i="5m"), "wrong_interval"),
        (frame(i="1M"), "wrong_interval"),
        (frame(t=AT_MS + 1), "unaligned"),
        (frame(T=AT_MS + 60_000), "unaligned"),
        (frame(t=-60_000), "unaligned"),
        (frame(t=10**18), "unaligned"),
        (frame(t="1785053340000"), "malformed"),
        (frame(n="21"), "malformed"),
        (frame(n=True), "malformed"),
        (frame(o=64340.0), "malformed"),
        (frame(o=None), "malformed"),
        (frame(c="NaN"), "malformed"),
        (frame(c="1e400"), "malformed"),
        (frame(h="9" * 41), "malformed"),
        (frame(c="64346.123456789"), "too_fine"),
        (frame(h="64000"), "insane"),
        (frame(l="0"), "insane"),
        (frame(l="-1"), "insane"),
        (frame(v="-1"), "insane"),
        (frame(v="999999999999999"), "insane"),
        (frame(n=-1), "insane"),
    ],
)
def test_what_is_no_usable_candle_is_named(raw: str | bytes, reason: str) -> None:
    assert anomaly(raw).reason == reason


def test_a_volume_with_the_venues_rounding_errors_is_rounded_a_price_never() -> None:
    (candle,) = (
        RowReader("hyperliquid:BTC", "BTC", "1m").rows([json.loads(frame(v="3495670.8399999999"))["data"]]).candles
    )
    assert candle.volume == 349567084000000
    assert anomaly(frame(o="64340.000000001")).reason == "too_fine"


@given(st.one_of(st.text(), st.binary(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*FRAME, "channel", "data"]), inner),
).map(lambda value: json.dumps({"channel": "candle", "data": value}))))  # fmt: skip
def test_nothing_that_can_be_sent_is_raised(raw: str | bytes) -> None:
    for message in reader().read(raw, 1):
        assert isinstance(message, Candle | Forming | Anomaly)


@given(st.dictionaries(st.sampled_from(list(FRAME)), st.none() | st.integers() | st.floats() | st.text(max_size=9)))
def test_a_frame_with_anything_in_any_field_is_sane_or_refused(changes: dict[str, Any]) -> None:
    for message in reader().read(json.dumps({"channel": "candle", "data": FRAME | changes}), 1):
        if isinstance(message, Forming) and message.candle is not None:
            assert check_candle(message.candle) is None


# Recorded


def test_hl_01_the_recorded_frames_of_one_minute_are_one_forming_candle(shared_data: Path) -> None:
    raws = [
        entry["raw"]
        for entry in entries(shared_data, "ws_captured_2026")
        if '"channel":"candle"' in entry.get("raw", "")
    ]
    assert len(raws) == 3
    reading = reader()
    told = [message for raw in raws for message in reading.read(raw, 1)]
    assert all(isinstance(message, Forming) for message in told)
    (candle,) = closed(reading.read(frame(1), 2))
    assert (candle.open_time_ms, candle.close, candle.volume, candle.trade_count) == (
        AT_MS,
        6435200000000,
        107768000,
        79,
    )


def test_recorded_messages_are_candles_or_named(shared_data: Path) -> None:
    reasons = set()
    for text in texts(shared_data):
        for message in reader().read(text, 1):
            if isinstance(message, Anomaly):
                reasons.add(message.reason)
    assert reasons <= {"unknown", "wrong_symbol", "wrong_interval", "server_error", "malformed"}


def test_hl_08_the_recorded_candle_snapshot_is_read_with_its_open_candle(shared_data: Path) -> None:
    (entry,) = [
        item for item in entries(shared_data, "rest_recorded_mainnet") if "candleSnapshot" in str(item["request"])
    ]
    asked = json.loads(entry["request"])["req"]
    read = RowReader("hyperliquid:kPEPE", "kPEPE", "1h").rows(json.loads(entry["raw"]))
    assert read.is_whole
    assert not read.anomalies
    first, last = read.candles[0], read.candles[-1]
    assert first.open_time_ms < asked["startTime"] < first.close_time_ms
    assert last.open_time_ms <= asked["endTime"] < last.close_time_ms
    assert {candle.source for candle in read.candles} == {"native"}
    assert first.volume == 52066568300000000


def test_rows_that_do_not_ascend_prove_nothing() -> None:
    rows = [json.loads(frame(minute))["data"] for minute in (0, 2, 1)]
    read = RowReader("hyperliquid:BTC", "BTC", "1m").rows(rows)
    assert not read.is_whole
    assert read.anomalies[-1].reason == "out_of_order"


def test_an_unusable_row_is_its_minute_unknown_not_absent() -> None:
    rows = [json.loads(frame(minute, **({"h": "1"} if minute == 1 else {})))["data"] for minute in range(3)]
    read = RowReader("hyperliquid:BTC", "BTC", "1m").rows(rows)
    assert read.unusable == (AT_MS + MINUTE_MS,)
    assert [candle.open_time_ms for candle in read.candles] == [AT_MS, AT_MS + 2 * MINUTE_MS]
