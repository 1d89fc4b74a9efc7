"""The price of cbBTC in USDC that Uniswap V3 pools on Base show, in integers throughout.

A pool holds the square root of its price: ``(sqrtPriceX96 / 2**96)**2`` is the raw amount of token1 worth one raw unit
of token0, where token0 is the token with the smaller address. Sources: Uniswap V3 core, ``IUniswapV3Factory`` and
``IUniswapV3PoolState``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trading.candles import UNIT
from trading.errors import ConfigError, VenueRetryable
from trading.venues.base.rpc import NAME, BaseRpc, read_bytes

__all__ = ["FEES", "Contracts", "PoolPrice", "PoolReader", "price_units"]

FEES = (100, 500, 3000, 10000)
"""Fee tiers, in hundredths of a basis point: each may have a pool of its own."""

_GET_POOL = bytes.fromhex("1698ee82")  # getPool(address,address,uint24)
_SLOT0 = bytes.fromhex("3850c7bd")  # slot0()
_LIQUIDITY = bytes.fromhex("1a686502")  # liquidity()
_DECIMALS = bytes.fromhex("313ce567")  # decimals()
_WORD = 32
_Q192 = 1 << 192
_MOST_DECIMALS = 36


class Contracts(NamedTuple):
    """Which chain, and where on it the contracts are."""

    chain_id: int
    factory: str
    usdc: str
    cbbtc: str


class PoolPrice(NamedTuple):
    """``units`` are USDC for one cbBTC at 10**-8, from the pool of ``fee`` at ``pool``."""

    units: int
    fee: int
    pool: str


def price_units(sqrt_price_x96: int, *, base_is_token0: bool, base_decimals: int, quote_decimals: int) -> int:
    """The price of one whole base token in whole quote tokens, at 10**-8, rounded down."""
    squared = sqrt_price_x96 * sqrt_price_x96
    above, below = (squared, _Q192) if base_is_token0 else (_Q192, squared)
    scaled: int = UNIT * 10**base_decimals * above
    divisor: int = 10**quote_decimals * below
    return scaled // divisor


class PoolReader:
    """Reads the pool with the most liquidity in use.

    The chain's number and the contracts' code are checked once, before the first price: ConfigError when they are not
    what ``contracts`` says. VenueRetryable when the node does not answer, or answers what cannot be read.
    """

    def __init__(self, rpc: BaseRpc, contracts: Contracts) -> None:
        self._rpc = rpc
        self._contracts = contracts
        self._decimals: tuple[int, int] | None = None

    async def price(self) -> PoolPrice:
        """What the pools show now; ConfigError when there is none with liquidity."""
        if self._decimals is None:
            self._decimals = await self._check()
        base_decimals, quote_decimals = self._decimals
        usdc, cbbtc = _address(self._contracts.usdc), _address(self._contracts.cbbtc)
        best: tuple[int, int, str] | None = None
        for fee in FEES:
            question = _GET_POOL + usdc.rjust(_WORD, b"\0") + cbbtc.rjust(_WORD, b"\0") + fee.to_bytes(_WORD, "big")
            found = (await self._words(self._contracts.factory, question, 1))[0]
            if found:
                pool = f"0x{found:040x}"
                liquidity = (await self._words(pool, _LIQUIDITY, 1))[0]
                if liquidity and (best is None or liquidity > best[0]):
                    best = liquidity, fee, pool
        if best is None:
            raise ConfigError(
                "No USDC/cbBTC pool with liquidity is at the configured factory.",
                field="cross_check.base.factory",
                value=self._contracts.factory,
                fix="Check the three addresses below cross_check.base.",
            )
        _, fee, pool = best
        sqrt_price = (await self._words(pool, _SLOT0, 7))[0]
        if not 0 < sqrt_price < 1 << 160:
            raise VenueRetryable(f"The pool {pool} has no price: its square root is {sqrt_price}.")
        units = price_units(
            sqrt_price, base_is_token0=cbbtc < usdc, base_decimals=base_decimals, quote_decimals=quote_decimals
        )
        return PoolPrice(units, fee, pool)

    async def _check(self) -> tuple[int, int]:
        wanted = self._contracts
        chain = read_number("eth_chainId", await self._rpc.ask("eth_chainId", []))
        if chain != wanted.chain_id:
            raise ConfigError(
                f"The node of {NAME} is on chain {chain}, not {wanted.chain_id}.",
                field=NAME,
                fix="Use a node of Base mainnet, or set cross_check.base.chain_id and the addresses of your chain.",
            )
        for name in ("factory", "usdc", "cbbtc"):
            address = getattr(wanted, name)
            if not read_bytes("eth_getCode", await self._rpc.ask("eth_getCode", [address, "latest"])):
                raise ConfigError(
                    f"There is no contract at {address} on chain {chain}.",
                    field=f"cross_check.base.{name}",
                    value=address,
                    fix="Give the address of the contract on that chain.",
                )
        found = [(await self._words(address, _DECIMALS, 1))[0] for address in (wanted.cbbtc, wanted.usdc)]
        if max(found) > _MOST_DECIMALS:
            raise VenueRetryable(f"The tokens say that they have {found} decimals.")
        return found[0], found[1]

    async def _words(self, to: str, data: bytes, count: int) -> Sequence[int]:
        """``count`` words of what ``to`` returns, as unsigned numbers."""
        returned = await self._rpc.call(to, data)
        if len(returned) < count * _WORD:
            raise VenueRetryable(f"{to} returned {len(returned)} bytes where {count * _WORD} belong.")
        return [int.from_bytes(returned[at : at + _WORD], "big") for at in range(0, count * _WORD, _WORD)]


def _address(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def read_number(what: str, value: object) -> int:
    """The number of a 0x text; VenueRetryable when it is none."""
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise VenueRetryable(f"{what}: {str(value)[:80]!r} is no hexadecimal number.")
