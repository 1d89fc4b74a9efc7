"""How Hyperliquid's websocket is spoken: one subscription a message, our own text pings, no answer owed.

The venue drops a connection to which it has sent nothing for 60 s, and drops it without a word when asked for a coin
that it does not know: symbols are resolved before they are subscribed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from trading.config.model import HyperliquidVenue
from trading.venues.adapter import Pace

__all__ = ["HyperliquidWire"]

_PING_EVERY_S = 20.0
_CANDLE = '{"channel":"candle","data":{'
_SYMBOL = re.compile(r'"s":"([^"\\]{1,64})"')
_COIN = re.compile(r'"coin"\s*:\s*"([^"\\]{1,64})"')
_FOR_NOBODY = ("subscriptionResponse",)


class HyperliquidWire:
    """1m candles of any number of perps and spot pairs on one socket.

    The pace keeps to the venue's limits: 1000 subscriptions an address, 2000 messages and 30 connections a minute.
    """

    pace = Pace(symbols=1000, messages_per_s=20.0, spacing_s=2.0)
    ping: tuple[float, str] | None = (_PING_EVERY_S, '{"method":"ping"}')

    def __init__(self, settings: HyperliquidVenue) -> None:
        self.url = settings.stream_url

    def subscribe(self, symbols: Sequence[str]) -> list[str]:
        return [_command("subscribe", symbol) for symbol in symbols]

    def unsubscribe(self, symbols: Sequence[str]) -> list[str]:
        return [_command("unsubscribe", symbol) for symbol in symbols]

    def route(self, raw: str | bytes) -> str | None:
        """The coin of a candle frame, or of an error that names one; pongs and what is unreadable concern everyone."""
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        if text.startswith(_CANDLE) and (found := _SYMBOL.search(text)):
            return found[1]
        if not text.startswith("{"):
            return None if text.startswith("Websocket connection established") else ""
        return _routed(text)

    def answer(self, raw: str | bytes) -> str | None:
        return None


def _routed(text: str) -> str | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    channel, data = message.get("channel"), message.get("data")
    if channel in _FOR_NOBODY:
        return None
    if channel == "candle" and isinstance(data, dict) and isinstance(data.get("s"), str):
        return str(data["s"])
    if channel == "error" and isinstance(data, str) and (found := _COIN.search(data)):
        return found[1]
    return ""


def _command(method: str, symbol: str) -> str:
    subscription = {"type": "candle", "coin": symbol, "interval": "1m"}
    return json.dumps({"method": method, "subscription": subscription}, separators=(",", ":"))
