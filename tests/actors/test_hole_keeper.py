"""A feed's care for missing minutes, over two simulated venues and a real database."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from actors.hole_keeper import HoleWatch
from actors.session import Session
from tests.trading.series import at, random_minutes
from tests.trading.storage.conftest import BTC
from tests.trading.venues.rig import feeding, gateway
from tests.trading.venues.simulator.rig import running
from trading.candles import Hole
from trading.config.model import Config
from trading.events import Heal
from trading.intervals import MINUTE_MS
from trading.storage import candles, quality
from trading.storage.database import Database
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget

START = at("2026-01-01 00:00")
OTHER = "binance_usdm:BTCUSDT"
LOST = START + 10 * MINUTE_MS, START + 20 * MINUTE_MS


@pytest.mark.covers("W15")
async def test_the_own_venue_comes_first_then_the_second_even_if_it_fails_at_first(
    database: DatabaseTarget, tmp_path: Path
) -> None:
    config = Config.model_validate({"markets": [BTC.key], "history": {"second": [f"{BTC.key}={OTHER}"]}})
    session = Session("s", "n", "simulator", 0.0, START, config, database, "", str(tmp_path))
    own, other = random_minutes(START, 60, extras=False), random_minutes(START, 120, extras=False)
    async with (
        Database(database) as store,
        running(own, "BTCUSDT") as mine,
        running(other, "BTCUSDT", venue="binance_usdm", start_ms=START + 100 * MINUTE_MS) as lending,
        feeding(mine, start={"warmup_from_ms": START}) as fed,
        gateway(lending) as far,
    ):
        await lending.control.fault(kind="rest_status", status=503, times=6, path="klines")
        await store.run(lambda conn: upsert_market(conn, BTC))
        await store.run(lambda conn: quality.record_hole(conn, Hole(BTC.key, *LOST, "missing")))
        await fed.until_told(START + 50 * MINUTE_MS)

        async def call(method: str, *arguments: Any) -> Any:
            """What the recorder answers, of the same tables."""
            if method == "open_holes":
                found = await store.run(lambda conn: quality.open_holes(conn, *arguments))
                return [(hole.from_ms, hole.to_ms) for hole in found]
            if method == "lent":
                return await store.run(lambda conn: candles.lent_spans(conn, *arguments))
            assert method == "note"
            for _, why in arguments[0]:
                await store.run(lambda conn, why=why: quality.explain_hole(conn, why))
            return None

        watch = HoleWatch(session, fed.feed, lambda venue: far if venue == "binance_usdm" else fed.gateway, call)
        task = asyncio.create_task(watch.run(lambda: fed.high_ms))
        try:
            await fed.until(lambda: bool(watch.facts()["error"]))
            assert watch.facts()["other"] == OTHER
            await fed.until(lambda: any(isinstance(item, Heal) and item.candles[0].origin for item in fed.items))
            await fed.until(lambda: not watch.facts()["error"])
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    heals = [item for item in fed.items if isinstance(item, Heal)]
    first, last = heals[0], next(heal for heal in heals if heal.candles[0].origin)
    assert (first.from_ms, first.to_ms, {each.origin for each in first.candles}) == (*LOST, {None})
    assert (last.from_ms, last.to_ms, {each.origin for each in last.candles}) == (*LOST, {OTHER})
    assert {each.market for each in last.candles} == {BTC.key}
