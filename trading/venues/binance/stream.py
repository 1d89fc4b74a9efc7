"""How Binance's stream socket is spoken: one combined socket, candles asked for by command.

The venue's rules are in its ``web-socket-streams.md``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from trading.config.model import BinanceUsdmVenue, BinanceVenue
from trading.venues.adapter import Pace

__all__ = ["BinanceWire"]

# The venue counts 5 messages a second, its pings' answers among them, and 300 attempts to connect in 5 minutes.
_PACE = Pace(symbols=1024, messages_per_s=3.0, spacing_s=1.1)
_STREAMS_A_MESSAGE = 200
_ENVELOPE = '{"stream":"'


class BinanceWire:
    """Candles of 1m for many symbols on the combined stream; the same for spot and for the futures."""

    pace = _PACE
    ping = None

    def __init__(self, settings: BinanceVenue | BinanceUsdmVenue) -> None:
        self.url = settings.stream_url.rstrip("/") + "/stream"
        self._commands = 0

    def subscribe(self, symbols: Sequence[str]) -> list[str]:
        return self._say("SUBSCRIBE", symbols)

    def unsubscribe(self, symbols: Sequence[str]) -> list[str]:
        return self._say("UNSUBSCRIBE", symbols)

    def route(self, raw: str | bytes) -> str | None:
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        if text.startswith(_ENVELOPE):
            symbol, at, _ = text[len(_ENVELOPE) : len(_ENVELOPE) + 60].partition("@")
            return symbol.upper() if at else ""
        return None if text.startswith('{"result":') else ""

    def answer(self, raw: str | bytes) -> str | None:
        return None

    def _say(self, method: str, symbols: Sequence[str]) -> list[str]:
        said = []
        for start in range(0, len(symbols), _STREAMS_A_MESSAGE):
            self._commands += 1
            names = [f"{symbol.lower()}@kline_1m" for symbol in symbols[start : start + _STREAMS_A_MESSAGE]]
            said.append(json.dumps({"method": method, "params": names, "id": self._commands}, separators=(",", ":")))
        return said
