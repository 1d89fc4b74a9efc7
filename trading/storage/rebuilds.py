"""Table rebuilds: stored feature values whose candles changed, and making them anew as the brain would have.

Whoever changes minutes or derived candles that were used notes the span in the same transaction; the market's brain
works the notes off, a bounded step at a time, so that no candle waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import FeatureSpec
from trading.features.registry import load_feature
from trading.intervals import MINUTE_MS, parse_interval
from trading.storage.candles import read_candles
from trading.storage.database import Connection
from trading.storage.markets import market_id
from trading.storage.quality import holes_between
from trading.storage.records import insert_features

__all__ = ["Changed", "Step", "note_rebuild", "pending_rebuilds", "rebuild_step"]

_STEP_MS = 5_000 * MINUTE_MS
_ABSENT: Final = object()


class Changed(NamedTuple):
    """A stored value that is another one now; None is a value that was not there, or still warming."""

    interval: str
    name: str
    open_time_ms: int
    old: float | None
    new: float | None


class Step(NamedTuple):
    """What one step did, and whether there is more to do."""

    changed: tuple[Changed, ...]
    more: bool


async def note_rebuild(connection: Connection, market: str, from_ms: int, to_ms: int, why: str) -> None:
    """Have the stored features of candles over [``from_ms``, ``to_ms``), and of those that follow, made anew."""
    await connection.execute(
        "insert into rebuilds (market_id, from_time, to_time, why) values ($1, at_ms($2), at_ms($3), $4)",
        await market_id(connection, market),
        from_ms,
        to_ms,
        why,
    )


async def pending_rebuilds(connection: Connection, market: str, *, older_than_s: float = 0.0) -> list[tuple[int, int]]:
    """[from, to) of the notes that are not worked off, oldest first."""
    rows = await connection.fetch(
        "select ms(from_time), ms(to_time) from rebuilds where market_id = $1"
        " and noted_at <= clock_timestamp() - $2 * interval '1 second' order by id",
        await market_id(connection, market),
        older_than_s,
    )
    return [(row[0], row[1]) for row in rows]


async def rebuild_step(connection: Connection, market: str, specs: Sequence[FeatureSpec], upto_ms: int) -> Step | None:
    """Work off the oldest note of ``market``, at most some days of it; None when there is none.

    Values change from the first candle over the span to as many candles behind it as a feature remembers, and no
    further than candles that closed by ``upto_ms``, up to which the brain has come.
    """
    number = await market_id(connection, market)
    row = await connection.fetchrow(
        "select id, ms(from_time) as from_ms, ms(to_time) as to_ms from rebuilds where market_id = $1"
        " order by id limit 1 for update",
        number,
    )
    if row is None:
        return None
    cut_ms = min(row["to_ms"], row["from_ms"] + _STEP_MS)
    last = cut_ms >= min(row["to_ms"], upto_ms)
    changed: list[Changed] = []
    for interval in sorted({name for spec in specs for name in spec.intervals}):
        own = [spec.model_copy(update={"intervals": (interval,)}) for spec in specs if interval in spec.intervals]
        changed += await _rebuild(connection, market, interval, own, (row["from_ms"], cut_ms, upto_ms), tail=last)
    if last:
        await connection.execute("delete from rebuilds where id = $1", row["id"])
    else:
        await connection.execute("update rebuilds set from_time = at_ms($2) where id = $1", row["id"], cut_ms)
    more = await connection.fetchval("select exists (select from rebuilds where market_id = $1)", number)
    return Step(tuple(changed), more)


async def _rebuild(
    connection: Connection,
    market: str,
    interval: str,
    specs: Sequence[FeatureSpec],
    span: tuple[int, int, int],
    *,
    tail: bool,
) -> list[Changed]:
    from_ms, to_ms, upto_ms = span
    history = max(
        load_feature(spec.kind, spec.params).history_of(parse_interval(interval).typical_ms) for spec in specs
    )
    begin = parse_interval(interval).open_of(from_ms)
    over = await read_candles(connection, market, interval, from_ms=begin, to_ms=to_ms)
    if tail:
        over += await read_candles(connection, market, interval, from_ms=to_ms, limit=history)
    over = [candle for candle in over if candle.close_time_ms <= upto_ms]
    if not over:
        return []
    warm = await read_candles(connection, market, interval, to_ms=begin, limit=history, newest=True)
    first = warm[0].open_time_ms if warm else begin
    holes = await holes_between(connection, market, first, over[-1].close_time_ms, reason=HoleReason.MISSING.value)
    values = _values(market, interval, specs, warm, over, holes)
    stored = await _stored(connection, market, interval, over[0].open_time_ms, over[-1].open_time_ms)
    different = [value for value in values if stored.get((value.name, value.open_time_ms), _ABSENT) != value.value]
    await insert_features(connection, different)
    return [
        Changed(interval, value.name, value.open_time_ms, stored.get((value.name, value.open_time_ms)), value.value)
        for value in different
    ]


def _values(
    market: str,
    interval: str,
    specs: Sequence[FeatureSpec],
    warm: Sequence[Candle],
    candles: Sequence[Candle],
    holes: Sequence[Hole],
) -> list[FeatureValue]:
    """What a brain that was seeded with ``warm`` tells of ``candles``."""
    start_ms = warm[-1].close_time_ms if warm else candles[0].open_time_ms
    state = BrainState((), specs, (market,), {market: start_ms})
    state.seed(market, interval, warm, [hole for hole in holes if hole.from_ms < start_ms])
    told: list[tuple[int, int, Candle | Hole]] = [(candle.close_time_ms, 1, candle) for candle in candles]
    told += [(hole.to_ms, 0, hole) for hole in holes if hole.to_ms > start_ms]
    found: list[FeatureValue] = []
    for _, _, item in sorted(told, key=lambda entry: entry[:2]):
        found += [out for out in state.handle(item) if isinstance(out, FeatureValue)]
    return found


async def _stored(
    connection: Connection, market: str, interval: str, first_ms: int, last_ms: int
) -> dict[tuple[str, int], float | None]:
    rows = await connection.fetch(
        "select name, ms(open_time), value from features where market_id = $1 and interval = $2"
        " and open_time >= at_ms($3) and open_time <= at_ms($4)",
        await market_id(connection, market),
        interval,
        first_ms,
        last_ms,
    )
    return {(row[0], row[1]): row[2] for row in rows}
