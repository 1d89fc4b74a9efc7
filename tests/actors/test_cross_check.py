"""The supervisor's doubt, over a real database, a simulated venue and the real contracts on a local chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.cross_check import CrossCheck
from actors.session import Session
from tests.chain.node import Node, installed, running
from tests.chain.uniswap import Exchange, deployed
from tests.trading.series import at, flat_minutes
from trading.config.model import Config
from trading.config.secrets import write_secrets
from trading.intervals import MINUTE_MS
from trading.markets import Market
from trading.storage.candles import upsert_candles
from trading.storage.database import Connection, Database
from trading.storage.markets import upsert_market
from trading.storage.settings import DatabaseTarget
from trading.venues.simulator.server import Simulator

T0 = at("2026-01-01 00:00")
HERE = Market("hyperliquid", "BTC", "perp", "BTC", "USDC", 1, 5, Decimal("0.1"), Decimal("0.00001"), Decimal(10))
PRICE = 64_000


class World:
    """A cross-check, with what it needs around it; ``now_ms`` is the venue's time."""

    def __init__(self, target: DatabaseTarget, folder: Path) -> None:
        self.database = Database(target)
        self.folder = folder
        self.target = target
        self.now_ms = T0
        self.check: CrossCheck

    async def start(self, environ: Mapping[str, str], **settings: Any) -> None:
        venue = settings.pop("binance", None)
        venues = {"binance": {"rest_url": venue.rest_url, "stream_url": venue.stream_url}} if venue else {}
        config = Config.model_validate({"markets": [HERE.key], "cross_check": settings, "venues": venues})
        secrets = write_secrets(self.folder / "secrets", environ)
        session = Session("s", "n", "simulator", 1.0, T0, config, self.target, str(secrets), str(self.folder))
        self.check = CrossCheck(session, self.database.run, self._commit, self._now)
        await self.database.run(lambda conn: upsert_market(conn, HERE))

    async def _commit(self, _: Mapping[str, int], write: Callable[[Connection], Awaitable[None]]) -> None:
        await self.database.run(write)

    async def _now(self) -> int:
        return self.now_ms

    async def closes(self, first: int, prices: list[float]) -> None:
        """Our market closes its minutes from number ``first`` on at ``prices``."""
        found = [candle._replace(market=HERE.key) for candle in flat_minutes(T0 + first * MINUTE_MS, prices)]
        await self.database.run(lambda conn: upsert_candles(conn, found))
        self.now_ms = found[-1].close_time_ms + 1000

    async def rows(self) -> list[tuple[str, str, bool]]:
        """Reason, what was compared, whether it is over: every row of data_quality."""
        found = await self.database.run(
            lambda conn: conn.fetch("select reason, detail->>'against', resolved from data_quality order by id")
        )
        return [tuple(row) for row in found]

    async def alerts(self) -> list[str]:
        found = await self.database.run(
            lambda conn: conn.fetch("select body->'payload'->>'title' from outbox order by id")
        )
        return [row[0] for row in found]


@pytest.fixture
async def world(database: DatabaseTarget, tmp_path: Path) -> AsyncIterator[World]:
    made = World(database, tmp_path)
    yield made
    await made.check.close()
    await made.database.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running(installed()) as started:
        yield started


@pytest.fixture
def exchange(node: Node) -> Iterator[Exchange]:
    with node.undone():
        yield deployed(node, cbbtc_first=False)


@pytest.mark.covers("S2-22")
async def test_a_market_that_leaves_its_counterpart_is_told_once_and_once_when_it_is_back(world: World) -> None:
    minutes = flat_minutes(T0, [PRICE] * 120)
    async with Simulator(minutes, "BTCUSDT", start_ms=minutes[60].open_time_ms) as binance:
        await world.start({}, binance=binance)
        await world.closes(0, [PRICE * 1.004] * 5)
        await world.check.work()
        assert await world.rows() == []
        await world.closes(5, [PRICE * 1.02] * 5)
        await world.check.work()
        await world.check.work()
        assert await world.rows() == [("deviation", "binance:BTCUSDT", False)]
        await world.closes(10, [PRICE * 1.001] * 5)
        await world.check.work()
    assert await world.rows() == [("deviation", "binance:BTCUSDT", True)]
    assert await world.alerts() == [
        "hyperliquid:BTC is 2.00 % above binance:BTCUSDT",
        "Over: hyperliquid:BTC agrees with binance:BTCUSDT again",
    ]


async def test_a_supervisor_that_starts_again_tells_nothing_twice(world: World) -> None:
    minutes = flat_minutes(T0, [PRICE] * 120)
    async with Simulator(minutes, "BTCUSDT", start_ms=minutes[60].open_time_ms) as binance:
        for _ in range(2):
            await world.start({}, binance=binance)
            await world.closes(0, [PRICE * 0.9] * 5)
            await world.check.work()
            await world.check.close()
    assert await world.rows() == [("deviation", "binance:BTCUSDT", False)]
    assert await world.alerts() == ["hyperliquid:BTC is 10.00 % below binance:BTCUSDT"]


async def test_a_counterpart_that_does_not_answer_is_told_the_third_time(world: World) -> None:
    minutes = flat_minutes(T0, [PRICE] * 120)
    async with Simulator(minutes, "BTCUSDT", start_ms=minutes[60].open_time_ms) as binance:
        pass
    await world.start({}, binance=binance)
    await world.closes(0, [PRICE] * 5)
    for _ in range(2):
        await world.check.work()
    assert await world.rows() == []
    for _ in range(2):
        await world.check.work()
    assert await world.alerts() == ["hyperliquid:BTC cannot be compared with binance:BTCUSDT"]


async def test_a_replay_asks_nothing_beyond_this_machine_and_nothing_is_compared_that_is_switched_off(
    world: World,
) -> None:
    await world.start({})
    await world.closes(0, [PRICE] * 5)
    await world.check.work()
    await world.start({}, against=["hyperliquid:BTC=none"])
    await world.check.work()
    assert await world.rows() == []


@pytest.mark.covers("S2-22")
async def test_bitcoin_is_compared_with_the_pool_on_the_chain(world: World, node: Node, exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.pool, PRICE, 500, 100)
    addresses = {name: getattr(exchange, name) for name in ("factory", "usdc", "cbbtc")}
    await world.start({"BASE_RPC_URL": node.url}, base=addresses)
    await world.closes(0, [PRICE] * 5)
    await world.check.work()
    assert await world.rows() == []
    await asyncio.to_thread(exchange.buy, PRICE, 500)
    await world.check.work()
    await world.check.work()
    assert await world.rows() == [("deviation", "base:cbBTC", False)]
    await world.closes(5, [PRICE * 1.02] * 5)
    await world.check.work()
    assert await world.rows() == [("deviation", "base:cbBTC", True)]
    assert await world.alerts() == [
        "hyperliquid:BTC is 1.97 % below base:cbBTC",
        "Over: hyperliquid:BTC agrees with base:cbBTC again",
    ]


async def test_a_late_feed_is_not_compared_with_a_price_of_now(world: World, node: Node, exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.pool, PRICE * 2, 500, 100)
    addresses = {name: getattr(exchange, name) for name in ("factory", "usdc", "cbbtc")}
    await world.start({"BASE_RPC_URL": node.url}, base=addresses)
    await world.closes(0, [PRICE] * 5)
    world.now_ms += 10 * MINUTE_MS
    await world.check.work()
    assert await world.rows() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chain_id": 84532}, "is on chain 8453, not 84532"),
        ({"factory": "0x" + "12" * 20}, "There is no contract at 0x" + "12" * 20),
    ],
)
async def test_a_wrong_chain_or_address_is_told_at_once_without_the_nodes_address(
    world: World, node: Node, exchange: Exchange, change: dict[str, Any], said: str
) -> None:
    addresses = {name: getattr(exchange, name) for name in ("factory", "usdc", "cbbtc")}
    await world.start({"BASE_RPC_URL": node.url}, base={**addresses, **change})
    await world.closes(0, [PRICE] * 5)
    await world.check.work()
    await world.check.work()
    assert await world.rows() == [("unchecked", "base:cbBTC", False)]
    text = await world.database.run(lambda conn: conn.fetchval("select detail->>'text' from data_quality"))
    assert said in text
    assert node.url not in text
    assert len(await world.alerts()) == 1
