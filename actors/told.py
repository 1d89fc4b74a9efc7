"""What actors tell the outside about candles and holes: the payloads of events and of the forming candle."""

from __future__ import annotations

from typing import Any

from trading.candles import UNIT, Candle, Hole
from trading.events import Event, EventKind

__all__ = ["candle_event", "candle_payload", "hole_event"]


def candle_payload(candle: Candle) -> dict[str, Any]:
    """A candle as the outside sees it: prices and sizes as numbers."""
    return {
        "market": candle.market,
        "interval": candle.interval,
        "open_time": candle.open_time_ms,
        "close_time": candle.close_time_ms,
        "open": candle.open / UNIT,
        "high": candle.high / UNIT,
        "low": candle.low / UNIT,
        "close": candle.close / UNIT,
        "volume": candle.volume / UNIT,
    }


def candle_event(candle: Candle) -> Event:
    return Event(
        kind=EventKind.CANDLE,
        event_time_ms=candle.close_time_ms,
        stream=candle.market,
        payload={
            **candle_payload(candle),
            "source": candle.source,
            "complete": candle.complete,
            "revision": candle.revision,
        },
        received_ns=candle.received_ns,
    )


def hole_event(hole: Hole) -> Event:
    return Event(
        kind=EventKind.HOLE,
        event_time_ms=hole.to_ms,
        stream=hole.market,
        payload={"market": hole.market, "from": hole.from_ms, "to": hole.to_ms, "reason": hole.reason},
    )
