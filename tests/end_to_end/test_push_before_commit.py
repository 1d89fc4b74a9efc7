"""Timeframes and brains push before they commit (ADR 0003): a host that dies in between must lose nothing, and nobody
must take what the book has done for what all have stored.
"""

import asyncio
from pathlib import Path

import pytest

from manta.crash.checks import BOOK, Delivered, check
from manta.crash.matrix import ask, drained, undisturbed
from manta.crash.stretches import MARKET, SYMBOL, scripted_stretch
from manta.host_process import HostProcess
from manta.replay import Replay, ReplayOptions
from trading.intervals import MINUTE_MS
from trading.storage.database import Connection, Database
from trading.storage.postgres import BundledPostgres

LOST_MINUTES = 7


@pytest.mark.slow
async def test_a_brain_ahead_of_its_timeframe_starts_again_with_right_features(tmp_path: Path) -> None:
    stretch = scripted_stretch(tmp_path, seed=3, minutes=300)
    first_ms = stretch.checkpoint(stretch.start_ms + 60 * MINUTE_MS)
    last_ms = stretch.checkpoint(stretch.start_ms + 120 * MINUTE_MS)
    options = ReplayOptions(
        config=stretch.config,
        symbol=SYMBOL,
        file=stretch.file,
        start_ms=stretch.start_ms,
        lead=10,
        data_dir=tmp_path / "data",
        apart=True,
    )
    async with Replay(options) as replay:
        await replay.run_to(first_ms, exactly=True)
        await drained(replay)
        reference = await undisturbed(replay, stretch)
        assert isinstance(replay.host, HostProcess)
        await replay.host.stop()
        await _take_back(tmp_path / "data" / "postgres", first_ms - LOST_MINUTES * MINUTE_MS)
        await replay.run_to(last_ms, exactly=True)
        await drained(replay)
        delivered = Delivered(tmp_path / "data" / "logs")
        found = await ask(replay, lambda conn: check(conn, stretch, reference, delivered, first_ms, last_ms))
    assert replay.restarts == 1
    assert found.wrong == []
    assert found.ok


@pytest.mark.slow
async def test_a_replay_has_not_arrived_before_the_brain_has_stored_its_signals(tmp_path: Path) -> None:
    stretch = scripted_stretch(tmp_path, seed=3, minutes=300)
    end_ms = stretch.checkpoint(stretch.start_ms + 60 * MINUTE_MS)
    options = ReplayOptions(
        config=stretch.config,
        symbol=SYMBOL,
        file=stretch.file,
        start_ms=stretch.start_ms,
        lead=10,
        data_dir=tmp_path / "data",
        apart=True,
    )
    async with Replay(options) as replay:
        await replay.run_to(end_ms - 5 * MINUTE_MS, exactly=True)
        assert isinstance(replay.host, HostProcess)
        async with Database(replay.host.target, application_name="manta test") as database:
            arriving = await database.run(lambda conn: _arrive_without_signals(conn, replay, end_ms))
        await arriving
        counted = await replay.query(
            lambda conn: conn.fetchval("select count(*) from signals where close_time = at_ms($1)", end_ms)
        )
    assert counted > 0


async def _arrive_without_signals(conn: Connection, replay: Replay, end_ms: int) -> asyncio.Task[None]:
    """Keep the brain from storing its signals until the book has handled them; the replay must still be under way."""
    async with conn.transaction():
        await conn.execute("lock table signals in share mode")
        arriving = asyncio.create_task(replay.run_to(end_ms, exactly=True))
        while (await replay.positions()).get(f"execution:{BOOK}:{MARKET}", 0) < end_ms:
            assert not arriving.done()
            await asyncio.sleep(0.02)
        assert (await replay.positions())[f"brain:{MARKET}"] < end_ms
        assert not arriving.done()
    return arriving


async def _take_back(data_dir: Path, upto_ms: int) -> None:
    """What a lost commit of the timeframe leaves: everybody after it has committed what it only pushed."""
    server = BundledPostgres(data_dir)
    target = await server.start()

    async def undo(conn: Connection) -> None:
        gone = "interval <> '1m' and close_time > at_ms($1)"
        assert await conn.fetchval(f"select count(*) from candles where {gone}", upto_ms) > 0
        await conn.execute(f"delete from candles where {gone}", upto_ms)
        await conn.execute(
            "delete from events where kind = 'candle' and payload->>'interval' <> '1m' and event_time > at_ms($1)",
            upto_ms,
        )
        await conn.execute("update cursors set position = $1 where name = $2", upto_ms, f"timeframe:{MARKET}")

    async with Database(target, application_name="manta test") as database:
        await database.run(undo)
    await server.stop()
