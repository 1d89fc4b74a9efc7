"""Many markets of a venue on one websocket, each of which lives as if it were alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.trading.venues.rig import gateway
from tests.trading.venues.simulator.rig import Rig, running
from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import VenueRetryable
from trading.venues.binance.stream import BinanceWire
from trading.venues.gateway import Gateway
from trading.venues.hub import Hub, Line
from trading.venues.session import MarketFeed, Outlets
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_MARKET

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture(scope="session")
def month() -> CandleColumns:
    return load_columns(SAMPLE_FILE, SAMPLE_MARKET)


class Market:
    """What one market heard, and how often it was told to move."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.heard: list[str | bytes] = []
        self.retired: list[str] = []

    def line(self, hub: Hub, newer_than: int = 0) -> Any:
        return hub.line(self.symbol, self.heard.append, self.retired.append, newer_than=newer_than)


@asynccontextmanager
async def hubs(month: CandleColumns, **settings: Any) -> AsyncIterator[tuple[Rig, Hub]]:
    columns = dict.fromkeys(SYMBOLS, month)
    async with running(columns, speed=600) as rig, gateway(rig, **settings) as opened:
        yield rig, opened.hub


async def until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.mark.conforms("BN-14")
@pytest.mark.covers("S2-28d")
async def test_markets_of_a_venue_share_one_socket_and_hear_only_their_own(month: CandleColumns) -> None:
    async with hubs(month) as (rig, hub):
        markets = [Market(symbol) for symbol in SYMBOLS]

        async def hold(market: Market) -> int:
            async with market.line(hub) as line:
                await until(lambda: len(market.heard) > 20)
                await until(lambda: all(each.heard for each in markets))
                return int(line.socket)

        assert await asyncio.gather(*map(hold, markets)) == [1, 1, 1]
        assert rig.simulator.state()["connections_total"] == 1
        for market in markets:
            assert all(f'"{market.symbol.lower()}@kline' in str(raw) for raw in market.heard)
        await until(lambda: hub.sockets == 0)


async def test_a_market_that_leaves_or_fails_disturbs_no_other(month: CandleColumns) -> None:
    async with hubs(month) as (rig, hub):
        stays, leaves = Market("BTCUSDT"), Market("ETHUSDT")

        def broken(_: str | bytes) -> None:
            raise RuntimeError("cannot read")

        async with stays.line(hub) as line:
            async with leaves.line(hub):
                await until(lambda: leaves.heard)
            with pytest.raises(RuntimeError, match="cannot read"):
                async with hub.line("SOLUSDT", broken, leaves.retired.append) as failing:
                    await failing.lost()
            count = len(stays.heard)
            await until(lambda: len(stays.heard) > count + 20)
            heard = len(leaves.heard)
            assert rig.simulator.state()["connections"] == 1
            # It came back to the same socket after it had left it.
            async with leaves.line(hub):
                await until(lambda: len(leaves.heard) > heard)
            assert line.socket == 1


async def test_a_socket_that_breaks_takes_all_its_lines_and_one_reconnect_serves_all(month: CandleColumns) -> None:
    async with hubs(month) as (rig, hub):
        markets = [Market(symbol) for symbol in SYMBOLS]

        async def hold(market: Market) -> list[int]:
            async with market.line(hub) as line:
                await until(lambda: market.heard)
                assert await line.lost() == "connection broke"
            market.heard.clear()
            async with market.line(hub, newer_than=line.socket) as again:
                await until(lambda: market.heard)
                return [line.socket, again.socket]

        holding = asyncio.gather(*map(hold, markets))
        await until(lambda: all(market.heard for market in markets))
        hub.cut()
        assert await holding == [[1, 2]] * 3
        assert rig.simulator.state()["connections_total"] == 2


@pytest.mark.conforms("BN-11")
async def test_an_old_socket_asks_everyone_to_move_and_closes_when_they_have(month: CandleColumns) -> None:
    async with hubs(month, max_connection_age_s=0.5) as (_, hub):
        markets = [Market(symbol) for symbol in SYMBOLS]

        async def hold(market: Market) -> tuple[int, list[str]]:
            async with market.line(hub) as old:
                await until(lambda: market.retired)
                async with market.line(hub, newer_than=old.socket) as new:
                    return new.socket, market.retired

        assert await asyncio.gather(*map(hold, markets)) == [(2, ["connection is old"])] * 3
        await until(lambda: hub.sockets == 0)


async def test_a_full_socket_is_no_obstacle(month: CandleColumns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinanceWire, "pace", BinanceWire.pace._replace(symbols=2, spacing_s=0.0))
    async with hubs(month) as (_, hub):
        ready = asyncio.Barrier(3)

        async def hold(market: Market) -> int:
            async with market.line(hub) as line:
                await ready.wait()
                return int(line.socket)

        assert sorted(await asyncio.gather(*(hold(Market(symbol)) for symbol in SYMBOLS))) == [1, 1, 2]


@pytest.mark.conforms("BN-13")
async def test_coming_and_going_stays_within_five_messages_a_second(month: CandleColumns) -> None:
    async with hubs(month) as (rig, hub), Market("BTCUSDT").line(hub) as line:
        for _ in range(4):
            for symbol in SYMBOLS[1:]:
                async with Market(symbol).line(hub):
                    pass
        losing = asyncio.ensure_future(line.lost())
        await asyncio.sleep(0)
        assert not losing.done(), "the venue closes the socket of a client that floods it"
        losing.cancel()
        assert rig.simulator.state()["connections_total"] == 1


async def test_markets_that_wait_for_one_attempt_all_hear_why_it_failed(month: CandleColumns) -> None:
    async with hubs(month) as (rig, hub):
        await rig.control.fault("refuse", times=1)

        async def hold(market: Market) -> str:
            with pytest.raises(VenueRetryable) as caught:
                async with market.line(hub):
                    pass
            return caught.value.message

        assert set(await asyncio.gather(*(hold(Market(symbol)) for symbol in SYMBOLS))) == {"refused with HTTP 503"}
        async with Market("BTCUSDT").line(hub) as line:
            assert isinstance(line, Line)
        assert hub.connections == 1


async def test_an_attempt_that_nobody_waits_for_any_more_is_given_up(month: CandleColumns) -> None:
    async with hubs(month) as (_, hub):

        async def hold() -> None:
            async with Market("BTCUSDT").line(hub):
                await asyncio.sleep(60)

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await asyncio.sleep(0.2)
        assert hub.sockets == 0
        async with Market("BTCUSDT").line(hub) as line:
            assert line.socket >= 1


async def test_a_market_whose_subscription_was_lost_moves_to_a_new_socket_and_leaves_the_others(
    month: CandleColumns,
) -> None:
    told: dict[str, list[bool]] = {"BTCUSDT": [], "ETHUSDT": []}

    def feed(symbol: str, opened: Gateway) -> MarketFeed:
        async def deliver(*_: object) -> None: ...

        async def status(up: bool, _: str) -> None:
            told[symbol].append(up)

        outlets = Outlets(deliver, status=status)
        return MarketFeed(f"binance:{symbol}", opened, outlets, time_rate=600, jitter=lambda: 0.0)

    async with (
        running(dict.fromkeys(told, month), speed=600) as rig,
        gateway(rig, silence_timeout_s=1.0) as opened,
        asyncio.TaskGroup() as group,
    ):
        feeds = {symbol: feed(symbol, opened) for symbol in told}
        group.create_task(feeds["BTCUSDT"].run(month.start_ms))
        await until(lambda: feeds["BTCUSDT"].health()["up"])
        await rig.control.fault("lose_subscription")
        group.create_task(feeds["ETHUSDT"].run(month.start_ms))
        await until(lambda: told["ETHUSDT"] == [False, True])
        assert told["BTCUSDT"] == []
        assert [each.stats()["connections"] for each in feeds.values()] == [1, 2]
        assert opened.hub.sockets == 2
        for each in feeds.values():
            await each.stop()
