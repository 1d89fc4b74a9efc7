"""When a session begins: each day, each week, or each day at a time, in a named zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from trading.intervals import DAY_MS, HOUR_MS
from trading.parameters import Words

__all__ = ["SESSION", "ZONE", "longest_ms", "session_bounds"]

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _read_session(text: str) -> str:
    if text not in ("day", "week") and not _TIME.fullmatch(text):
        raise ValueError(text)
    return text


def _read_zone(text: str) -> str:
    try:
        _zone(text)
    except (OSError, LookupError) as error:
        raise ValueError(text) from error
    return text


@cache
def _zone(name: str) -> tzinfo:
    # A machine without the tables of time zones still knows UTC.
    return UTC if name == "UTC" else ZoneInfo(name)


SESSION = Words("day, week (from Monday) or a time of day such as 09:30", _read_session)
ZONE = Words("UTC or a time zone such as America/New_York", _read_zone)


def longest_ms(session: str) -> int:
    """The longest that a session lasts: an hour is added for clocks that are put back."""
    return (7 if session == "week" else 1) * DAY_MS + HOUR_MS


def session_bounds(session: str, zone: str) -> Callable[[int], tuple[int, int]]:
    """A function that tells the start and the exclusive end, epoch ms, of the session that holds a time."""
    where = _zone(zone)
    at = time.fromisoformat(session) if _TIME.fullmatch(session) else time()
    days = 7 if session == "week" else 1

    def moment(day: datetime) -> int:
        return int(datetime.combine(day.date(), at, where).timestamp()) * 1000

    def bounds(time_ms: int) -> tuple[int, int]:
        day = datetime.fromtimestamp(time_ms / 1000, where)
        if days == 7:
            day -= timedelta(days=day.weekday())
        if moment(day) > time_ms:
            day -= timedelta(days=days)
        return moment(day), moment(day + timedelta(days=days))

    return bounds
