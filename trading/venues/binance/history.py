"""Binance over REST: the venue's time, what a market is, and the candles that have been.

Sources: the venue's ``rest-api.md`` and ``filters.md``. The futures differ in a few facts, which their class names.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from trading.candles import Source
from trading.clock import HostClock, SystemClock, TimeSample
from trading.config.model import BinanceUsdmVenue, BinanceVenue
from trading.errors import BadInput, ConfigError, MantaError, VenueRetryable
from trading.intervals import parse_interval
from trading.markets import Market
from trading.venues.adapter import Budget, Limiter, Page
from trading.venues.binance.messages import KlineReader
from trading.venues.future import without_future
from trading.venues.http import Answer, RestClient, TooManyRequests, VenueHttp, status_error
from trading.venues.limits import WeightLimiter
from trading.venues.origin import Origin

__all__ = ["BinanceHistory", "budget"]

_BAD_SYMBOL = -1121
_TOO_MUCH_WEIGHT = -1003


def budget(settings: BinanceVenue | BinanceUsdmVenue) -> Budget:
    """The request weight that the configuration allows."""
    return Budget(settings.weight_per_minute, 60.0)


class BinanceHistory(RestClient):
    """A client for the spot market's REST side. ``limiter`` is lowered to the venue's own limit once it is told."""

    venue: ClassVar[str] = "binance"
    title: ClassVar[str] = "Binance"
    path: ClassVar[str] = "/api/v3"
    page_rows: ClassVar[int] = 1000
    example: ClassVar[str] = "BTCUSDT"

    def __init__(
        self,
        settings: BinanceVenue | BinanceUsdmVenue,
        *,
        origin: Origin = "venue",
        limiter: Limiter | None = None,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        clock = clock or SystemClock()
        self._field = f"venues.{self.venue}.rest_url"
        self._http = VenueHttp(
            settings.rest_url.rstrip("/") + self.path,
            field=self._field,
            timeout_s=settings.request_timeout_s,
            origin=origin,
            limiter=limiter or WeightLimiter(budget(settings), clock.monotonic),
            judge=self._judge,
            clock=clock,
            jitter=jitter,
        )

    async def time(self) -> TimeSample:
        """The venue's time, paired with the host's midpoint between question and answer."""
        return await self._http.time(lambda: self._http.get("time", {}, weight=1), lambda body: int(body["serverTime"]))

    async def market(self, symbol: str) -> Market:
        """Return ``symbol`` as the venue describes it, and take over the venue's weight limit.

        Raises ConfigError when the venue does not know it (with the nearest names) or does not trade it now.
        """
        body = await self.listing(symbol)
        try:
            self._take_limits(body)
            found = {item["symbol"]: item for item in body["symbols"]}
            if symbol in found:
                return self.describe(found[symbol])
            names = [name for name, item in found.items() if item.get("status") == "TRADING"]
        except (TypeError, KeyError, ValueError, AttributeError, InvalidOperation) as error:
            raise VenueRetryable(f"The venue's description of {symbol} is unreadable: {error!r}.") from error
        near = ", ".join(difflib.get_close_matches(symbol.upper(), names, n=3, cutoff=0.5))
        raise ConfigError(
            f"{self.title} does not know {symbol!r}.",
            field="markets",
            value=f"{self.venue}:{symbol}",
            fix=f"Did you mean {near}?" if near else f"Use a symbol such as {self.example}.",
        )

    async def page(self, symbol: str, interval: str, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        """Ask once for the closed candles from ``from_ms`` on, oldest first.

        ``to_ms`` limits the question to a little more than that far. A candle that closes after ``closed_by_ms``, a
        venue time that has surely passed, counts as open unless a later row follows it.
        """
        width = parse_interval(interval)
        rows_wanted = self.page_rows if to_ms is None else (to_ms - from_ms) // width.typical_ms + 2
        limit = max(2, min(self.page_rows, rows_wanted))
        query = {"symbol": symbol, "interval": interval, "startTime": str(from_ms), "limit": str(limit)}
        rows = await self._http.get("klines", query, weight=self.kline_weight(limit))
        if not isinstance(rows, list):
            raise VenueRetryable("The venue's answer holds no rows.")
        source = Source.REST if interval == "1m" else Source.NATIVE
        reader = KlineReader(f"{self.venue}:{symbol}", symbol, interval)
        read = reader.rows(rows, source.value)
        if not read.is_whole:
            raise VenueRetryable(f"The venue's answer is unreadable: {read.anomalies[-1].detail}.")
        read = await without_future(read, f"{self.venue}:{symbol}", width, closed_by_ms, self.time)
        candles, unusable, anomalies, _ = read
        candles = tuple(candle for candle in candles if candle.open_time_ms >= from_ms)
        through_ms = max((width.close_of(opened) for opened in unusable), default=from_ms)
        if candles and candles[-1].close_time_ms > through_ms:
            last = candles[-1]
            through_ms = last.close_time_ms
            if last.close_time_ms > closed_by_ms:
                candles, through_ms = candles[:-1], last.open_time_ms
        return Page(candles, through_ms, len(rows) >= limit and through_ms > from_ms, unusable, anomalies)

    def horizon_ms(self, interval: str) -> int | None:
        return None

    # What spot and futures tell differently

    def kline_weight(self, limit: int) -> int:
        """The weight of a question for ``limit`` candles."""
        return 2

    async def listing(self, symbol: str) -> Any:
        """The venue's description of ``symbol``, or of all its markets when it does not know that one."""
        try:
            return await self._http.get("exchangeInfo", {"symbol": symbol}, weight=20)
        except BadInput:
            return await self._http.get("exchangeInfo", {}, weight=20)

    def describe(self, info: dict[str, Any]) -> Market:
        """The market that the venue describes in ``info``."""
        notional, filters = self.filters(info)
        return self.build(info, "spot", filters, notional.get("minNotional", "0"))

    # Shared parts

    def filters(self, info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The filter of the least order value, and all filters by type; ConfigError if the market does not trade."""
        if info["status"] != "TRADING":
            raise ConfigError(
                f"{self.title} does not trade {info['symbol']} now: its status is {info['status']}.",
                field="markets",
                value=f"{self.venue}:{info['symbol']}",
                fix="Remove it from markets, or wait until the venue trades it again.",
            )
        filters = {item["filterType"]: item for item in info["filters"]}
        return filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}, filters

    def build(self, info: dict[str, Any], kind: str, filters: dict[str, Any], min_notional: str) -> Market:
        tick = Decimal(filters["PRICE_FILTER"]["tickSize"])
        lot = Decimal(filters["LOT_SIZE"]["stepSize"])
        lot = max(lot, Decimal(filters.get("MARKET_LOT_SIZE", {}).get("stepSize", "0")))
        return Market(
            venue=self.venue,
            symbol=info["symbol"],
            kind=kind,
            base=info["baseAsset"],
            quote=info["quoteAsset"],
            price_decimals=_decimals(tick),
            size_decimals=_decimals(lot),
            tick_size=tick.normalize(),
            lot_size=lot.normalize(),
            min_notional=Decimal(min_notional).normalize(),
        )

    def _take_limits(self, body: dict[str, Any]) -> None:
        for limit in body["rateLimits"]:
            if limit["rateLimitType"] == "REQUEST_WEIGHT" and limit["interval"] == "MINUTE":
                self.limiter.lower(int(limit["limit"]) // int(limit["intervalNum"]))

    def _judge(self, answer: Answer) -> MantaError | None:
        used = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdecimal():
            self.limiter.observe(int(used))
        code, message = _error_body(answer.text) if answer.status != 200 else (0, "")
        said = f"{code} {message}" if code or message else ""
        if code == _TOO_MUCH_WEIGHT:
            wait_s = answer.retry_after_s
            return TooManyRequests(said, retry_after_s=_pause_s(answer.status) if wait_s is None else wait_s)
        if code == _BAD_SYMBOL:
            return BadInput(f"{answer.path}: {said}", field="symbol", fix="Use a symbol that the venue lists.")
        return status_error(answer, self._field, said=said, pause_s=_pause_s)


def _pause_s(status: int) -> float:
    """How long to leave the venue alone when it does not say: the shortest ban is two minutes."""
    return 120.0 if status == 418 else 10.0


def _error_body(text: str) -> tuple[int, str]:
    try:
        body = json.loads(text)
        return int(body["code"]), str(body.get("msg", ""))[:200]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0, ""


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) and step else 8
