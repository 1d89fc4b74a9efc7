"""Stored features over candles that changed become those of a run to which nothing had happened."""

import asyncpg
import pytest

from tests.trading.series import at, random_minutes
from tests.trading.storage.conftest import MARKET
from trading.brain import BrainState, FeatureValue
from trading.candles import Candle, Hole, HoleReason
from trading.config.model import FeatureSpec
from trading.fold import fold
from trading.intervals import DAY_MS, MINUTE_MS
from trading.storage.candles import upsert_candles
from trading.storage.quality import record_hole
from trading.storage.rebuilds import note_rebuild, pending_rebuilds, rebuild_step
from trading.storage.records import insert_features, read_features

START = at("2025-01-01 00:00")
SPECS = (
    FeatureSpec(name="slow", kind="sma", params={"period": 125}, intervals=("1m", "5m")),
    FeatureSpec(name="fast", kind="sma", params={"period": 9}, intervals=("5m", "1h")),
)
INTERVALS = ("1m", "5m", "1h")


def lived(minutes: list[Candle], holes: tuple[Hole, ...] = ()) -> list[FeatureValue]:
    """What a brain tells of ``minutes``."""
    brain = BrainState((), SPECS, (MARKET,))
    items: list[tuple[int, int, Candle | Hole]] = [(hole.to_ms, -1, hole) for hole in holes]
    for interval in INTERVALS:
        told = minutes if interval == "1m" else fold(minutes, interval, holes)
        items += [(candle.close_time_ms, INTERVALS.index(interval), candle) for candle in told]
    found: list[FeatureValue] = []
    for _, _, item in sorted(items, key=lambda entry: entry[:2]):
        found += [out for out in brain.handle(item) if isinstance(out, FeatureValue)]
    return found


async def store(connection: asyncpg.Connection, minutes: list[Candle], holes: tuple[Hole, ...] = ()) -> None:
    await connection.execute("truncate candles, data_quality")
    for interval in INTERVALS:
        await upsert_candles(connection, minutes if interval == "1m" else fold(minutes, interval, holes))
    for hole in holes:
        await record_hole(connection, hole)


async def values(connection: asyncpg.Connection) -> dict[tuple[str, str, int], float | None]:
    return {(f.interval, f.name, f.open_time_ms): f.value for f in await read_features(connection)}


async def work_off(connection: asyncpg.Connection, upto_ms: int) -> tuple[int, set[tuple[str, str]]]:
    steps, changed = 0, set()
    while (step := await rebuild_step(connection, MARKET, SPECS, upto_ms)) is not None:
        steps += 1
        changed |= {(each.interval, each.name) for each in step.changed}
        assert step.more == bool(await pending_rebuilds(connection, MARKET))
    return steps, changed


@pytest.mark.parametrize("length", [1, 10, 200])
async def test_after_a_heal_features_are_those_of_an_unbroken_run(connection, length: int) -> None:
    minutes = random_minutes(START, 3000, extras=False)
    hole = Hole(MARKET, minutes[1203].open_time_ms, minutes[1203 + length].open_time_ms, HoleReason.MISSING.value)
    known = [minute for minute in minutes if not hole.from_ms <= minute.open_time_ms < hole.to_ms]
    await insert_features(connection, lived(known, (hole,)))
    blind = await values(connection)
    await store(connection, minutes)
    await note_rebuild(connection, MARKET, hole.from_ms, hole.to_ms, "healed")
    reached = minutes[-1].close_time_ms
    assert await work_off(connection, reached) == (
        1, {("1m", "slow"), ("5m", "slow"), ("5m", "fast"), ("1h", "fast")},
    )  # fmt: skip
    expected = {(f.interval, f.name, f.open_time_ms): f.value for f in lived(minutes)}
    assert await values(connection) == expected
    before = {key: value for key, value in blind.items() if key[2] < hole.from_ms - DAY_MS // 24}
    assert before.items() <= expected.items()
    assert await rebuild_step(connection, MARKET, SPECS, reached) is None


async def test_a_hole_that_stays_keeps_features_apart(connection) -> None:
    """One of two holes is healed: nothing is computed across the other."""
    minutes = random_minutes(START, 2000, extras=False)
    holes = [
        Hole(MARKET, minutes[at_].open_time_ms, minutes[at_ + 7].open_time_ms, HoleReason.MISSING.value)
        for at_ in (900, 1100)
    ]
    first = [m for m in minutes if not any(h.from_ms <= m.open_time_ms < h.to_ms for h in holes)]
    then = [m for m in minutes if not holes[1].from_ms <= m.open_time_ms < holes[1].to_ms]
    await insert_features(connection, lived(first, tuple(holes)))
    await store(connection, then, (holes[1],))
    await note_rebuild(connection, MARKET, holes[0].from_ms, holes[0].to_ms, "healed")
    await work_off(connection, minutes[-1].close_time_ms)
    assert await values(connection) == {
        (f.interval, f.name, f.open_time_ms): f.value for f in lived(then, (holes[1],))
    }  # fmt: skip


async def test_a_long_past_is_worked_off_in_steps_and_never_beyond_the_brain(connection) -> None:
    minutes = random_minutes(START, 12_000, extras=False)
    await store(connection, minutes)
    reached = minutes[11_000].close_time_ms
    await note_rebuild(connection, MARKET, START, START + 30 * DAY_MS, "earlier minutes were imported")
    steps, _ = await work_off(connection, reached)
    assert steps == 3
    assert await values(connection) == {
        (f.interval, f.name, f.open_time_ms): f.value for f in lived(minutes) if f.close_time_ms <= reached
    }  # fmt: skip


async def test_notes_are_found_once_they_have_waited(connection) -> None:
    await note_rebuild(connection, MARKET, START, START + MINUTE_MS, "import")
    assert await pending_rebuilds(connection, MARKET) == [(START, START + MINUTE_MS)]
    assert await pending_rebuilds(connection, MARKET, older_than_s=60) == []
