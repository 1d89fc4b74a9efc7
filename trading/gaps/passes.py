"""One pass over stored candles: what became of the gaps of a market and interval since the cursor.

Reads only. What it finds is stored by ``trading.storage.price_gaps.store_changes`` together with the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trading.candles import Candle
from trading.config.model import Gaps
from trading.gaps.detector import GapMode, GapType, Seams
from trading.gaps.life import Change, GapBook
from trading.intervals import parse_interval
from trading.storage import price_gaps, quality
from trading.storage.candles import read_candles
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.price_gaps import Series

__all__ = ["Rules", "Step", "newest_closes", "next_step", "repaired_since", "rules_of", "series_of"]

_STEP = 2000


@dataclass(frozen=True, slots=True)
class Rules:
    """Which zones count. ``min_size`` is at 10**-8; ``only`` one direction, None for both."""

    min_size: int = 0
    only: GapType | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """``changes`` over the candles that close in (``from_ms``, ``upto_ms``]; ``more`` candles wait after them."""

    series: Series
    changes: tuple[Change, ...]
    candles: tuple[Candle, ...]
    from_ms: int
    upto_ms: int
    more: bool


def series_of(settings: Gaps, markets: Iterable[str]) -> list[Series]:
    """Everything that is watched."""
    wanted = settings.markets or tuple(markets)
    return [Series(market, name, GapMode(settings.mode)) for market in wanted for name in settings.intervals]


def rules_of(settings: Gaps) -> Rules:
    """The configured rules."""
    only = None if settings.type == "both" else GapType(settings.type)
    return Rules(int(settings.min_size.scaleb(8)), only)


async def next_step(
    connection: Connection,
    series: Series,
    rules: Rules,
    from_ms: int,
    *,
    to_ms: int | None = None,
    detect_from_ms: int | None = None,
    limit: int = _STEP,
) -> Step | None:
    """The next candles that open in [``from_ms``, ``to_ms``); None when there are none.

    With ``detect_from_ms`` gaps that start before it are not looked for.
    """
    found = await read_candles(
        connection, series.market, series.interval, from_ms=from_ms, to_ms=to_ms, limit=limit + 1
    )
    candles = found[:limit]
    if not candles:
        return None
    tail = await read_candles(connection, series.market, series.interval, to_ms=from_ms, limit=2, newest=True)
    first_ms = (tail or candles)[0].open_time_ms
    holes = await quality.holes_between(connection, series.market, first_ms, candles[-1].close_time_ms)
    book = GapBook(
        series.mode,
        min_size=rules.min_size,
        only=rules.only,
        tail=tail,
        live=await price_gaps.live_gaps(connection, series),
        known=await price_gaps.filled_keys(connection, series, first_ms),
        seams=Seams(holes),
        detect_from_ms=detect_from_ms,
    )
    changes = tuple(change for candle in candles for change in book.handle(candle))
    return Step(series, changes, tuple(candles), from_ms, candles[-1].close_time_ms, len(found) > limit)


async def repaired_since(connection: Connection, series: Series, since_ms: int) -> int | None:
    """The open time of the oldest candle that was healed or revised after ``since_ms`` by the database's clock."""
    oldest: int | None = await connection.fetchval(
        """
        select ms(least(
            (select min(open_time) from candle_revisions where market_id = $1 and interval = $2 and at > at_ms($3)),
            (select min(from_time) from data_quality
                where market_id = $1 and kind = 'hole' and resolution <> 'absent' and resolved_at > at_ms($3))))
        """,
        await market_id(connection, series.market),
        series.interval,
        since_ms,
    )
    return None if oldest is None else parse_interval(series.interval).open_of(oldest)


async def newest_closes(connection: Connection, watched: Sequence[Series]) -> dict[Series, int]:
    """The close of the newest candle of each series; those without a candle or market are left out."""
    rows = await connection.fetch(
        """
        select n.place, ms((select c.close_time from candles c
            where c.market_id = m.id and c.interval = n.interval order by c.open_time desc limit 1)) as close_ms
        from unnest($1::text[], $2::text[]) with ordinality as n(market, interval, place)
        join markets m on m.venue || ':' || m.symbol = n.market
        """,
        [series.market for series in watched],
        [series.interval for series in watched],
    )
    return {watched[row["place"] - 1]: row["close_ms"] for row in rows if row["close_ms"] is not None}
