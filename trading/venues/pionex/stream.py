"""How Pionex's public socket is spoken: one TRADE subscription a symbol, and an answer to the server's PING.

Frames are binary and hold plain UTF-8 JSON; text is understood too. The venue's rules are in its ``websocketapi.yaml``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from trading.config.model import PionexVenue
from trading.venues.adapter import Pace
from trading.venues.pionex.messages import parse_message

__all__ = ["PionexWire"]

_COMMANDS_PER_S = 5.0
_SPACING_S = 1.0
_SYMBOLS = 100


class PionexWire:
    """The words of the socket. The server pings; three pings without our PONG close the connection."""

    ping: tuple[float, str] | None = None

    def __init__(self, settings: PionexVenue) -> None:
        self.url = settings.stream_url
        self.pace = Pace(_SYMBOLS, _COMMANDS_PER_S, _SPACING_S)

    def subscribe(self, symbols: Sequence[str]) -> list[str]:
        return [_command("SUBSCRIBE", symbol) for symbol in symbols]

    def unsubscribe(self, symbols: Sequence[str]) -> list[str]:
        return [_command("UNSUBSCRIBE", symbol) for symbol in symbols]

    def route(self, raw: str | bytes) -> str | None:
        """A symbol's own messages, its acknowledgement included; all else concerns everyone on the socket."""
        message = parse_message(raw)
        if isinstance(message, str) or "op" in message:
            return ""
        symbol = message.get("symbol")
        return symbol if isinstance(symbol, str) else ""

    def answer(self, raw: str | bytes) -> str | None:
        """PONG, with the PING's own timestamp."""
        if (b'"PING"' if isinstance(raw, bytes) else '"PING"') not in raw:  # type: ignore[operator]
            return None
        message = parse_message(raw)
        if isinstance(message, str) or message.get("op") != "PING":
            return None
        return json.dumps({"op": "PONG", "timestamp": message.get("timestamp")})


def _command(op: str, symbol: str) -> str:
    return json.dumps({"op": op, "topic": "TRADE", "symbol": symbol})
