"""What is told about price gaps: the lines of a message, and the events that carry them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trading.candles import from_units
from trading.events import Event, EventKind

if TYPE_CHECKING:
    from trading.storage.price_gaps import StoredGap

__all__ = ["closed_event", "found_event", "list_event", "moment", "monitor_event", "price", "touched_event"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MOST_LINES = 20


def price(units: int) -> str:
    """At least two decimals, at most the eight there are: ``88306.00``, ``0.00001234``."""
    whole, _, fraction = f"{from_units(units):f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def moment(time_ms: int, timezone: str) -> str:
    """``21DEC25 - 13:00:00 UTC (14:00:00 CET)``; the second clock only when ``timezone`` is another and is known."""
    at = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)
    text = f"{at:%d}{_MONTHS[at.month - 1]}{at:%y} - {at:%H:%M:%S} UTC"
    if timezone == "UTC":
        return text
    from zoneinfo import ZoneInfo

    try:
        there = at.astimezone(ZoneInfo(timezone))
    except (KeyError, ValueError, OSError):
        return text
    return f"{text} ({there:%H:%M:%S %Z})"


def found_event(gap: StoredGap, timezone: str) -> Event:
    """At the close of the third candle."""
    zone = f"{price(gap.low)} - {price(gap.high)}"
    text = f"Gap found {gap.id} {gap.interval} {gap.type} {zone} @{moment(gap.start_ms, timezone)}"
    return _event(gap, "found", text, gap.found_ms)


def closed_event(gap: StoredGap, closed_by_ms: int) -> Event:
    """At ``closed_by_ms``, the close of the candle that filled it."""
    if gap.close_price is None:
        raise ValueError(f"{gap.id} is not filled")
    text = f"Gap closed {gap.id} {gap.interval} {gap.type} gap filled at {price(gap.close_price)}"
    return _event(gap, "closed", text, closed_by_ms)


def touched_event(gap: StoredGap, touched_by_ms: int) -> Event:
    """For those who follow the events; it is no message."""
    return _event(gap, "touched", f"Gap touched {gap.id} {gap.interval} {gap.type}", touched_by_ms)


def list_event(market: str, interval: str, mode: str, gaps: Sequence[StoredGap], bars: int, at_ms: int, timezone: str
) -> Event:  # fmt: skip
    """The gaps of the last ``bars`` candles before ``at_ms``; there is none for no gaps."""
    lines = [
        [moment(gap.start_ms, timezone), f"{gap.type.upper()} {price(gap.low)} - {price(gap.high)} ({gap.id})"]
        for gap in gaps[-_MOST_LINES:]
    ]
    payload = {
        "what": "list",
        "text": f"{len(gaps)} gap{'s' if len(gaps) != 1 else ''} in the last {bars} bars for {interval}:",
        "lines": lines,
        "market": market,
        "interval": interval,
        "mode": mode,
        "ids": [gap.id for gap in gaps],
    }
    return Event(EventKind.GAP, at_ms, market, payload, f"gap:list:{market}:{interval}:{mode}:{at_ms}")


def monitor_event(state: str, session_id: str, at_ms: int) -> Event:
    """The watch began (``started``) or ends (``stopped``)."""
    payload = {"what": state, "text": f"Bitcoin gap monitor {state}"}
    return Event(EventKind.GAP, at_ms, "system", payload, f"gap:{state}:{session_id}")


def _event(gap: StoredGap, what: str, text: str, at_ms: int) -> Event:
    payload: dict[str, Any] = {
        "what": what,
        "text": text,
        "id": gap.id,
        "market": gap.market,
        "interval": gap.interval,
        "mode": gap.mode,
        "source": f"candles of {gap.source_interval}" if gap.source_interval != gap.interval else "",
        "type": gap.type,
        "low": price(gap.low),
        "high": price(gap.high),
        "status": gap.status,
        "start_time_ms": gap.start_ms,
        "touched_time_ms": gap.touched_ms,
        "closed_time_ms": gap.closed_ms,
        "close_price": None if gap.close_price is None else price(gap.close_price),
    }
    return Event(EventKind.GAP, at_ms, gap.market, payload, f"gap:{gap.id}:{what}")
