"""Stored series looked at with suspicion: candles that cannot be true, and their removal on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import numpy as np

from trading.candles import HoleReason
from trading.intervals import MINUTE, MINUTE_MS, WEEK_MS, Interval
from trading.sanitize import HIGHEST_SHARE, LOWEST_SHARE, Bounds
from trading.storage.accounting import account_minutes
from trading.storage.candles import lock_markets, span_sql
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["Suspect", "drop_candles", "find_suspects", "series_bounds"]

# What is not a number is greater than all numbers in SQL.
_INSANE = """not (low > 0 and high < 'infinity' and high >= greatest(open, close) and low <= least(open, close)
    and volume >= 0 and volume < 'infinity')"""


class Suspect(NamedTuple):
    """A stored candle and the rule that it breaks."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    source: str
    rule: str


async def series_bounds(connection: Connection, market: str, interval: Interval, min_price: float) -> Bounds:
    """The bounds of a series by the rules of ``trading.sanitize``."""
    number, least = await market_id(connection, market), max(min_price, 1e-300)
    fine = "from candles where market_id = $1 and interval = $2 and close >= $3 and close < 'infinity'"
    count = await connection.fetchval(f"select count(*) {fine}", number, interval.name, least)
    if count < 20:
        return Bounds(min_price, 0.0, float("inf"))
    row = await connection.fetchrow(
        "select percentile_disc($4::float8) within group (order by close),"
        f" percentile_disc(1 - $4::float8) within group (order by close) {fine}",
        number,
        interval.name,
        least,
        # Never the extremes themselves, however short the series.
        0.01 + 1.5 / count,
    )
    assert row is not None  # noqa: S101 - an aggregate always has one
    return Bounds(min_price, LOWEST_SHARE * row[0], HIGHEST_SHARE * row[1])


async def find_suspects(
    connection: Connection, market: str, interval: Interval, *, closed_by_ms: int, bounds: Bounds | None = None
) -> list[Suspect]:
    """Candles that are impossible, misplaced or not over, and with ``bounds`` those whose prices cannot be."""
    width_s = interval.typical_ms // 1000
    placed = (
        "open_time <> date_trunc('month', open_time, 'UTC')"
        if interval.width_ms is None
        else f"(ms(open_time) - {interval.offset_ms}) % {interval.width_ms} <> 0"
        f" or close_time <> open_time + interval '{width_s} seconds'"
    )
    limits = "or low < $4 or high > $5" if bounds is not None else ""
    arguments: list[float] = [max(bounds.min_price, bounds.low), bounds.high] if bounds is not None else []
    rows = await connection.fetch(
        f"""
        select ms(open_time) as open_ms, ms(close_time) as close_ms, open, high, low, close, volume, source,
            {_INSANE} as insane, {placed} as misplaced
        from candles where market_id = $1 and interval = $2
            and ({_INSANE} or {placed} or close_time > at_ms($3) {limits})
        order by open_time
        """,  # noqa: S608 - built from constants and a parsed interval
        await market_id(connection, market),
        interval.name,
        closed_by_ms,
        *arguments,
    )
    return [
        Suspect(
            row["open_ms"],
            row["open"],
            row["high"],
            row["low"],
            row["close"],
            row["volume"],
            row["source"],
            _rule(row, interval, closed_by_ms, bounds),
        )
        for row in rows
    ]


async def drop_candles(connection: Connection, market: str, interval: Interval, suspects: Sequence[Suspect]) -> int:
    """Take ``suspects`` out of the series, each noted with its values and its rule. Call it in a transaction.

    Their minutes are missing from then on: what stood there was wrong, and what is right nobody knows yet.
    """
    number = await market_id(connection, market)
    times = [suspect.open_time_ms for suspect in suspects]
    await lock_markets(connection, [number])
    await connection.execute(
        """
        insert into data_quality (market_id, interval, kind, reason, from_time, to_time, detail, resolved, resolution)
        select $1, $2, 'anomaly', 'repaired', c.open_time, c.close_time,
            jsonb_build_object('text', n.rule, 'old', jsonb_build_object('open', c.open, 'high', c.high, 'low', c.low,
                'close', c.close, 'volume', c.volume, 'source', c.source, 'revision', c.revision)), true, 'dropped'
        from unnest($3::bigint[], $4::text[]) n(open_ms, rule)
        join candles c on c.market_id = $1 and c.interval = $2 and c.open_time = at_ms(n.open_ms)
        """,
        number,
        interval.name,
        times,
        [suspect.rule for suspect in suspects],
    )
    dropped = 0
    for first_ms, last_ms in _weeks(times):
        within = span_sql("c", number, interval.name, first_ms, last_ms)
        status = await connection.execute(
            f"delete from candles c where {within} and open_time in (select at_ms(t) from unnest($1::bigint[]) t)",  # noqa: S608
            times,
        )
        dropped += int(status.rsplit(" ", 1)[1])
    if interval == MINUTE:
        nothing = np.zeros(0, np.int64)
        for time_ms in times:
            start_ms = time_ms // MINUTE_MS * MINUTE_MS
            await account_minutes(
                connection,
                market,
                nothing,
                start_ms,
                start_ms + MINUTE_MS,
                reason=HoleReason.MISSING.value,
                detail="dropped by a repair",
            )
    return dropped


def _weeks(times: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of the times of each week that has any: a statement for years of them would unpack the years."""
    weeks: dict[int, list[int]] = {}
    for time_ms in times:
        weeks.setdefault(time_ms // WEEK_MS, []).append(time_ms)
    return [(min(week), max(week)) for week in weeks.values()]


def _rule(row: asyncpg.Record, interval: Interval, closed_by_ms: int, bounds: Bounds | None) -> str:
    if row["insane"]:
        return "is impossible: high and low do not contain open and close, or a number is not above zero"
    if row["misplaced"]:
        return f"does not lie where a candle of {interval} does"
    if row["close_ms"] > closed_by_ms:
        return "is not over"
    return (bounds.rule(row["low"], row["high"]) if bounds is not None else None) or "is suspect"
