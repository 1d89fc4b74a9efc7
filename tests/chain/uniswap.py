"""Uniswap V3 as Base runs it, with a USDC and a cbBTC of our own: pools of any price and size."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from tests.chain.node import CHAIN_ID, Node, encode
from trading.venues.base.pool import Contracts

_TOKEN = "@aave/core-v3/artifacts/contracts/mocks/tokens/MintableERC20.sol/MintableERC20.json"
_WETH = "@aave/core-v3/artifacts/contracts/dependencies/weth/WETH9.sol/WETH9.json"
_FACTORY = "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json"
_POSITIONS = "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json"
_ROUTER = "@uniswap/swap-router-contracts/artifacts/contracts/SwapRouter02.sol/SwapRouter02.json"
_SPACING = {100: 1, 500: 10, 3000: 60, 10000: 200}
_EVERYTHING = 2**256 - 1
_FAR_S = 2**40
USDC, CBBTC = 10**6, 10**8


@dataclass(frozen=True)
class Exchange:
    """The contracts on one node."""

    node: Node
    factory: str
    positions: str
    router: str
    usdc: str
    cbbtc: str

    @property
    def contracts(self) -> Contracts:
        return Contracts(CHAIN_ID, self.factory, self.usdc, self.cbbtc)

    def pool(self, price: int, fee: int, cbbtc: int) -> None:
        """Make the pool of ``fee`` at ``price`` whole USDC, over all prices, with ``cbbtc`` whole coins."""
        usdc_raw, cbbtc_raw = price * cbbtc * USDC, cbbtc * CBBTC
        sides = sorted([(int(self.usdc, 16), usdc_raw), (int(self.cbbtc, 16), cbbtc_raw)])
        (token0, raw0), (token1, raw1) = sides
        sqrt_price = isqrt((raw1 << 192) // raw0)
        node = self.node
        create = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
        node.send(self.positions, create, token0, token1, fee, sqrt_price)
        for token, raw in sides:
            node.send(f"0x{token:040x}", "mint(address,uint256)", node.me, raw)
            node.send(f"0x{token:040x}", "approve(address,uint256)", self.positions, _EVERYTHING)
        edge = 887272 // _SPACING[fee] * _SPACING[fee]
        mint = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
        node.send(self.positions, mint, token0, token1, fee, -edge, edge, raw0, raw1, 0, 0, node.me, _FAR_S)

    def buy(self, usdc: int, fee: int) -> None:
        """Spend ``usdc`` whole USDC on cbBTC in the pool of ``fee``, which raises its price."""
        node, raw = self.node, usdc * USDC
        node.send(self.usdc, "mint(address,uint256)", node.me, raw)
        node.send(self.usdc, "approve(address,uint256)", self.router, raw)
        swap = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
        node.send(self.router, swap, self.usdc, self.cbbtc, fee, node.me, raw, 0, 0)


def deployed(node: Node, *, cbbtc_first: bool) -> Exchange:
    """All contracts, fresh. ``cbbtc_first``: cbBTC has the smaller address, and so is token0."""
    weth = node.deploy(_WETH)
    factory = node.deploy(_FACTORY)
    node.send(factory, "enableFeeAmount(uint24,int24)", 100, _SPACING[100])
    positions = node.deploy(_POSITIONS, factory, weth, weth)
    router = node.deploy(_ROUTER, 0, factory, positions, weth)
    while True:
        usdc, cbbtc = _token(node, "USDC", 6), _token(node, "cbBTC", 8)
        if (int(cbbtc, 16) < int(usdc, 16)) == cbbtc_first:
            return Exchange(node, factory, positions, router, usdc, cbbtc)


def _token(node: Node, name: str, decimals: int) -> str:
    text = encode([len(name)]) + name.encode().ljust(32, b"\0")
    return node.deploy(_TOKEN, 96, 160, decimals, text=text + text)
