"""Whether a market costs what it costs elsewhere: what is compared, and what of it is news. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from trading.candles import Candle, from_units
from trading.intervals import MINUTE_MS
from trading.markets import Market

__all__ = ["POOL", "Compared", "Finding", "Watch", "counterpart", "newest_common", "wants_pool"]

POOL = "base:cbBTC"
"""What the pools on Base are called where another market would be named."""

_DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "USDT0"})
# Wrapped coins by the coin that they stand for.
_COINS = {"UBTC": "BTC", "CBBTC": "BTC", "UETH": "ETH", "USOL": "SOL"}
# How far back below the limit a price must come to count as agreeing again.
_BACK = Decimal("0.8")
_PATIENCE = 3


def counterpart(market: Market) -> str | None:
    """The market elsewhere that should cost the same; None when the coin or its quote currency gives none."""
    coin = _coin(market)
    if market.quote not in _DOLLARS or not coin.isupper() or coin.startswith("1000"):
        # kPEPE and 1000PEPE count in thousands.
        return None
    return f"hyperliquid:{coin}" if market.venue == "binance" else f"binance:{coin}USDT"


def wants_pool(market: Market) -> bool:
    """Whether ``market`` is bitcoin in dollars, which the pools on Base price too."""
    return _coin(market) == "BTC" and market.quote in _DOLLARS


def newest_common(ours: Iterable[Candle], theirs: Iterable[Candle]) -> tuple[Candle, Candle] | None:
    """The newest minute that both sides have, from each."""
    known = {candle.open_time_ms: candle for candle in theirs}
    common = [candle for candle in ours if candle.open_time_ms in known]
    newest = max(common, key=lambda candle: candle.open_time_ms, default=None)
    return None if newest is None else (newest, known[newest.open_time_ms])


class Compared(NamedTuple):
    """One comparison: two prices at 10**-8 of the minute that opened at ``at_ms``, or why there are none.

    ``lasting``: the reason will not pass by itself.
    """

    market: str
    against: str
    at_ms: int
    ours: int = 0
    theirs: int = 0
    error: str = ""
    lasting: bool = False

    @property
    def deviation_pct(self) -> Decimal:
        """How far ours is above theirs, in percent of theirs."""
        return Decimal(self.ours - self.theirs) * 100 / self.theirs


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to store and to tell: ``reason`` is ``deviation`` or ``unchecked``; ``over``: it has ended."""

    market: str
    against: str
    reason: str
    from_ms: int
    to_ms: int
    title: str
    message: str
    over: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        return self.market, self.against, self.reason


class Watch:
    """Remembers what is wrong, so that it is told once when it begins and once when it ends.

    ``known`` are the keys of findings that are not over. Not being able to compare is told at once when it is lasting,
    else after three times in a row.
    """

    def __init__(self, max_deviation_pct: float, known: Iterable[tuple[str, str, str]] = ()) -> None:
        self._limit = Decimal(str(max_deviation_pct))
        self._open = set(known)
        self._failures: dict[tuple[str, str], int] = {}

    def see(self, compared: Compared) -> list[Finding]:
        """What is news about one comparison."""
        pair = compared.market, compared.against
        deviates, unchecked = (*pair, "deviation"), (*pair, "unchecked")
        if compared.error:
            self._failures[pair] = self._failures.get(pair, 0) + 1
            told = compared.lasting or self._failures[pair] >= _PATIENCE
            return self._begin(unchecked, compared) if told else []
        self._failures.pop(pair, None)
        found = self._end(unchecked, compared)
        far = abs(compared.deviation_pct)
        if far > self._limit:
            found += self._begin(deviates, compared)
        elif far <= self._limit * _BACK:
            found += self._end(deviates, compared)
        return found

    def _begin(self, key: tuple[str, str, str], compared: Compared) -> list[Finding]:
        if key in self._open:
            return []
        self._open.add(key)
        return [_finding(key, compared, over=False)]

    def _end(self, key: tuple[str, str, str], compared: Compared) -> list[Finding]:
        if key not in self._open:
            return []
        self._open.discard(key)
        return [_finding(key, compared, over=True)]


def _coin(market: Market) -> str:
    return _COINS.get(market.base.upper(), market.base)


def _finding(key: tuple[str, str, str], compared: Compared, *, over: bool) -> Finding:
    market, against, reason = key
    if reason == "unchecked":
        title = f"{market} cannot be compared with {against}"
        message = f"{compared.error} Its candles are recorded and traded on as before, unchecked."
    else:
        far = compared.deviation_pct
        side = "above" if far > 0 else "below"
        title = f"{market} is {abs(far):.2f} % {side} {against}"
        message = (
            f"It closed at {_plain(compared.ours)}, the other price is {_plain(compared.theirs)}. One of the two is "
            "wrong or stands still: look at both before you trust either."
        )
    if over:
        title, message = f"Over: {market} agrees with {against} again", ""
    return Finding(market, against, reason, compared.at_ms, compared.at_ms + MINUTE_MS, title, message, over)


def _plain(units: int) -> str:
    return f"{from_units(units).normalize():f}"
