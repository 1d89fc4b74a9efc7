"""Configured symbols against what the venues list: before anything starts, so that a typing error costs no candle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trading.config.model import Config
from trading.errors import ConfigError, VenueAuth, VenueRetryable
from trading.markets import Market, split_market
from trading.venues.adapter import History, adapter
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.origin import Origin, is_loopback

__all__ = ["Resolution", "check_books", "open_history", "resolve_markets", "with_aliases"]

# Lists of market=other market.
_PAIRS = ("against", "second")


class Resolution(NamedTuple):
    """``markets`` as the venues describe them, in the order of ``config.markets``, whose names are the venues' own.

    ``aliases`` maps what was written to what it means; ``warnings`` say so to the user.
    """

    config: Config
    markets: tuple[Market, ...]
    aliases: dict[str, str]
    warnings: tuple[str, ...]


def open_history(config: Config, venue: str, *, origin: Origin, limits: ClusterLimits | None = None) -> History:
    """A REST client of ``venue`` as ``config`` says; close it. Without ``limits`` it counts its weight alone."""
    limiter = limits.of(venue) if limits is not None else None
    return adapter(venue).history(config.venues.of(venue), origin=origin, limiter=limiter)


async def resolve_markets(config: Config, *, origin: Origin, limits: ClusterLimits | None = None) -> Resolution:
    """Ask each venue for the configured markets.

    Raises ConfigError that names every unknown market with its nearest names, or a book that cannot pay for a market it
    trades; VenueRetryable, VenueAuth when a venue does not answer.
    """
    async with AsyncExitStack() as stack:
        histories: dict[str, History] = {}
        for venue in dict.fromkeys(split_market(name)[0] for name in config.markets):
            history = open_history(config, venue, origin=origin, limits=limits)
            histories[venue] = await stack.enter_async_context(history)
        asked = [_one(histories[split_market(name)[0]], name) for name in config.markets]
        found = await asyncio.gather(*asked)
        await _check_lenders(config, origin, limits)
    wrong = [each for each in found if isinstance(each, ConfigError)]
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ConfigError(" ".join(str(error) for error in wrong), field="markets")
    markets = [each for each in found if isinstance(each, Market)]
    pairs = list(zip(config.markets, markets, strict=True))
    aliases = {name: market.key for name, market in pairs if name != market.key}
    warnings = tuple(
        f"{name} means {market.key}. {market.warning}".rstrip() for name, market in pairs if market.warning
    )
    known: dict[str, Market] = {market.key: market for market in markets}
    resolved = with_aliases(config, aliases)
    check_books(resolved, known.values())
    return Resolution(resolved, tuple(known.values()), aliases, warnings)


def check_books(config: Config, markets: Iterable[Market]) -> None:
    """Raise ConfigError for a book whose strategies trade a market that is paid for in another currency."""
    quotes = {market.key: market.quote for market in markets}
    for instance in config.strategies:
        currency = config.books[instance.book].currency
        for key in config.markets_of(instance):
            if quotes[key] != currency:
                raise ConfigError(
                    f"{instance.name} trades {key}, which is paid for in {quotes[key]}, in the book {instance.book}, "
                    f"which is counted in {currency}.",
                    field=f"books.{instance.book}.currency",
                    value=currency,
                    fix=f"Set it to {quotes[key]}, or give {instance.name} a book in {quotes[key]} for this market.",
                )


async def _check_lenders(config: Config, origin: Origin, limits: ClusterLimits | None) -> None:
    """Raise ConfigError for a lending market that its venue does not know; a venue that is away lends later."""
    for other in dict.fromkeys(filter(None, map(config.history.lender_of, config.markets))):
        venue, symbol = split_market(other)
        if origin == "simulator" and not is_loopback(urlsplit(config.venues.of(venue).rest_url).hostname or ""):
            # A replay asks nothing beyond this machine, and has nothing lent.
            continue
        async with open_history(config, venue, origin=origin, limits=limits) as history:
            try:
                await history.market(symbol)
            except ConfigError as error:
                raise ConfigError(error.message, field="history.second", value=other, fix=error.fix) from error
            except (VenueRetryable, VenueAuth):
                continue


def with_aliases(config: Config, aliases: Mapping[str, str]) -> Config:
    """``config`` with the venues' own names of markets, each once."""
    if not aliases:
        return config
    return Config.model_validate(_renamed(config.model_dump(mode="json"), aliases))


def _renamed(part: Any, aliases: Mapping[str, str]) -> Any:
    """``part`` of a configuration with every list of ``markets``, and of pairs that begin with one, renamed."""
    if isinstance(part, list):
        return [_renamed(each, aliases) for each in part]
    if not isinstance(part, dict):
        return part
    renamed = {}
    for key, value in part.items():
        if key == "markets":
            renamed[key] = list(dict.fromkeys(aliases.get(name, name) for name in value))
        elif key in _PAIRS:
            pairs = [text.partition("=") for text in value]
            renamed[key] = [f"{aliases.get(name, name)}={other}" for name, _, other in pairs]
        else:
            renamed[key] = _renamed(value, aliases)
    return renamed


async def _one(history: History, name: str) -> Market | ConfigError:
    try:
        return await history.market(split_market(name)[1])
    except ConfigError as error:
        return error
