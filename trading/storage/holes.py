"""Where a stored series has no candles, found in the series itself, with what is known about the reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trading.candles import Hole, HoleReason
from trading.intervals import MINUTE, parse_interval
from trading.spans import Span
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.quality import holes_between
from trading.storage.series import bars_between

__all__ = ["SeriesHole", "scan_holes"]

_SCAN = """
select ms(ended), ms(open_time) from (
    select open_time, lag(close_time) over (order by open_time) as ended from candles
    where market_id = $1 and interval = $2 and open_time >= at_ms($3) and open_time <= at_ms($4)
) steps
where open_time > ended order by open_time
"""
_BOUNDS = """
select ms(coalesce(
        (select max(open_time) from candles where market_id = $1 and interval = $2 and open_time <= at_ms($3)),
        min(open_time))),
    ms(coalesce(
        (select min(open_time) from candles where market_id = $1 and interval = $2 and open_time >= at_ms($4)),
        max(open_time)))
from candles where market_id = $1 and interval = $2
"""


class SeriesHole(NamedTuple):
    """Bars without candles between others; ``to_ms`` is the next present open, or where the reason changes."""

    from_ms: int
    to_ms: int
    missing: int
    reason: str


async def scan_holes(
    connection: Connection, market: str, interval: str, *, from_ms: int | None = None, to_ms: int | None = None
) -> list[SeriesHole]:
    """The holes of a series that touch [``from_ms``, ``to_ms``), whole, ascending.

    A hole of 1m candles has the reason that is stored with its minutes; one that nobody has told is missing. A longer
    bar is missing when one of its minutes is, and else absent: the venue has later ones and not this one.
    """
    number = await market_id(connection, market)
    width = parse_interval(interval)
    start = from_ms if from_ms is not None else 0
    end = to_ms if to_ms is not None else 2**42
    low, high = await connection.fetchrow(_BOUNDS, number, width.name, start, end) or (None, None)
    if low is None or high is None:
        return []
    rows = await connection.fetch(_SCAN, number, width.name, low, high)
    spans: list[Span] = [(row[0], row[1]) for row in rows if row[1] > start and row[0] < end]
    if not spans:
        return []
    told = await holes_between(connection, market, spans[0][0], spans[-1][1])
    pieces = _by_reason(spans, told) if width == MINUTE else _by_minutes(spans, told)
    return [SeriesHole(a, b, bars_between(width, a, b), reason) for a, b, reason in pieces]


def _by_reason(spans: Iterable[Span], told: Iterable[Hole]) -> list[tuple[int, int, str]]:
    """Each span cut where its reason changes; both ascending."""
    pieces: list[tuple[int, int, str]] = []
    holes = iter(told)
    hole = next(holes, None)
    for start, end in spans:
        at = start
        parts: list[tuple[int, int, str]] = []
        while hole is not None and hole.from_ms < end:
            if hole.to_ms > at:
                if hole.from_ms > at:
                    parts.append((at, hole.from_ms, HoleReason.MISSING.value))
                parts.append((max(at, hole.from_ms), min(end, hole.to_ms), hole.reason))
                at = parts[-1][1]
            if hole.to_ms > end:
                break
            hole = next(holes, None)
        if at < end:
            parts.append((at, end, HoleReason.MISSING.value))
        pieces += _merged(parts)
    return pieces


def _by_minutes(spans: Iterable[Span], told: Iterable[Hole]) -> list[tuple[int, int, str]]:
    unknown = [(hole.from_ms, hole.to_ms) for hole in told if hole.reason != HoleReason.ABSENT.value]
    pieces = []
    for start, end in spans:
        missing = any(a < end and b > start for a, b in unknown)
        pieces.append((start, end, (HoleReason.MISSING if missing else HoleReason.ABSENT).value))
    return pieces


def _merged(parts: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str]] = []
    for part in parts:
        if merged and merged[-1][1:] == (part[0], part[2]):
            merged[-1] = (merged[-1][0], part[1], part[2])
        else:
            merged.append(part)
    return merged
