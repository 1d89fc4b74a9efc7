"""Configured symbols against what the venues list."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trading.venues.conformance.suite import playing, sample
from tests.trading.venues.simulator.rig import Rig
from trading.config.model import Config
from trading.errors import BadInput, ConfigError
from trading.storage.aliases import read_aliases, store_aliases
from trading.storage.database import connect
from trading.storage.markets import market_ids
from trading.storage.settings import DatabaseTarget
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.resolve import resolve_markets, with_aliases


def config(markets: list[str], rigs: dict[str, Rig], **keys: Any) -> Config:
    venues = {
        name: {"rest_url": rig.simulator.rest_url, "stream_url": rig.simulator.stream_url} for name, rig in rigs.items()
    }
    return Config.model_validate({"markets": markets, "venues": venues, **keys})


async def test_markets_of_several_venues_are_described_in_their_order(database: DatabaseTarget) -> None:
    names = ["pionex:BTC_USDT", "binance:BTCUSDT"]
    async with (
        playing("binance", sample("binance", 10)) as binance,
        playing("pionex", sample("pionex", 10)) as pionex,
    ):
        wanted = config(names, {"binance": binance, "pionex": pionex})
        async with ClusterLimits(wanted, database) as limits:
            found = await resolve_markets(wanted, origin="simulator", limits=limits)
            assert limits.of("binance").used() > 0
        assert [market.key for market in found.markets] == names
        assert (found.config, found.aliases, found.warnings) == (wanted, {}, ())


async def test_every_unknown_market_is_named_with_the_nearest_names() -> None:
    async with playing("binance", sample("binance", 10)) as rig:
        wanted = config(["binance:BTCUSDX", "binance:BTCUSDT", "binance:BTCUDST"], {"binance": rig})
        with pytest.raises(ConfigError, match=r"BTCUSDX.*Did you mean BTCUSDT.*BTCUDST") as caught:
            await resolve_markets(wanted, origin="simulator")
        assert caught.value.field == "markets"


async def test_a_market_that_is_to_lend_is_looked_up_too() -> None:
    async with (
        playing("binance", sample("binance", 10)) as binance,
        playing("pionex", sample("pionex", 10)) as pionex,
    ):
        rigs = {"binance": binance, "pionex": pionex}

        def lent(by: str) -> Config:
            return config(["pionex:BTC_USDT"], rigs, history={"second": [f"pionex:BTC_USDT={by}"]})

        await resolve_markets(lent("binance:BTCUSDT"), origin="simulator")
        await resolve_markets(lent("hyperliquid:BTC"), origin="simulator")
        with pytest.raises(ConfigError, match=r"BTCUSDX.*Did you mean BTCUSDT") as caught:
            await resolve_markets(lent("binance:BTCUSDX"), origin="simulator")
        assert (caught.value.field, caught.value.value) == ("history.second", "binance:BTCUSDX")


async def test_a_book_is_counted_in_what_its_markets_are_paid_with() -> None:
    names = ["hyperliquid:cbBTC", "binance:BTCUSDT"]
    dollars = {"name": "far", "strategy": "ma44", "markets": ["hyperliquid:cbBTC"], "book": "usdc"}
    tether = {"name": "near", "strategy": "ma44", "markets": ["binance:BTCUSDT"], "book": "usdt"}
    books = {"usdc": {"currency": "USDC"}, "usdt": {}}
    async with (
        playing("binance", sample("binance", 10)) as binance,
        playing("hyperliquid", sample("hyperliquid", 10)) as hyperliquid,
    ):
        rigs = {"binance": binance, "hyperliquid": hyperliquid}

        async def resolve(*strategies: dict[str, Any]) -> tuple[str, ...]:
            wanted = config(names, rigs, strategies=strategies, books=books)
            return (await resolve_markets(wanted, origin="simulator")).config.markets

        assert await resolve(dollars, tether) == ("hyperliquid:BTC", "binance:BTCUSDT")
        assert await resolve() == ("hyperliquid:BTC", "binance:BTCUSDT")
        for wrong, says in (
            (dollars | {"book": "usdt"}, ("books.usdt.currency", "USDT", "Set it to USDC")),
            (tether | {"markets": []}, ("books.usdt.currency", "USDT", "Set it to USDC, or give near a book in USDC")),
        ):
            with pytest.raises(ConfigError, match=r"hyperliquid:BTC, which is paid for in USDC") as caught:
                await resolve(wrong)
            assert (caught.value.field, caught.value.value) == says[:2]
            assert says[2] in (caught.value.fix or "")


def test_an_alias_is_replaced_wherever_a_market_is_named() -> None:
    strategy = {"name": "a", "strategy": "ma44", "markets": ["hyperliquid:cbBTC"]}
    gaps = {"markets": ["hyperliquid:cbBTC"]}
    written = config(
        ["hyperliquid:cbBTC", "binance:ETHUSDT", "hyperliquid:BTC"],
        {},
        strategies=[strategy],
        gaps=gaps,
        history={"second": ["hyperliquid:cbBTC=binance:BTCUSDT"]},
    )
    meant = with_aliases(written, {"hyperliquid:cbBTC": "hyperliquid:BTC"})
    assert meant.markets == ("hyperliquid:BTC", "binance:ETHUSDT")
    assert meant.strategies[0].markets == ("hyperliquid:BTC",)
    assert meant.gaps.markets == ("hyperliquid:BTC",)
    assert meant.history.lender_of("hyperliquid:BTC") == "binance:BTCUSDT"
    assert with_aliases(written, {}) is written


async def test_a_name_that_was_an_alias_says_what_it_is_stored_as(database: DatabaseTarget) -> None:
    connection = await connect(database)
    try:
        await store_aliases(connection, {"hyperliquid:cbBTC": "hyperliquid:BTC"})
        assert await read_aliases(connection) == {"hyperliquid:cbBTC": "hyperliquid:BTC"}
        with pytest.raises(BadInput, match="stored as hyperliquid:BTC"):
            await market_ids(connection, ["hyperliquid:cbBTC"])
        await store_aliases(connection, {})
        assert await read_aliases(connection) == {}
        with pytest.raises(BadInput, match="Add it to markets"):
            await market_ids(connection, ["hyperliquid:cbBTC"])
    finally:
        await connection.close()
