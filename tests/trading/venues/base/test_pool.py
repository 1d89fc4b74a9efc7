"""cbBTC's price in the real Uniswap contracts, and every way in which it cannot be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.chain.node import Node
from tests.chain.uniswap import Exchange
from trading.config.secrets import Secret
from trading.errors import ConfigError, VenueRetryable
from trading.venues.base.pool import Contracts, PoolPrice, PoolReader, price_units
from trading.venues.base.rpc import BaseRpc

UNIT = 10**8


async def read(node: Node, contracts: Contracts) -> PoolPrice:
    async with BaseRpc(Secret(node.url), origin="simulator", jitter=lambda: 0.0) as rpc:
        return await PoolReader(rpc, contracts).price()


@pytest.mark.covers("S2-22")
async def test_the_price_is_what_the_pool_was_made_with(node: Node, exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.pool, 64_321, 500, 100)
    found = await read(node, exchange.contracts)
    assert found.fee == 500
    assert found.units == pytest.approx(64_321 * UNIT, rel=1e-12)


@pytest.mark.covers("S2-22")
async def test_the_pool_with_the_most_liquidity_decides(node: Node, exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.pool, 60_000, 100, 3)
    await asyncio.to_thread(exchange.pool, 61_000, 3000, 50)
    await asyncio.to_thread(exchange.pool, 62_000, 10000, 2)
    found = await read(node, exchange.contracts)
    assert (found.fee, round(found.units / UNIT)) == (3000, 61_000)


async def test_a_swap_moves_the_price(node: Node, exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.pool, 60_000, 500, 100)
    before = await read(node, exchange.contracts)
    await asyncio.to_thread(exchange.buy, 60_000, 500)
    after = await read(node, exchange.contracts)
    # One of a hundred coins taken out of a constant product: the price rises by about two percent.
    assert after.units / before.units == pytest.approx((100 / 99) ** 2, rel=1e-3)


async def test_no_pool_is_a_matter_of_the_configuration(node: Node, exchange: Exchange) -> None:
    with pytest.raises(ConfigError, match="No USDC/cbBTC pool with liquidity"):
        await read(node, exchange.contracts)


async def test_another_chain_is_refused(node: Node, exchange: Exchange) -> None:
    with pytest.raises(ConfigError, match="is on chain 8453, not 84532") as caught:
        await read(node, exchange.contracts._replace(chain_id=84532))
    assert node.url not in str(caught.value)


@pytest.mark.parametrize("name", ["factory", "usdc", "cbbtc"])
async def test_an_address_without_code_is_named(node: Node, exchange: Exchange, name: str) -> None:
    nobody = "0x" + "12" * 20
    with pytest.raises(ConfigError, match=f"no contract at {nobody}") as caught:
        await read(node, exchange.contracts._replace(**{name: nobody}))
    assert caught.value.field == f"cross_check.base.{name}"


async def test_a_contract_that_is_no_factory_cannot_be_read(node: Node, exchange: Exchange) -> None:
    with pytest.raises(VenueRetryable, match=r"refuses|returned \d+ bytes where 32 belong"):
        await read(node, exchange.contracts._replace(factory=exchange.usdc))


# Nodes that misbehave


@asynccontextmanager
async def lying(answer: web.Response | None) -> AsyncIterator[tuple[BaseRpc, list[object]]]:
    """A node that answers every question so; None: not at all."""
    asked: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(await request.json())
        if answer is None:
            await asyncio.sleep(30)
        assert answer is not None
        return web.Response(body=answer.body, status=answer.status, headers={"Content-Type": "application/json"})

    app = web.Application()
    app.router.add_post("/v2/very-secret-key", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    rpc = BaseRpc(
        Secret(f"http://127.0.0.1:{port}/v2/very-secret-key"), origin="simulator", timeout_s=0.5, jitter=lambda: 0.0
    )
    try:
        yield rpc, asked
    finally:
        await rpc.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("no json", 200, "no JSON"),
        ("null", 429, "HTTP 429"),
        ("[]", 200, "does not belong"),
        ('{"jsonrpc":"2.0","id":99,"result":"0x1"}', 200, "does not belong"),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"limit exceeded"}}', 200, "limit exceeded"),
        ('{"jsonrpc":"2.0","id":1,"error":"gone"}', 503, "gone"),
        (" " * 1_100_000, 200, "too large"),
    ],
)
async def test_what_a_node_should_not_answer_is_asked_again_and_then_told(body: str, status: int, said: str) -> None:
    async with lying(web.Response(text=body, status=status)) as (rpc, asked):
        with pytest.raises(VenueRetryable, match=said) as caught:
            await rpc.ask("eth_chainId", [])
        assert len(asked) == 3
        assert "very-secret" not in str(caught.value) + repr(caught.value) + str(caught.value.__cause__)


async def test_a_silent_node_and_none_at_all_are_told_without_their_address() -> None:
    async with lying(None) as (rpc, _):
        with pytest.raises(VenueRetryable, match=r"did not answer within 0\.5 s"):
            await rpc.ask("eth_chainId", [])
    with pytest.raises(VenueRetryable, match="could not be asked") as caught:
        await rpc.ask("eth_chainId", [])
    assert "very-secret" not in str(caught.value)
    await rpc.close()


@pytest.mark.parametrize("result", ['"0xzz"', "5", "null", '"8453"'])
async def test_a_result_that_is_no_number_is_told(result: str) -> None:
    async with lying(web.Response(text=f'{{"jsonrpc":"2.0","id":1,"result":{result}}}')) as (rpc, _):
        with pytest.raises(VenueRetryable, match="eth_chainId"):
            await PoolReader(rpc, Contracts(8453, "0x", "0x", "0x")).price()


@pytest.mark.parametrize("url", ["", "ftp://host", "base", "wss://host/key"])
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="BASE_RPC_URL is no http or https address"):
        BaseRpc(Secret(url), origin="venue")


def test_a_replay_asks_no_node_on_the_internet() -> None:
    with pytest.raises(ConfigError, match="simulated") as caught:
        BaseRpc(Secret("https://node.example/v2/very-secret"), origin="simulator")
    assert "very-secret" not in str(caught.value)


@given(st.integers(1 << 64, (1 << 128) - 1), st.booleans(), st.sampled_from([(8, 6), (18, 6), (6, 18)]))
def test_the_price_is_the_exact_quotient_rounded_down(root: int, base_first: bool, decimals: tuple[int, int]) -> None:
    raw = Fraction(root * root, 1 << 192)
    per_base = raw if base_first else 1 / raw
    exact = per_base * Fraction(10) ** (decimals[0] - decimals[1]) * UNIT
    units = price_units(root, base_is_token0=base_first, base_decimals=decimals[0], quote_decimals=decimals[1])
    assert units == exact.numerator // exact.denominator
