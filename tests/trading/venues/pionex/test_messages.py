"""What Pionex says, read: recorded frames, the specification's examples, and what a venue should never send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.candles import Candle, to_units
from trading.errors import BadInput
from trading.feed_events import Anomaly
from trading.venues.adapter import Forming, Message, ServerShutdown
from trading.venues.pionex.messages import TradeReader, native_interval, parse_envelope, read_klines

KEYS = ["op", "type", "topic", "symbol", "data", "timestamp", "tradeId", "price", "size", "time", "open", "result"]
MINUTE_MS = 60_000
MARKET = "pionex:BTC_USDT"
HOUR = 1_691_647_200_000


def reader(symbol: str = "BTC_USDT") -> TradeReader:
    return TradeReader(f"pionex:{symbol}", symbol)


def trade(number: int, time_ms: int, price: str = "100", size: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "symbol": "BTC_USDT", "tradeId": str(number), "price": price, "size": size, "side": "BUY", "timestamp": time_ms,
    } | more  # fmt: skip


def trades(*rows: dict[str, Any], at_ms: int = 0) -> str:
    stamp = at_ms or max([row["timestamp"] for row in rows], default=HOUR)
    return json.dumps({"topic": "TRADE", "symbol": "BTC_USDT", "timestamp": stamp, "data": list(rows)})


def forming(messages: tuple[Message, ...]) -> Candle | None:
    (message,) = messages
    assert isinstance(message, Forming)
    return message.candle


def reason(messages: tuple[Message, ...]) -> str:
    (message,) = messages
    assert isinstance(message, Anomaly)
    return message.reason


def kline(time_ms: object = HOUR, close: str = "1851.32", **changed: Any) -> dict[str, Any]:
    row = {"time": time_ms, "open": "1851.27", "close": close, "high": "1851.32", "low": "1851.27", "volume": "0.542"}
    return row | changed


def recorded(folder: Path, name: str) -> list[dict[str, Any]]:
    with (folder / "messages" / "pionex" / name).open() as lines:
        return [json.loads(line) for line in lines]


# The socket


def test_px_13_a_recorded_trade_and_a_recorded_ping_are_signs_of_life(shared_data: Path) -> None:
    frames = {each["note"]: each["raw"] for each in recorded(shared_data, "ws_captured_20260922.jsonl")}
    px = reader()
    assert px.read(frames["trade"], 0) == (Forming(None),)
    ping = next(raw for note, raw in frames.items() if note.startswith("server ping"))
    assert px.read(ping, 0) == (Forming(None),)
    unknown = next(raw for note, raw in frames.items() if note.startswith("unknown symbol"))
    assert reason(px.read(unknown, 0)) == "server_error"


@pytest.mark.parametrize("symbol", ["BTC_USDT", "BTC_USDT_PERP"])
def test_px_13_the_specifications_trades_are_read(shared_data: Path, symbol: str) -> None:
    bodies = [each["body"] for each in recorded(shared_data, "official_examples.jsonl")]
    (found,) = [
        body for body in bodies
        if isinstance(body, dict) and body.get("topic") == "TRADE" and body.get("symbol") == symbol and "data" in body
    ]  # fmt: skip
    assert reader(symbol).read(json.dumps(found), 0) == (Forming(None),)


def test_px_13_the_library_fixtures_of_two_symbols_on_one_socket_are_read(shared_data: Path) -> None:
    fixtures = recorded(shared_data, "sdk_fixtures.jsonl")
    steps = next(each["steps"] for each in fixtures if each["source"].endswith("Concurrent.txt"))
    px = reader("ETH_USDT")
    said = [step["text"] for step in steps if step["dir"] != "send" and "ETH_USDT" in step["text"]]
    assert [px.read(text, 0) for text in said] == [(), (Forming(None),)]


def test_px_08_binary_and_text_frames_mean_the_same() -> None:
    text = trades(trade(1, HOUR))
    assert reader().read(text.encode(), 0) == reader().read(text, 0) == (Forming(None),)
    assert reason(reader().read(b"\xff\xfe", 0)) == "malformed"


def test_px_09_a_close_operation_says_that_the_connection_ends() -> None:
    assert reader().read(b'{"op":"CLOSE","note":"maintenance"}', 0) == (ServerShutdown(),)


def test_px_10_without_an_acknowledgement_pings_are_no_sign_of_life() -> None:
    px, ping = reader(), '{"op":"PING","timestamp":1566691672311}'
    assert px.read(ping, 0) == ()
    (told,) = px.read(ping, 0)
    assert isinstance(told, Anomaly)
    assert (told.reason, told.detail) == ("server_error", "no SUBSCRIBED for TRADE of BTC_USDT")
    assert px.read(ping, 0) == ()
    assert px.read('{"type":"SUBSCRIBED","topic":"TRADE","symbol":"BTC_USDT"}', 0) == ()
    assert px.read(ping, 0) == (Forming(None),)


def test_px_11_trades_come_newest_first_and_each_counts_once() -> None:
    px = reader()
    px.read(trades(trade(1, HOUR - 1)), 0)
    first, second = trade(2, HOUR + 10, "101"), trade(3, HOUR + 20, "99", "2")
    candle = forming(px.read(trades(second, first), 0))
    assert candle is not None
    assert candle[2:9] == (
        HOUR, HOUR + MINUTE_MS, *(to_units(text) for text in ("101", "101", "99", "99", "3")),
    )  # fmt: skip
    again = forming(px.read(trades(trade(4, HOUR + 30, "100"), second, first), 0))
    assert again is not None
    assert (again.close, again.volume) == (to_units("100"), to_units("4"))


def test_px_11_a_minute_that_was_joined_in_its_middle_shows_no_forming_candle() -> None:
    px = reader()
    assert forming(px.read(trades(trade(1, HOUR + 30_000)), 0)) is None
    assert forming(px.read(trades(trade(2, HOUR + 31_000)), 0)) is None
    after = forming(px.read(trades(trade(3, HOUR + MINUTE_MS)), 0))
    assert after is not None
    assert after.open_time_ms == HOUR + MINUTE_MS


def test_px_11_a_late_trade_of_an_earlier_minute_changes_nothing() -> None:
    px = reader()
    px.read(trades(trade(1, HOUR - 1)), 0)
    candle = forming(px.read(trades(trade(2, HOUR)), 0))
    assert forming(px.read(trades(trade(3, HOUR - 5, "5000"), at_ms=HOUR + 1), 0)) == candle


def test_px_11_an_unwanted_forming_candle_is_still_drawn() -> None:
    px = reader()
    px.read(trades(trade(1, HOUR - 1)), 0)
    assert px.read(trades(trade(2, HOUR, "50")), 0, want_forming=False) == (Forming(None),)
    candle = forming(px.read(trades(trade(3, HOUR + 1, "60")), 0))
    assert candle is not None
    assert candle.open == to_units("50")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", "malformed"),
        ("[1]", "malformed"),
        ("{" * 100_000, "malformed"),
        ('{"topic":"TRADE","symbol":"ETH_USDT","timestamp":1,"data":[]}', "wrong_symbol"),
        ('{"topic":"DEPTH","symbol":"BTC_USDT","data":{}}', "unknown"),
        ('{"op":"HELLO"}', "unknown"),
        ('{"topic":"TRADE","symbol":"BTC_USDT","timestamp":1,"data":{}}', "malformed"),
        ('{"topic":"TRADE","symbol":"BTC_USDT","timestamp":null,"data":[]}', "malformed"),
        (trades(trade(1, HOUR, "NaN")), "malformed"),
        (trades(trade(1, HOUR, "-1")), "insane"),
        (trades(trade(1, HOUR, "0")), "insane"),
        (trades(trade(1, HOUR, "1e30")), "insane"),
        (trades(trade(1, HOUR, "0.000000001")), "too_fine"),
        (trades(trade(1, HOUR, price=7)), "malformed"),  # type: ignore[arg-type]
        (trades(trade(1, HOUR, symbol="ETH_USDT")), "wrong_symbol"),
        (trades(trade(1, HOUR, tradeId=None)), "malformed"),
        (trades(trade(1, HOUR), at_ms=HOUR - 2 * MINUTE_MS), "future"),
    ],
)
def test_px_12_what_is_no_trade_is_classified_and_never_raised(raw: str, expected: str) -> None:
    assert reason(reader().read(raw, 0)) == expected


def test_px_12_good_trades_beside_a_bad_one_still_count() -> None:
    px = reader()
    bad, alive = px.read(trades(trade(2, HOUR, "x"), trade(1, HOUR)), 0)
    assert isinstance(bad, Anomaly)
    assert alive == Forming(None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["PING", "TRADE"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=12,
)


@given(body=JSON, shape=st.sampled_from([None, "trades", "klines"]))
def test_px_12_no_message_and_no_row_raises(body: Any, shape: str | None) -> None:
    if shape == "trades":
        body = {"topic": "TRADE", "symbol": "BTC_USDT", "timestamp": HOUR, "data": [body]}
    px = reader()
    for raw in (json.dumps(body), json.dumps(body).encode(), str(body)):
        for message in px.read(raw, 0):
            assert isinstance(message, Candle | Forming | ServerShutdown | Anomaly)
    found = read_klines(MARKET, "1m", [body, kline()] if shape == "klines" else body, "rest")
    assert found.is_whole or not found.candles
    envelope = parse_envelope(body)
    assert envelope is None or isinstance(envelope.data, dict)


def test_px_12_a_message_that_is_nested_to_the_limit_is_an_anomaly() -> None:
    for depth in (*range(900, 1000, 3), 5000):
        text = '{"topic":' * depth + "1" + "}" * depth
        assert reason(reader().read(text, 0)) in ("malformed", "unknown")


# REST


def test_px_01_an_envelope_that_says_false_is_no_success(shared_data: Path) -> None:
    bodies = [each["body"] for each in recorded(shared_data, "official_examples.jsonl")]
    refusals = [each for body in bodies if (each := parse_envelope(body)) is not None and not each.ok]
    assert {each.code for each in refusals} == {"TRADE_INVAILD_SYMBOL", "TRADE_INVALID_SYMBOL"}
    assert parse_envelope({"data": {}}) is None
    assert parse_envelope([]) is None


def test_px_02_pages_newest_first_and_ascending_give_the_same_candles() -> None:
    rows = [kline(HOUR + number * MINUTE_MS) for number in range(5)]
    ascending = read_klines(MARKET, "1m", rows, "rest")
    assert read_klines(MARKET, "1m", rows[::-1], "rest") == ascending
    assert [candle.open_time_ms for candle in ascending.candles] == [row["time"] for row in rows]


def test_px_04_a_row_that_is_shown_twice_is_one_candle_and_two_versions_are_none() -> None:
    twice = read_klines(MARKET, "1m", [kline(), kline()], "rest")
    assert (len(twice.candles), twice.unusable, twice.anomalies) == (1, (), ())
    differing = read_klines(MARKET, "1m", [kline(), kline(close="1851.30")], "rest")
    assert (differing.candles, differing.unusable) == ((), (HOUR,))
    assert differing.anomalies[0].reason == "revised"


def test_px_06_the_interval_names_are_the_venues_and_1m_is_a_minute() -> None:
    names = {name: native_interval(name) for name in ("1m", "5m", "15m", "30m", "1h", "4h", "8h", "12h", "1d")}
    assert names == {
        "1m": "1M", "5m": "5M", "15m": "15M", "30m": "30M", "1h": "60M", "4h": "4H", "8h": "8H", "12h": "12H",
        "1d": "1D",
    }  # fmt: skip
    assert (native_interval("60M"), native_interval("daily"), native_interval("1D")) == ("60M", "1D", "1D")


@pytest.mark.parametrize("interval", ["3m", "37m", "2h", "6h", "3d", "1w", "1M"])
def test_px_06_an_interval_that_the_venue_has_not_is_refused(interval: str) -> None:
    with pytest.raises(BadInput, match="Pionex has no candles") as caught:
        native_interval(interval)
    assert caught.value.field == "interval"


def test_px_14_a_documented_row_is_a_candle_with_its_open_time() -> None:
    (candle,) = read_klines(MARKET, "1m", [kline(1_691_649_240_000)], "rest").candles
    units = (185127000000, 185132000000, 185127000000, 185132000000, 54200000)
    assert candle == Candle(MARKET, "1m", 1_691_649_240_000, 1_691_649_300_000, *units, source="rest")
    assert candle.quote_volume is None
    assert candle.trade_count is None


def test_px_14_a_fixture_whose_time_is_no_open_time_is_told_as_unaligned(shared_data: Path) -> None:
    fixtures = recorded(shared_data, "sdk_fixtures.jsonl")
    text = next(each["text"] for each in fixtures if each["source"].endswith("GetKlines.txt"))
    envelope = parse_envelope(json.loads(text.partition("\n")[2]))
    assert envelope is not None
    found = read_klines(MARKET, "1m", envelope.data["klines"], "rest")
    assert [(each.reason, each.from_ms) for each in found.anomalies] == [("unaligned", 0)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (kline(HOUR + 1), "unaligned"),
        (kline(high="nan"), "malformed"),
        (kline(high="Infinity"), "malformed"),
        (kline(low="-5"), "insane"),
        (kline(high="1"), "insane"),
        (kline(volume="-1"), "insane"),
        (kline(volume="1e20"), "insane"),
        (kline(volume="0.000000001"), "too_fine"),
        (kline(volume=None), "malformed"),
        (kline(open=1851.27), "malformed"),
    ],
)
def test_px_15_a_garbage_row_makes_its_minute_unknown(row: dict[str, Any], expected: str) -> None:
    found = read_klines(MARKET, "1m", [row], "rest")
    assert (found.candles, found.unusable, found.is_whole) == ((), (HOUR,), True)
    assert [each.reason for each in found.anomalies] == [expected]


@pytest.mark.parametrize("rows", [{}, None, "x", [None], [[1]], [kline("x")], [kline(True)], [kline(10**18)]])
def test_px_15_an_answer_that_hides_a_rows_time_proves_nothing(rows: object) -> None:
    assert not read_klines(MARKET, "1m", rows, "rest").is_whole
