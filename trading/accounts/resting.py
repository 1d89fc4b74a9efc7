"""Entries that rest: what price and how long the configuration gives them, and what keeps or cancels one that waits."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from trading.accounts.broker import EXPIRED
from trading.accounts.decisions import Action
from trading.accounts.legs import Leg
from trading.accounts.records import Order
from trading.accounts.sleeve import Cause
from trading.config.rules import Entries
from trading.events import Signal, SignalStatus, Target
from trading.intervals import parse_interval

__all__ = ["AT_OPEN", "RESTS", "WITHDRAWN", "Terms", "terms_of", "verdict"]

RESTS = "its entry order rests"
"""The reason of a decision that opens nothing because the order of an earlier one still waits for its price."""

WITHDRAWN = "its target changed"
"""The reason of an entry order that was canceled because the strategy wants something else now."""

_BPS = Decimal(10_000)


class Terms(NamedTuple):
    """The ``type`` of an entry order; the price at which it rests, and the time from which it does so no longer."""

    type: str
    price: Decimal | None
    expires_ms: int | None


AT_OPEN = Terms("MARKET", None, None)


def terms_of(entries: Entries, interval: str, tick: Decimal, action: Action, cause: Cause) -> Terms:
    """How the leg ``action`` of the decision made on ``cause`` enters.

    A limit stands ``offset_bps`` on the favourable side of the close, a stop on the other. Both are rounded to the
    ``tick`` away from the close.
    """
    if entries.order_type == "market":
        return AT_OPEN
    below = (entries.order_type == "limit") == (action.side == "BUY")
    away = cause.price * entries.offset_bps / _BPS
    exact = cause.price - away if below else cause.price + away
    ticks = (exact / tick).to_integral_value(ROUND_FLOOR if below else ROUND_CEILING)
    expires_ms = cause.close_ms + entries.expires_candles * parse_interval(interval).typical_ms
    return Terms(entries.order_type.upper(), max(ticks, Decimal(1)) * tick, expires_ms)


def verdict(order: Order, leg: Leg | None, signal: Signal, legs: Iterable[Leg], refusal: str) -> str:
    """Why ``signal`` cancels ``order``, which rests to do ``leg``; empty if it goes on waiting.

    ``legs`` are those that lead to the signal's target from what is held, ``refusal`` why any was left out.
    """
    if signal.status != SignalStatus.READY or signal.target == Target.HOLD:
        return ""
    if order.expires_ms is not None and order.expires_ms <= signal.close_time_ms:
        return EXPIRED
    return "" if any(leg == other for other in legs) else refusal or WITHDRAWN
