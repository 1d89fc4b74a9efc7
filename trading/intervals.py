"""Candle intervals: names, aliases, and the one anchor that every aggregation shares.

Minute, hour and day intervals open at ``floor(epoch_ms / width) * width``; ``1w`` opens Monday 00:00 UTC;
``1M`` is the UTC calendar month. All times are UTC epoch milliseconds; closes are exclusive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from trading.errors import BadInput

__all__ = [
    "CANONICAL", "DAY_MS", "HOUR_MS", "MINUTE", "MINUTE_MS", "WEEK_MS", "Interval", "iso", "longer_interval",
    "parse_interval",
]  # fmt: skip

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS

CANONICAL = (
    "1m", "3m", "5m", "15m", "30m", "37m", "1h", "2h", "4h", "8h", "12h", "148m", "1d", "3d", "1w", "1M",
)  # fmt: skip

_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_ALIASES = {"60M": "1h", "4H": "4h", "1D": "1d", "daily": "1d"}
_SHAPE = re.compile(r"([1-9][0-9]{0,5})([mhd])")
# 1970-01-01 was a Thursday: the first Monday lies four days later.
_MONDAY_OFFSET_MS = 4 * DAY_MS
_LONGEST_MS = 366 * DAY_MS


@dataclass(frozen=True, slots=True)
class Interval:
    """One candle width. ``width_ms`` is None only for ``1M``, whose months differ in length."""

    name: str
    width_ms: int | None
    offset_ms: int = 0

    def open_of(self, time_ms: int) -> int:
        """Open time of the candle that holds ``time_ms``."""
        if self.width_ms is None:
            moment = datetime.fromtimestamp(time_ms / 1000, UTC)
            return _month_ms(moment.year, moment.month)
        return (time_ms - self.offset_ms) // self.width_ms * self.width_ms + self.offset_ms

    def close_of(self, open_ms: int) -> int:
        """Exclusive close time of the candle that opens at ``open_ms``."""
        if self.width_ms is None:
            moment = datetime.fromtimestamp(open_ms / 1000, UTC)
            month = moment.year * 12 + moment.month
            return _month_ms(month // 12, month % 12 + 1)
        return open_ms + self.width_ms

    @property
    def typical_ms(self) -> int:
        """The width, or the longest month for ``1M``: for ordering and for how much history to ask for."""
        return self.width_ms if self.width_ms is not None else 31 * DAY_MS

    def __str__(self) -> str:
        return self.name


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


@lru_cache(maxsize=512)
def parse_interval(text: str) -> Interval:
    """Return the interval named ``text``; raise BadInput that names the fix.

    Widths are brought to their shortest name (``60m`` is ``1h``, ``1440m`` is ``1d``). ``7d`` is not ``1w``: it is
    counted from the epoch, not from Monday.
    """
    name = _ALIASES.get(text, text)
    if name == "1w":
        return Interval("1w", WEEK_MS, _MONDAY_OFFSET_MS)
    if name == "1M":
        return Interval("1M", None)
    match = _SHAPE.fullmatch(name)
    width_ms = int(match[1]) * _UNIT_MS[match[2]] if match else 0
    if not match or width_ms > _LONGEST_MS:
        raise BadInput(
            f"Interval {text!r} is not known.",
            field="interval",
            value=text,
            fix="Use whole minutes, hours or days up to 366d, such as 37m, 4h or 1d, or 1w, or 1M (a month).",
        )
    for unit in ("d", "h", "m"):
        if width_ms % _UNIT_MS[unit] == 0:
            return Interval(f"{width_ms // _UNIT_MS[unit]}{unit}", width_ms)
    raise AssertionError(name)


def iso(time_ms: int) -> str:
    """``time_ms`` as a person writes it and as every command reads it: 2025-07-16T12:00Z, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


def longer_interval(name: str, times: int) -> str:
    """The shortest of the ``CANONICAL`` intervals that is at least ``times`` as long as ``name``; BadInput if none is.

    Five times 1m is 5m, five times 5m is 30m: charts and venues have no candle of 25 minutes.
    """
    least_ms = parse_interval(name).typical_ms * times
    long_enough = [item for item in map(parse_interval, CANONICAL) if item.typical_ms >= least_ms]
    if long_enough:
        return min(long_enough, key=lambda item: item.typical_ms).name
    raise BadInput(
        f"No interval is {times} times as long as {name}: the longest is {CANONICAL[-1]}.",
        field="interval",
        value=name,
        fix="Choose a shorter interval, or a smaller multiple.",
    )


MINUTE = parse_interval("1m")
