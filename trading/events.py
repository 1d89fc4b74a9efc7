"""What travels: stream items between actors, and the event envelope that tells the outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from trading.candles import Candle, Hole
from trading.clock import TimeSample
from trading.plan import NO_PLAN, Plan

__all__ = [
    "Batch",
    "Event",
    "EventKind",
    "Heal",
    "Rebuild",
    "Signal",
    "SignalStatus",
    "StreamItem",
    "Target",
    "end_ms",
    "start_ms",
]


class Target(StrEnum):
    """What a strategy instance wants to hold. HOLD means: whatever is held now."""

    LONG = "LONG"
    FLAT = "FLAT"
    SHORT = "SHORT"
    HOLD = "HOLD"


class SignalStatus(StrEnum):
    """READY: the rule ran. WARMING: too few candles yet. HOLE: a missing minute froze the instance until it is
    rebuilt.
    """

    READY = "ready"
    WARMING = "warming"
    HOLE = "hole"


class Signal(NamedTuple):
    """An instance's target at the close of one candle, with every number it saw.

    ``features`` maps feature name to value (None before warm-up). ``price`` is the candle's close at 10**-8. ``plan``
    is what the strategy wants beside the target; a HOLD before warm-up or in a hole has none.
    """

    instance_id: str
    market: str
    interval: str
    open_time_ms: int
    close_time_ms: int
    target: str
    confidence: float
    status: str
    warm_have: int
    warm_need: int
    price: int
    features: dict[str, float | None]
    candle_revision: int = 0
    received_ns: int = 0
    plan: Plan = NO_PLAN


class Heal(NamedTuple):
    """Minutes that were *missing* are known now: ``candles`` where the venue had them, ``absent`` where it had none.

    With ``why``, a minute that is stored with other values becomes the one told here, for that reason: a repair.
    """

    market: str
    from_ms: int
    to_ms: int
    candles: tuple[Candle, ...]
    absent: tuple[Hole, ...]
    why: str = ""


class Rebuild(NamedTuple):
    """Candles at or after ``from_ms`` changed after they were used: reload features from storage."""

    market: str
    from_ms: int


StreamItem = Candle | Hole | Heal | Rebuild | Signal


def end_ms(item: Candle | Hole | Signal) -> int:
    """The close time up to which ``item`` tells."""
    return item.to_ms if isinstance(item, Hole) else item.close_time_ms


def start_ms(item: Candle | Hole) -> int:
    """The open time from which ``item`` tells."""
    return item.from_ms if isinstance(item, Hole) else item.open_time_ms


class Batch(NamedTuple):
    """One push on an edge, for one market.

    ``prev_ms`` is the sender's watermark before ``items`` and ``upto_ms`` after them: the close time up to which
    every minute is told. A receiver whose own watermark is below ``prev_ms`` missed something and pulls it from
    storage first; items at or below its watermark are repeats and are skipped.
    """

    market: str
    prev_ms: int
    upto_ms: int
    items: tuple[StreamItem, ...]
    clock: TimeSample | None = None


class EventKind(StrEnum):
    """Kinds of the event envelope, as in table ``events``, the outbox and the WebSocket."""

    CANDLE = "candle"
    SIGNAL = "signal"
    DECISION = "decision"
    ORDER = "order"
    FILL = "fill"
    FEED_DOWN = "feed_down"
    FEED_UP = "feed_up"
    STALE = "stale"
    FRESH = "fresh"
    HOLE = "hole"
    ALERT = "alert"
    START = "start"
    STOP = "stop"
    BACKTEST = "backtest"
    PARITY = "parity"
    GAP = "gap"
    FORMING = "forming"


@dataclass(frozen=True, slots=True)
class Event:
    """The envelope. ``stream`` names the subject (``binance:BTCUSDT``, a book, ``system``); ``seq`` is given by
    storage.

    ``event_time_ms`` is when it happened at the venue, ``received_ns`` when this host learnt it, ``cause_id`` what
    led to it.
    """

    kind: str
    event_time_ms: int
    stream: str
    payload: dict[str, Any] = field(default_factory=dict)
    cause_id: str = ""
    received_ns: int = 0
    v: int = 1
    seq: int = 0
