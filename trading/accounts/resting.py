"""Entries that rest: what price and how long they are given, and what keeps or cancels one that waits."""

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


def terms_of(
    entries: Entries, interval: str, tick: Decimal, action: Action, cause: Cause, own: float | None = None
) -> Terms:
    """How the leg ``action`` of the decision made on ``cause`` enters; ``own`` is the strategy's price, None for none.

    A configured limit stands ``offset_bps`` on the favourable side of the close, a stop on the other. The strategy's
    price is a limit on the favourable side of the close, or at it, and a stop beyond it. Prices are rounded to the
    ``tick`` away from the close.
    """
    buys = action.side == "BUY"
    if entries.order_type != "market":
        kind = entries.order_type.upper()
        below = (kind == "LIMIT") == buys
        away = cause.price * entries.offset_bps / _BPS
        exact = cause.price - away if below else cause.price + away
    elif own is not None:
        exact = Decimal(str(own))
        below = exact <= cause.price if buys else exact < cause.price
        kind = "LIMIT" if below == buys else "STOP"
    else:
        return AT_OPEN
    ticks = (exact / tick).to_integral_value(ROUND_FLOOR if below else ROUND_CEILING)
    expires_ms = cause.close_ms + entries.expires_candles * parse_interval(interval).typical_ms
    return Terms(kind, max(ticks, Decimal(1)) * tick, expires_ms)


def verdict(order: Order, leg: Leg | None, signal: Signal, legs: Iterable[Leg], refusal: str) -> str:
    """Why ``signal`` cancels ``order``, which rests to do ``leg``; empty if it goes on waiting.

    ``legs`` are those that lead to the signal's target from what is held, ``refusal`` why any was left out.
    """
    if signal.status != SignalStatus.READY or signal.target == Target.HOLD:
        return ""
    if order.expires_ms is not None and order.expires_ms <= signal.close_time_ms:
        return EXPIRED
    return "" if any(leg == other for other in legs) else refusal or WITHDRAWN
