"""Markets: a venue and a symbol, with the rounding rules that orders must obey."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

from trading.errors import BadInput

__all__ = ["VENUES", "Market", "split_market"]

VENUES = ("binance", "binance_usdm", "hyperliquid", "pionex")
"""Venues that Manta has a connection to. Any other name can hold imported candles."""

_SHAPE = re.compile(r"([a-z][a-z0-9_]*):([A-Za-z0-9@][A-Za-z0-9_/.-]{0,63})")


@dataclass(frozen=True, slots=True)
class Market:
    """One market as its venue describes it. ``key`` is ``venue:symbol`` everywhere in Manta.

    ``lot_size`` is the step of a market order's quantity in base units, ``tick_size`` the price step in quote units,
    ``min_notional`` the least order value in quote units (0 when the venue names none). ``warning`` is what a user must
    know about how the name was understood; it is no part of the market.
    """

    venue: str
    symbol: str
    kind: str
    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    tick_size: Decimal
    lot_size: Decimal
    min_notional: Decimal
    warning: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        return f"{self.venue}:{self.symbol}"


def split_market(text: str) -> tuple[str, str]:
    """Return (venue, symbol) of ``venue:symbol``; raise BadInput that names the fix."""
    match = _SHAPE.fullmatch(text)
    if not match:
        raise BadInput(
            f"Market {text!r} is not venue:symbol.",
            field="market",
            value=text,
            fix="Write it like binance:BTCUSDT.",
        )
    return match[1], match[2]
