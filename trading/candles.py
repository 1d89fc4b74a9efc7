"""Candles and holes: the only facts that strategies ever see.

Prices and sizes are integers at 10**-8 (``UNIT``); the float of one is ``n / 1e8``, which equals the parsed decimal.
Sums of integers are exact in any order, which is what makes live, SQL and batch results equal to the last bit.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trading.errors import BadInput

__all__ = ["UNIT", "Candle", "Hole", "HoleReason", "Source", "check_candle", "from_units", "to_units"]

UNIT = 100_000_000
_SCALE = 8


class Source(StrEnum):
    """Where a candle came from."""

    LIVE = "live"
    REST = "rest"
    IMPORT = "import"
    DERIVED = "derived"
    NATIVE = "native"


class HoleReason(StrEnum):
    """Why minutes have no candle: ABSENT is proven to be nothing at the venue, MISSING is unknown to us."""

    ABSENT = "absent"
    MISSING = "missing"


class Candle(NamedTuple):
    """One closed OHLCV candle. A tuple, because thousands a second cross process borders.

    ``open_time_ms`` is inclusive and ``close_time_ms`` exclusive, UTC. ``open`` … ``volume``, ``quote_volume`` and
    ``taker_buy_volume`` are integers at 10**-8. ``complete`` is False when one of its minutes is *missing*.
    ``received_ns`` is the host time (``time.time_ns``) at which the closing message arrived, 0 when unknown; it is no
    part of the market fact and takes part in no comparison of results. ``origin`` is ``venue:symbol`` of the market
    that lent the candle, or minutes of it, when its own venue could not give them; several are joined with commas.
    """

    market: str
    interval: str
    open_time_ms: int
    close_time_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int | None = None
    trade_count: int | None = None
    taker_buy_volume: int | None = None
    source: str = Source.LIVE
    revision: int = 0
    complete: bool = True
    received_ns: int = 0
    origin: str | None = None


class Hole(NamedTuple):
    """A run of minutes without candles: ``from_ms`` inclusive, ``to_ms`` exclusive, both minute-aligned."""

    market: str
    from_ms: int
    to_ms: int
    reason: str
    detail: str = ""


def to_units(text: str | int | float | Decimal, field: str = "price") -> int:
    """Return ``text`` as an integer at 10**-8; raise BadInput that names ``field`` if it is finer, or no number."""
    plain = text if isinstance(text, str) else repr(text) if isinstance(text, float) else str(text)
    whole, dot, fraction = plain.partition(".")
    if whole.isdigit() and (not dot or fraction.isdigit()) and plain.isascii():
        fraction = fraction.rstrip("0") if len(fraction) > _SCALE else fraction
        if len(fraction) <= _SCALE:
            return int(whole) * UNIT + (int(fraction.ljust(_SCALE, "0")) if fraction else 0)
    return _to_units_slow(plain, field)


def _to_units_slow(plain: str, field: str) -> int:
    try:
        scaled = Decimal(plain).scaleb(_SCALE)
        units = int(scaled)
    except (ArithmeticError, ValueError) as error:
        raise BadInput(
            f"{field} {plain!r} is not a number.", field=field, value=plain, fix="Give a decimal."
        ) from error
    if units != scaled:
        raise BadInput(
            f"{field} {plain!r} is finer than eight decimals.",
            field=field,
            value=plain,
            fix="Round it to eight decimals at its source.",
        )
    return units


def from_units(units: int) -> Decimal:
    """Return the exact decimal of an integer at 10**-8."""
    return Decimal(units).scaleb(-_SCALE)


def check_candle(candle: Candle) -> str | None:
    """Return what is insane about ``candle``, or None.

    A sane candle is minute-aligned, has positive prices, low <= open, close <= high and no negative volume.
    """
    if candle.open_time_ms % 60_000 or candle.close_time_ms <= candle.open_time_ms:
        return f"times {candle.open_time_ms}..{candle.close_time_ms} are not aligned to minutes"
    if candle.low <= 0:
        return f"low {from_units(candle.low)} is not positive"
    if not candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high:
        return "high and low do not contain open and close"
    if candle.volume < 0:
        return f"volume {from_units(candle.volume)} is negative"
    return None
