"""Binance spot over REST: the venue's time, what a market is, and the candles that have been.

Only public data. Every request is a question, so every failure may be asked again; what the retries do not cure becomes
VenueRetryable. Sources: the venue's ``rest-api.md`` and ``filters.md``.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import random
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from trading.candles import Candle
from trading.clock import HostClock, SystemClock, TimeSample
from trading.config.model import BinanceVenue
from trading.errors import BadInput, ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.feed_events import Anomaly
from trading.intervals import MINUTE_MS
from trading.markets import Market
from trading.venues.binance.limits import WeightLimiter
from trading.venues.binance.messages import KlineReader
from trading.venues.origin import Origin, check_origin

__all__ = ["PAGE_ROWS", "BinanceHistory", "Page"]

PAGE_ROWS = 1000
_ATTEMPTS = 3
_FIRST_DELAY_S = 0.25
_PATIENCE_S = 2.0
_LARGEST_ANSWER = 64 * 1024 * 1024
_BAD_SYMBOL = -1121


class Page(NamedTuple):
    """One answer about closed candles. ``through_ms`` is the time before which it is complete: every minute asked for
    below it is either in ``candles``, in ``unusable``, or absent at the venue. ``more`` means the page was full.
    """

    candles: tuple[Candle, ...]
    through_ms: int
    more: bool
    unusable: tuple[int, ...]
    anomalies: tuple[Anomaly, ...]


class BinanceHistory:
    """A client for the REST side. ``async with`` it, or call ``close``.

    Raises ConfigError for what only a changed configuration cures, VenueAuth when the venue refuses this address, and
    VenueRetryable, with the venue's own waiting time if it gave one, for everything that may pass.
    """

    def __init__(
        self,
        settings: BinanceVenue,
        *,
        origin: Origin,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_origin(origin, settings.rest_url, "venues.binance.rest_url")
        self._settings = settings
        self._base = settings.rest_url.rstrip("/") + "/api/v3"
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._trust_env = origin == "venue"
        self._session: aiohttp.ClientSession | None = None
        self.limiter = WeightLimiter(settings.weight_per_minute, self._clock.monotonic)
        self.requests = 0
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def time(self) -> TimeSample:
        """The venue's time, paired with the host's midpoint between question and answer."""
        asked_ns = self._clock.time_ns()
        body = await self._get("time", {}, weight=1)
        answered_ns = self._clock.time_ns()
        try:
            venue_ms = int(body["serverTime"])
        except (TypeError, KeyError, ValueError) as error:
            raise VenueRetryable("The venue's answer holds no serverTime.") from error
        return TimeSample(venue_ms, (asked_ns + answered_ns) // 2)

    async def market(self, symbol: str) -> Market:
        """Return ``symbol`` as the venue describes it, and take over the venue's weight limit.

        Raises ConfigError when the venue does not know it (with the nearest names) or does not trade it now.
        """
        try:
            body = await self._get("exchangeInfo", {"symbol": symbol}, weight=20)
        except BadInput as error:
            near = await self._nearest(symbol)
            raise ConfigError(
                f"Binance does not know {symbol!r}.",
                field="markets",
                value=f"binance:{symbol}",
                fix=f"Did you mean {near}?" if near else "Use a spot symbol such as BTCUSDT.",
            ) from error
        try:
            self._take_limits(body)
            found = {item["symbol"]: item for item in body["symbols"]}
            return _market(found[symbol])
        except (TypeError, KeyError, ValueError, InvalidOperation) as error:
            raise VenueRetryable(f"The venue's description of {symbol} is unreadable: {error!r}.") from error

    async def page(self, reader: KlineReader, symbol: str, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        """Ask once for the closed 1m candles from ``from_ms`` on, oldest first.

        ``to_ms`` limits the question to a little more than that far. A candle that closes after ``closed_by_ms``, a
        venue time that has surely passed, counts as open unless a later row follows it.
        """
        limit = PAGE_ROWS if to_ms is None else max(2, min(PAGE_ROWS, (to_ms - from_ms) // MINUTE_MS + 2))
        query = {"symbol": symbol, "interval": "1m", "startTime": str(from_ms), "limit": str(limit)}
        rows = await self._get("klines", query, weight=2)
        if not isinstance(rows, list):
            raise VenueRetryable("The venue's answer holds no rows.")
        candles, unusable, anomalies, is_whole = reader.rows(rows)
        if not is_whole:
            raise VenueRetryable(f"The venue's answer is unreadable: {anomalies[-1].detail}.")
        candles = tuple(candle for candle in candles if candle.open_time_ms >= from_ms)
        through_ms = max((opened + MINUTE_MS for opened in unusable), default=from_ms)
        if candles and candles[-1].close_time_ms > through_ms:
            last = candles[-1]
            through_ms = last.close_time_ms
            if last.close_time_ms > closed_by_ms:
                candles, through_ms = candles[:-1], last.open_time_ms
        return Page(candles, through_ms, len(rows) >= limit and through_ms > from_ms, unusable, anomalies)

    async def _nearest(self, symbol: str) -> str:
        try:
            body = await self._get("exchangeInfo", {}, weight=20)
            names = [str(item["symbol"]) for item in body["symbols"] if item.get("status") == "TRADING"]
        except (MantaError, TypeError, KeyError, AttributeError):
            return ""
        return ", ".join(difflib.get_close_matches(symbol.upper(), names, n=3, cutoff=0.5))

    def _take_limits(self, body: dict[str, Any]) -> None:
        for limit in body["rateLimits"]:
            if limit["rateLimitType"] == "REQUEST_WEIGHT" and limit["interval"] == "MINUTE":
                self.limiter.lower(int(limit["limit"]) // int(limit["intervalNum"]))

    async def _get(self, path: str, query: dict[str, str], *, weight: int) -> Any:
        """Ask, again if need be, with full jitter between attempts or as long as the venue wants."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self.limiter.acquire(weight)
                return await self._once(path, query)
            except VenueRetryable as error:
                wait = error.retry_after_s
                if attempt == _ATTEMPTS or (wait is not None and wait > _PATIENCE_S):
                    raise
                self.retries += 1
                await asyncio.sleep(wait if wait is not None else self._jitter() * _FIRST_DELAY_S * 2.0**attempt)
        raise VenueRetryable(f"{path} was not answered.")

    async def _once(self, path: str, query: dict[str, str]) -> Any:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._settings.request_timeout_s)
            self._session = aiohttp.ClientSession(
                timeout=timeout, trust_env=self._trust_env, headers={"User-Agent": "manta"}
            )
        self.requests += 1
        url = f"{self._base}/{path}"
        try:
            async with self._session.get(url, params=query, allow_redirects=False) as response:
                text = await _read(response)
                status, headers = response.status, response.headers
        except TimeoutError as error:
            raise VenueRetryable(f"{path} had no answer within {self._settings.request_timeout_s:g} s.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise VenueRetryable(f"{path} could not be asked: {error or type(error).__name__}.") from error
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdecimal():
            self.limiter.observe(int(used))
        if status == 200:
            return _parsed(path, text)
        raise self._refusal(path, status, headers.get("Retry-After", ""), text)

    def _refusal(self, path: str, status: int, retry_after: str, text: str) -> MantaError:
        code, message = _error_body(text)
        said = f"{path}: HTTP {status}" + (f", {code} {message}" if code or message else "")
        if status in (418, 429) or code == -1003:
            wait = float(retry_after) if retry_after.isdecimal() else 120.0 if status == 418 else 10.0
            self.limiter.block(wait)
            return VenueRetryable(f"{said}: too many requests.", retry_after_s=wait)
        if status >= 500 or status in (408, 409, 425):
            wait_s = float(retry_after) if retry_after.isdecimal() else None
            return VenueRetryable(said, retry_after_s=wait_s)
        if status in (401, 403, 451):
            return VenueAuth(said, field="venues.binance.rest_url", fix="Is this address allowed to use the venue?")
        if code == _BAD_SYMBOL:
            return BadInput(said, field="symbol", fix="Use a symbol that the venue lists.")
        return ConfigError(said, field="venues.binance.rest_url", value=self._base, fix="Is this Binance's REST base?")


async def _read(response: aiohttp.ClientResponse) -> str:
    body = await response.content.read(_LARGEST_ANSWER)
    chunks = [body]
    while body:
        body = await response.content.read(_LARGEST_ANSWER)
        chunks.append(body)
        if sum(map(len, chunks)) > _LARGEST_ANSWER:
            raise ValueError("the answer is too large")
    return b"".join(chunks).decode("utf-8")


def _parsed(path: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VenueRetryable(f"{path}: the answer is no JSON: {text[:100]!r}.") from error


def _error_body(text: str) -> tuple[int, str]:
    try:
        body = json.loads(text)
        return int(body["code"]), str(body.get("msg", ""))[:200]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0, ""


def _market(info: dict[str, Any]) -> Market:
    symbol = info["symbol"]
    if info["status"] != "TRADING":
        raise ConfigError(
            f"Binance does not trade {symbol} now: its status is {info['status']}.",
            field="markets",
            value=f"binance:{symbol}",
            fix="Remove it from markets, or wait until the venue trades it again.",
        )
    filters = {item["filterType"]: item for item in info["filters"]}
    tick = Decimal(filters["PRICE_FILTER"]["tickSize"])
    lot = Decimal(filters["LOT_SIZE"]["stepSize"])
    market_lot = Decimal(filters.get("MARKET_LOT_SIZE", {}).get("stepSize", "0"))
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    lot = max(lot, market_lot)
    return Market(
        venue="binance",
        symbol=symbol,
        kind="spot",
        base=info["baseAsset"],
        quote=info["quoteAsset"],
        price_decimals=_decimals(tick),
        size_decimals=_decimals(lot),
        tick_size=tick.normalize(),
        lot_size=lot.normalize(),
        min_notional=Decimal(notional.get("minNotional", "0")).normalize(),
    )


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) and step else 8
