"""The venue's own longer candles in table candles: stored only where minutes cannot tell (``trading.natives``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from trading.candles import UNIT, Candle, Source
from trading.natives import holds, lacking
from trading.storage.candles import first_open, read_candles, upsert_candles
from trading.storage.cursors import get_cursor
from trading.storage.database import Connection
from trading.storage.markets import market_id

__all__ = ["Lacking", "give_way", "lacking_natives", "read_all_natives", "read_natives", "store_natives"]

_PRICES = ("open", "high", "low", "close")
# The venue's own sums may round otherwise than ours.
_VOLUME_SHARE = 1e-6
_WHY = "minutes cover it"
_DIFFERS = """
insert into data_quality (market_id, interval, kind, reason, from_time, to_time, detail, resolved, resolution)
values ($1, $2, 'anomaly', 'native', at_ms($3), at_ms($4), $5, true, 'derived')
"""


class Lacking(NamedTuple):
    """``opens`` by interval: open times that only the venue can tell of. ``begins_ms``: where minutes begin."""

    opens: dict[str, list[int]]
    begins_ms: int


async def lacking_natives(
    connection: Connection, market: str, wanted: Mapping[str, int], *, closed_by_ms: int, begins_ms: int, start_ms: int
) -> Lacking:
    """What is needed from ``wanted`` on, by interval, and only the venue can tell; see ``trading.natives.lacking``.

    ``begins_ms`` is where minutes will begin; once some are recorded, where they do counts.
    """
    begins_ms = await first_open(connection, market, "1m") or begins_ms
    folded_ms = await get_cursor(connection, f"timeframe:{market}") or 0
    found = {}
    for interval, from_ms in wanted.items():
        rows = await read_candles(connection, market, interval, from_ms=from_ms, to_ms=closed_by_ms)
        known = {row.open_time_ms for row in rows if row.complete}
        span = from_ms, closed_by_ms
        opens = lacking(interval, known, span, begins_ms=begins_ms, start_ms=start_ms, folded_ms=folded_ms)
        if opens:
            found[interval] = opens
    return Lacking(found, begins_ms)


async def store_natives(connection: Connection, natives: Iterable[Candle]) -> int | None:
    """Store those of one market's ``natives`` that hold against what is stored; returns the first open time that is
    new, None when there is none. Call it in a transaction.
    """
    rows = list(natives)
    known = await _stored(connection, rows)
    stored: list[Candle] = []
    for native in rows:
        old = known.get(native[1:3])
        if old is None:
            stored.append(native)
        elif holds(native, old):
            stored.append(native._replace(revision=old.revision + 1))
    await upsert_candles(connection, stored, why="the venue's own")
    return min((candle.open_time_ms for candle in stored), default=None)


async def give_way(connection: Connection, derived: Sequence[Candle]) -> tuple[list[Candle], list[Candle]]:
    """Let one market's ``derived`` candles take the place of the venue's own: (those that did, those left to store).

    A complete one does, as the next revision; where its prices or volume differ, both go to ``data_quality`` as an
    anomaly ``native``. A partial one is left out: the venue knows better. Call it in a transaction.
    """
    natives = await _stored(connection, derived, Source.NATIVE)
    if not natives:
        return [], list(derived)
    number = await market_id(connection, derived[0].market)
    took: list[Candle] = []
    for candle in derived:
        native = natives.get(candle[1:3])
        if native is None or not candle.complete:
            continue
        took.append(candle._replace(revision=native.revision + 1))
        if _differ(candle, native):
            detail = {"native": _values(native), "derived": _values(candle)}
            await connection.execute(
                _DIFFERS, number, candle.interval, candle.open_time_ms, candle.close_time_ms, detail
            )
    await upsert_candles(connection, took, why=_WHY)
    return took, [candle for candle in derived if candle[1:3] not in natives]


async def read_natives(
    connection: Connection, market: str, interval: str, from_ms: int | None = None, to_ms: int | None = None
) -> list[Candle]:
    """The native candles of ``interval`` that open in [``from_ms``, ``to_ms``), ascending."""
    return await read_candles(connection, market, interval, from_ms=from_ms, to_ms=to_ms, source=Source.NATIVE)


async def read_all_natives(
    connection: Connection, market: str, from_ms: int | None = None, to_ms: int | None = None
) -> list[Candle]:
    """The native candles of every interval that open in [``from_ms``, ``to_ms``), by interval ascending."""
    rows = await connection.fetch(
        "select distinct interval from candles where market_id = $1 and source = 'native'",
        await market_id(connection, market),
    )
    found: list[Candle] = []
    for row in rows:
        found += await read_natives(connection, market, row["interval"], from_ms, to_ms)
    return found


async def _stored(
    connection: Connection, candles: Sequence[Candle], source: str | None = None
) -> dict[tuple[Any, ...], Candle]:
    """What is stored, of ``source``, for the time of ``candles``, by interval and open time."""
    found: dict[tuple[Any, ...], Candle] = {}
    for interval in {candle.interval for candle in candles}:
        opens = [candle.open_time_ms for candle in candles if candle.interval == interval]
        rows = await read_candles(
            connection, candles[0].market, interval, from_ms=min(opens), to_ms=max(opens) + 1, source=source
        )
        found |= {row[1:3]: row for row in rows}
    return found


def _differ(derived: Candle, native: Candle) -> bool:
    prices = any(getattr(derived, name) != getattr(native, name) for name in _PRICES)
    return prices or abs(derived.volume - native.volume) > _VOLUME_SHARE * max(derived.volume, native.volume)


def _values(candle: Candle) -> dict[str, float]:
    return {name: getattr(candle, name) / UNIT for name in (*_PRICES, "volume")}
