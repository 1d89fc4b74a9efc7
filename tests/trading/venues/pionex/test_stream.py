"""How Pionex's socket is spoken: what is asked, whose a message is, and the answer to a PING."""

import json

import pytest

from trading.config.model import PionexVenue
from trading.venues.pionex.stream import PionexWire

WIRE = PionexWire(PionexVenue())
PING = '{"op": "PING", "timestamp": 1790134001027}'


def test_px_13_a_subscription_is_the_specifications() -> None:
    (text,) = WIRE.subscribe(["BTC_USDT"])
    assert json.loads(text) == {"op": "SUBSCRIBE", "topic": "TRADE", "symbol": "BTC_USDT"}
    assert [json.loads(each)["symbol"] for each in WIRE.unsubscribe(["A_B", "C_D"])] == ["A_B", "C_D"]
    assert WIRE.url == "wss://ws.pionex.com/wsPub"


@pytest.mark.parametrize("raw", [PING, PING.encode()])
def test_px_09_a_ping_is_answered_with_its_own_timestamp(raw: str | bytes) -> None:
    answer = WIRE.answer(raw)
    assert answer is not None
    assert json.loads(answer) == {"op": "PONG", "timestamp": 1790134001027}
    assert WIRE.ping is None


@pytest.mark.parametrize(
    "raw", ['{"topic":"TRADE","symbol":"\\"PING\\""}', b'"PING"', "{", '{"op":"CLOSE","note":"PING"}', b"\xff"]
)
def test_px_09_nothing_else_is_answered(raw: str | bytes) -> None:
    assert WIRE.answer(raw) is None


@pytest.mark.parametrize(
    ("raw", "whose"),
    [
        ('{"topic":"TRADE","symbol":"BTC_USDT","timestamp":1,"data":[]}', "BTC_USDT"),
        (b'{"topic":"TRADE","symbol":"BTC_USDT","type":"SUBSCRIBED"}', "BTC_USDT"),
        (PING, ""),
        ('{"op":"CLOSE","note":"bye"}', ""),
        ('{"type":"ERROR","code":"INVALID_SYMBOL","message":"invalid `symbol`"}', ""),
        ("no json", ""),
        (b"\xff\xfe", ""),
        ('{"symbol":7}', ""),
    ],
)
def test_px_13_a_message_goes_to_its_symbol_or_to_everyone(raw: str | bytes, whose: str) -> None:
    assert WIRE.route(raw) == whose
