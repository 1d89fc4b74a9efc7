"""How the socket is spoken: what we say, and whose each message is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trading.venues.hyperliquid.recorded import texts
from tests.trading.venues.hyperliquid.test_messages import frame
from trading.config.model import HyperliquidVenue
from trading.venues.hyperliquid.stream import HyperliquidWire

WIRE = HyperliquidWire(HyperliquidVenue())


def test_hl_07_we_ping_well_within_the_venues_60_s() -> None:
    every_s, text = WIRE.ping or (0, "")
    assert 20 <= every_s <= 30
    assert json.loads(text) == {"method": "ping"}


@pytest.mark.covers("S2-3a", "S2-3b", "S2-3c")
def test_the_venues_own_addresses_are_the_default_and_a_coin_is_asked_for_by_the_minute() -> None:
    settings = HyperliquidVenue()
    assert settings.stream_url == "wss://api.hyperliquid.xyz/ws"
    assert f"{settings.rest_url}/info" == "https://api.hyperliquid.xyz/info"
    assert [json.loads(text) for text in WIRE.subscribe(["cbBTC"])] == [
        {"method": "subscribe", "subscription": {"type": "candle", "coin": "cbBTC", "interval": "1m"}}
    ]


def test_one_subscription_a_message() -> None:
    assert [json.loads(text) for text in WIRE.subscribe(["BTC", "@107"])] == [
        {"method": "subscribe", "subscription": {"type": "candle", "coin": coin, "interval": "1m"}}
        for coin in ("BTC", "@107")
    ]
    assert json.loads(WIRE.unsubscribe(["BTC"])[0])["method"] == "unsubscribe"


@pytest.mark.parametrize(
    ("raw", "symbol"),
    [
        (frame(), "BTC"),
        (frame().encode(), "BTC"),
        (frame(s="@107"), "@107"),
        (json.dumps(json.loads(frame(s="PURR/USDC")), indent=1), "PURR/USDC"),
        ('{"channel":"pong"}', ""),
        ("Websocket connection established.", None),
        ('{"channel":"subscriptionResponse","data":{}}', None),
        ('{"channel":"error","data":"Already subscribed: {\\"type\\":\\"candle\\",\\"coin\\":\\"BTC\\"}"}', "BTC"),
        ('{"channel":"error","data":"something else"}', ""),
        ("<html>", ""),
        ("{", ""),
        (b"\xff", ""),
    ],
)
def test_every_message_finds_whom_it_concerns(raw: str | bytes, symbol: str | None) -> None:
    assert WIRE.route(raw) == symbol
    assert WIRE.answer(raw) is None


def test_recorded_messages_have_somewhere_to_go(shared_data: Path) -> None:
    assert {WIRE.route(text) for text in texts(shared_data)} >= {"BTC", "HYPE", "", None}
