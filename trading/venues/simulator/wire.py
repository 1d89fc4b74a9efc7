"""Binance's texts for klines: the stream message, the REST row, and the websocket frame around a message."""

from __future__ import annotations

from trading.candles import UNIT
from trading.venues.simulator.tape import Kline

__all__ = ["decimal_text", "kline_message", "kline_row", "text_frame"]


def decimal_text(units: int) -> str:
    """Return units at 10**-8 as the venue writes them, with eight decimals."""
    return f"{units // UNIT}.{units % UNIT:08d}"


def kline_message(symbol: str, interval: str, event_ms: int, kline: Kline, *, first_trade: int, closed: bool) -> str:
    """Return the payload of stream ``<symbol>@kline_<interval>``."""
    last_trade = first_trade + kline.trades - 1 if kline.trades else -1
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{kline.open_ms},"T":{kline.close_ms - 1},'
        f'"s":"{symbol}","i":"{interval}","f":{first_trade if kline.trades else -1},"L":{last_trade},'
        f'"o":"{decimal_text(kline.open)}","c":"{decimal_text(kline.close)}","h":"{decimal_text(kline.high)}",'
        f'"l":"{decimal_text(kline.low)}","v":"{decimal_text(kline.volume)}","n":{kline.trades},'
        f'"x":{"true" if closed else "false"},"q":"{decimal_text(kline.quote_volume)}",'
        f'"V":"{decimal_text(kline.taker_volume)}","Q":"{decimal_text(kline.taker_quote_volume)}","B":"0"}}}}'
    )


def kline_row(kline: Kline) -> str:
    """Return one row of ``/api/v3/klines``."""
    return (
        f'[{kline.open_ms},"{decimal_text(kline.open)}","{decimal_text(kline.high)}","{decimal_text(kline.low)}",'
        f'"{decimal_text(kline.close)}","{decimal_text(kline.volume)}",{kline.close_ms - 1},'
        f'"{decimal_text(kline.quote_volume)}",{kline.trades},"{decimal_text(kline.taker_volume)}",'
        f'"{decimal_text(kline.taker_quote_volume)}","0"]'
    )


def text_frame(text: str) -> bytes:
    """Return the unmasked RFC 6455 frame of a whole text message, ready for the transport.

    Messages go to the transport many at a time: a call of a websocket library and a system call for each would cost ten
    times as much as everything else here.
    """
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
