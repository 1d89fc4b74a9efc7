"""Texts that all venues share: numbers as they write them, and the websocket frame around a message."""

from __future__ import annotations

import numpy as np

from trading.candle_columns import Integers
from trading.candles import UNIT

__all__ = ["NOT_A_NUMBER", "decimal_text", "frame", "grain", "short_text"]

NOT_A_NUMBER = -(2**63)
"""Stands in a spoiled kline for what is written as NaN."""


def decimal_text(units: int) -> str:
    """Return units at 10**-8 with eight decimals, as Binance writes them."""
    if units < 0:
        return "NaN" if units == NOT_A_NUMBER else f"-{decimal_text(-units)}"
    return f"{units // UNIT}.{units % UNIT:08d}"


def short_text(units: int, least: int = 0) -> str:
    """Return units at 10**-8 without closing zeros, but with at least ``least`` decimals."""
    whole, _, decimals = decimal_text(units).partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals and units != NOT_A_NUMBER else whole


def grain(units: Integers) -> int:
    """The greatest power of ten, at most one whole, that divides every value; at 10**-8."""
    found = UNIT
    while found > 1 and bool(np.any(units % found)):
        found //= 10
    return found


def frame(text: str, *, binary: bool = False) -> bytes:
    """Return the unmasked RFC 6455 frame of a whole message, ready for the transport.

    Messages go to the transport many at a time: a call of a websocket library and a system call for each would cost ten
    times as much as everything else here.
    """
    payload = text.encode()
    kind = b"\x82" if binary else b"\x81"
    size = len(payload)
    if size < 126:
        return kind + bytes((size,)) + payload
    if size < 65_536:
        return kind + b"\x7e" + size.to_bytes(2, "big") + payload
    return kind + b"\x7f" + size.to_bytes(8, "big") + payload
