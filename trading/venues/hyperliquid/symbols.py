"""Which market a name means: perps from ``meta``, spot pairs from ``spotMeta``. Pure, and nothing is hard-coded but
the names that people bring along from elsewhere.

The venue's own names decide and are case sensitive. A spot pair goes by ``@index`` on the wire (only PURR/USDC does
not), and networks number them differently, so ``UBTC/USDC`` is looked up by its tokens.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading.errors import ConfigError, VenueRetryable
from trading.markets import Market

__all__ = ["Listing", "Names"]

_VENUE = "hyperliquid"
# The most decimals a price may have, less those of the size.
_PERP_DECIMALS, _SPOT_DECIMALS = 6, 8
_LEAST_VALUE = Decimal(10)
# What other venues and the venue's own pages call what it trades under another name, in small letters.
_PERP_ALIASES = {"cbbtc": "BTC", "cbbtc-perp": "BTC"}
_SPOT_ALIASES = {"cbbtc/usdc": "UBTC/USDC", "cbbtc-spot": "UBTC/USDC", "btc/usdc": "UBTC/USDC"}


@dataclass(frozen=True, slots=True)
class Listing:
    """One market as the venue lists it. ``coin`` is its name on the wire, ``pair`` the name of a spot pair's tokens."""

    coin: str
    pair: str
    kind: str
    base: str
    quote: str
    size_decimals: int
    delisted: bool = False


class Names:
    """Everything the venue lists; raises VenueRetryable when its two answers cannot be read."""

    def __init__(self, meta: Any, spot_meta: Any) -> None:
        try:
            tokens = {token["index"]: token for token in spot_meta["tokens"]}
            quote = str(tokens[meta["collateralToken"]]["name"]) if "collateralToken" in meta else "USDC"
            listings = [_perp(entry, quote) for entry in meta["universe"]]
            listings += [_spot(entry, tokens) for entry in spot_meta["universe"]]
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            raise VenueRetryable(f"The venue's list of markets is unreadable: {error!r}.") from error
        self._by_coin = {listing.coin: listing for listing in reversed(listings)}
        self._by_pair = {listing.pair: listing for listing in reversed(listings) if listing.pair}

    def market(self, symbol: str) -> Market:
        """The market that ``symbol`` means; its ``warning`` says so when it is not the venue's own name.

        Raises ConfigError with the nearest names when there is none, and when the venue has ended it.
        """
        listing, warning = self._find(symbol)
        if listing.delisted:
            raise ConfigError(
                f"Hyperliquid has delisted {listing.coin}.",
                field="markets",
                value=f"{_VENUE}:{symbol}",
                fix="Remove it from markets.",
            )
        most = _PERP_DECIMALS if listing.kind == "perp" else _SPOT_DECIMALS
        price_decimals = max(0, most - listing.size_decimals)
        return Market(
            venue=_VENUE,
            symbol=listing.coin,
            kind=listing.kind,
            base=listing.base,
            quote=listing.quote,
            price_decimals=price_decimals,
            size_decimals=listing.size_decimals,
            tick_size=Decimal(1).scaleb(-price_decimals),
            lot_size=Decimal(1).scaleb(-listing.size_decimals),
            min_notional=_LEAST_VALUE,
            warning=warning,
        )

    def _find(self, symbol: str) -> tuple[Listing, str]:
        if symbol in self._by_coin:
            return self._by_coin[symbol], ""
        if symbol in self._by_pair:
            listing = self._by_pair[symbol]
            return listing, f"{_VENUE}:{symbol} is called {listing.coin} by the venue, and so here."
        perp, spot = _PERP_ALIASES.get(symbol.lower()), _SPOT_ALIASES.get(symbol.lower())
        if perp in self._by_coin:
            return self._by_coin[perp], (
                f"Hyperliquid has no {symbol}: its perpetual {perp} is used instead, as if 1 {symbol} were 1 {perp}."
                if perp is not None
                else ""
            )
        if spot in self._by_pair:
            listing = self._by_pair[spot]
            return listing, (
                f"Hyperliquid has no {symbol}: its spot pair {spot} ({listing.coin}) is used instead, as if 1"
                f" {symbol.partition('/')[0].partition('-')[0]} were 1 {listing.base}."
            )
        raise self._unknown(symbol)

    def _unknown(self, symbol: str) -> ConfigError:
        known = [name for name, listing in {**self._by_coin, **self._by_pair}.items() if not listing.delisted]
        same = [name for name in known if name.lower() == symbol.lower()]
        near = same or [name for name in known if name.upper() == _base_of(symbol)]
        near = near or difflib.get_close_matches(symbol, known, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {', '.join(near)}?" if near else "Use a perp such as BTC or a spot pair such as UBTC/USDC."
        )
        if same:
            hint += " The venue tells capital from small letters."
        return ConfigError(
            f"Hyperliquid does not know {symbol!r}.", field="markets", value=f"{_VENUE}:{symbol}", fix=hint
        )


def _base_of(symbol: str) -> str:
    """What a name of other venues trades: BTCUSDT and BTC-PERP trade BTC."""
    text = symbol.upper().partition("-")[0].partition("/")[0].partition("_")[0]
    for quote in ("USDT", "USDC", "USD"):
        text = text.removesuffix(quote)
    return text


def _perp(entry: Mapping[str, Any], quote: str) -> Listing:
    name = str(entry["name"])
    return Listing(name, "", "perp", name, quote, int(entry["szDecimals"]), bool(entry.get("isDelisted", False)))


def _spot(entry: Mapping[str, Any], tokens: Mapping[int, Mapping[str, Any]]) -> Listing:
    base, quote = (tokens[number] for number in entry["tokens"])
    pair = f"{base['name']}/{quote['name']}"
    return Listing(str(entry["name"]), pair, "spot", str(base["name"]), str(quote["name"]), int(base["szDecimals"]))
