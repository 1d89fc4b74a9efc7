"""A venue's own candles fetched from the simulator as Hyperliquid, before the first minute and after a close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors.edge import unpack
from actors.natives import Natives
from actors.session import Session
from tests.trading.venues.conformance.suite import playing, plenty, sample
from tests.trading.venues.rig import gateway
from trading.candles import Candle
from trading.config.model import Config
from trading.fold import fold
from trading.intervals import HOUR_MS, MINUTE_MS
from trading.storage.candles import upsert_candles
from trading.storage.database import Database
from trading.storage.markets import upsert_market
from trading.storage.natives import lacking_natives, read_all_natives, store_natives
from trading.storage.settings import DatabaseTarget
from trading.venues.hyperliquid.history import KEPT

MARKET = "hyperliquid:BTC"
MINUTES = 100 * 60
CONFIG = Config.model_validate(
    {
        "markets": [MARKET],
        "books": {"paper": {"currency": "USDC"}},
        "history": {"min_days": 0},
        "strategies": [
            {"name": "slow", "strategy": "ma44", "params": {"period": 92}, "intervals": ["1h", "4h", "37m"]}
        ],
    }
)


class Stand:
    """What a feed and a recorder give to ``Natives``, on a simulator and a real database."""

    def __init__(self, rig: Any, db: Database, rate: float, start_ms: int) -> None:
        self.rig = rig
        self.db = db
        self.calls: list[str] = []
        self.session = Session("s", "test", "simulator", rate, start_ms, CONFIG, db.target, "", "")
        self.gateway = gateway(rig, **plenty("hyperliquid"))
        self.natives = Natives(MARKET, self.session, self.gateway.adapter, self.gateway.history, self.call)

    async def call(self, name: str, market: str, *given: Any) -> Any:
        self.calls.append(name)
        async with self.db.transaction() as conn:
            if name == "lacking_natives":
                wanted, closed_by_ms, begins_ms = given
                return await lacking_natives(
                    conn,
                    market,
                    wanted,
                    closed_by_ms=closed_by_ms,
                    begins_ms=begins_ms,
                    start_ms=self.session.start_ms,
                )
            return await store_natives(conn, [item for item in unpack(given[0]).items if isinstance(item, Candle)])

    async def stored(self, interval: str = "1h") -> list[Candle]:
        found = await self.db.run(lambda conn: read_all_natives(conn, MARKET))
        return [candle for candle in found if candle.interval == interval]

    async def until(self, holds: Callable[[list[Candle]], bool]) -> list[Candle]:
        async with asyncio.timeout(120):
            while not holds(found := await self.stored()):
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def standing(database: DatabaseTarget, rate: float = 0.0, **options: Any) -> AsyncIterator[Stand]:
    columns = sample("hyperliquid", MINUTES)
    start_ms = columns.start_ms + 97 * HOUR_MS + 30 * MINUTE_MS
    async with (
        playing("hyperliquid", columns, start_ms=start_ms, **options) as rig,
        Database(database) as db,
    ):
        stand = Stand(rig, db, rate, start_ms)
        try:
            await db.run(lambda conn: _list_market(conn, stand))
            yield stand
        finally:
            await stand.gateway.close()


async def _list_market(conn: Any, stand: Stand) -> None:
    await upsert_market(conn, await stand.gateway.history.market("BTC"))


async def test_hl_14_a_first_start_has_what_5000_minutes_cannot_tell(database: DatabaseTarget) -> None:
    async with standing(database) as stand:
        await stand.natives.load(first=True)
        hours = await stand.stored()
        columns = sample("hyperliquid", MINUTES)
        assert [candle[2:9] for candle in hours] == [
            candle[2:9] for candle in fold(columns.candles(), "1h") if candle[2] in {each[2] for each in hours}
        ]
        begins = stand.session.start_ms - (KEPT - 1) * MINUTE_MS + HOUR_MS
        assert hours[0].open_time_ms >= stand.session.start_ms - 94 * HOUR_MS
        assert begins - HOUR_MS <= hours[-1].open_time_ms < begins
        assert len(hours) == (hours[-1].close_time_ms - hours[0].open_time_ms) // HOUR_MS > 5
        assert {candle.source for candle in hours} == {"native"}
        assert await stand.stored("37m") == [], "the venue has none of it"
        assert await stand.stored("4h") != []
        again = len(stand.calls)
        await stand.natives.load(first=False)
        assert stand.calls[again:] == ["lacking_natives"], "nothing is asked for twice"


async def test_a_first_start_waits_for_a_venue_that_is_away_and_a_restart_does_not(
    database: DatabaseTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.natives._RETRY_S", 0.01)
    async with standing(database) as stand:
        await stand.rig.control.fault("rest_status", status=503, times=60, path="candleSnapshot")
        first = asyncio.create_task(stand.natives.load(first=True))
        try:
            async with asyncio.timeout(120):
                while stand.calls.count("lacking_natives") < 2:
                    await asyncio.sleep(0.02)
            await asyncio.wait_for(stand.natives.load(first=False), 60)
            assert not first.done()
            assert await stand.stored() == []
            await asyncio.wait_for(first, 60)
            assert len(await stand.stored()) > 5
        finally:
            first.cancel()


async def test_the_candle_that_minutes_begin_in_comes_after_its_close(database: DatabaseTarget) -> None:
    """Minutes begin with the session, in the middle of an hour: nobody but the venue can tell of all of it."""
    async with standing(database, rate=1200.0, speed=1200.0) as stand:
        start_ms = stand.session.start_ms
        columns = sample("hyperliquid", MINUTES)
        await stand.db.run(lambda conn: upsert_candles(conn, columns.slice(start_ms, start_ms + MINUTE_MS).candles()))
        await stand.natives.load(first=True)
        assert (await stand.stored())[-1].close_time_ms == start_ms - 30 * MINUTE_MS
        keeping = asyncio.create_task(stand.natives.keep())
        try:
            hours = await stand.until(lambda found: found[-1].open_time_ms == start_ms - 30 * MINUTE_MS)
            whole = {candle.open_time_ms: candle for candle in fold(columns.candles(), "1h")}
            assert hours[-1][2:9] == whole[hours[-1].open_time_ms][2:9]
        finally:
            keeping.cancel()
