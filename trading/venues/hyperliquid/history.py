"""Hyperliquid over REST: the venue's time, what a market is, and the candles that have been.

Every question is a POST to ``/info``. The venue keeps the newest 5000 candles of each interval and answers whatever of
them lies in the asked range at once; the last row is mostly still open.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from trading.clock import HostClock, SystemClock, TimeSample
from trading.config.model import HyperliquidVenue
from trading.errors import ConfigError, MantaError, VenueRetryable
from trading.intervals import Interval, parse_interval
from trading.markets import Market
from trading.venues.adapter import Budget, Limiter, Page
from trading.venues.future import without_future
from trading.venues.http import Answer, RestClient, VenueHttp, status_error
from trading.venues.hyperliquid.messages import RowReader
from trading.venues.hyperliquid.symbols import Names
from trading.venues.limits import WeightLimiter
from trading.venues.origin import Origin

__all__ = ["KEPT", "HyperliquidHistory", "budget"]

KEPT = 5000
"""Candles of one interval that the venue keeps."""

_FIELD = "venues.hyperliquid.rest_url"
_LIGHT, _HEAVY = 2, 20
_ROWS_PER_WEIGHT = 60
_NAMES_KEPT_S = 300.0
# Rows asked for beyond the wanted ones, so that a later row can prove that one is absent.
_PROOF_ROWS = 30
_FAR_MS = 4_102_444_800_000
_NO_SUCH = "Failed to deserialize"


def budget(settings: HyperliquidVenue) -> Budget:
    """The request weight that the configuration allows."""
    return Budget(settings.weight_per_minute, 60.0)


class HyperliquidHistory(RestClient):
    """A client for the REST side. ``async with`` it, or call ``close``; it raises what ``History`` says."""

    def __init__(
        self,
        settings: HyperliquidVenue,
        *,
        origin: Origin = "venue",
        limiter: Limiter | None = None,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock or SystemClock()
        self._http = VenueHttp(
            settings.rest_url,
            field=_FIELD,
            timeout_s=settings.request_timeout_s,
            origin=origin,
            limiter=limiter or WeightLimiter(budget(settings), self._clock.monotonic),
            judge=_judge,
            clock=self._clock,
            jitter=jitter,
        )
        self._names: tuple[float, Names] | None = None

    async def time(self) -> TimeSample:
        """The venue's own time, paired with the host's midpoint between question and answer."""
        return await self._http.time(
            lambda: self._http.post("info", {"type": "exchangeStatus"}, weight=_LIGHT),
            lambda body: _whole(body["time"]),
        )

    async def market(self, symbol: str) -> Market:
        """Resolve ``symbol``; see ``symbols.Names``."""
        now = self._clock.monotonic()
        if self._names is None or now - self._names[0] > _NAMES_KEPT_S:
            meta = await self._http.post("info", {"type": "meta"}, weight=_HEAVY)
            spot_meta = await self._http.post("info", {"type": "spotMeta"}, weight=_HEAVY)
            self._names = now, Names(meta, spot_meta)
        return self._names[1].market(symbol)

    async def page(self, symbol: str, interval: str, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        """Ask for closed candles from ``from_ms`` on: all there are up to a little past ``to_ms``, in one answer.

        Candles that the venue keeps no more are ``unusable``, never absent.
        """
        width = parse_interval(interval)
        page = await self._page(symbol, width, from_ms, to_ms, closed_by_ms)
        if to_ms is not None and page.through_ms < to_ms and _proof_end_ms(width, to_ms) < closed_by_ms:
            # Nothing was traded for a while after the wanted candles: only a later row proves what is absent.
            page = await self._page(symbol, width, from_ms, None, closed_by_ms)
        if page.through_ms > from_ms and (not page.candles or page.candles[0].open_time_ms > width.open_of(from_ms)):
            page = await self._beyond_horizon(page, width, from_ms)
        return page

    def horizon_ms(self, interval: str) -> int | None:
        return (KEPT - 1) * parse_interval(interval).typical_ms

    async def _page(self, symbol: str, width: Interval, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        end_ms = _FAR_MS if to_ms is None else _proof_end_ms(width, to_ms)
        wanted = (min(end_ms, closed_by_ms + width.typical_ms) - from_ms) // width.typical_ms + 1
        asked = {"coin": symbol, "interval": width.name, "startTime": from_ms, "endTime": end_ms}
        body = await self._http.post(
            "info",
            {"type": "candleSnapshot", "req": asked},
            weight=_HEAVY + min(KEPT, max(0, wanted)) // _ROWS_PER_WEIGHT + 1,
        )
        if not isinstance(body, list):
            raise VenueRetryable("The venue's answer holds no rows.")
        read = RowReader(f"hyperliquid:{symbol}", symbol, width.name).rows(body)
        if not read.is_whole:
            raise VenueRetryable(f"The venue's answer is unreadable: {read.anomalies[-1].detail}.")
        read = await without_future(read, f"hyperliquid:{symbol}", width, closed_by_ms, self.time)
        # The candle that contains the asked time is in the answer, whenever it began.
        candles = tuple(candle for candle in read.candles if candle.open_time_ms >= from_ms)
        unusable = tuple(opened for opened in read.unusable if opened >= from_ms)
        through_ms = max((width.close_of(opened) for opened in unusable), default=from_ms)
        if candles and candles[-1].close_time_ms > through_ms:
            last = candles[-1]
            through_ms = last.close_time_ms
            if last.close_time_ms > closed_by_ms:
                candles, through_ms = candles[:-1], last.open_time_ms
        return Page(candles, through_ms, False, unusable, read.anomalies)

    async def _beyond_horizon(self, page: Page, width: Interval, from_ms: int) -> Page:
        """Name what lies before the oldest candle that the venue still keeps: it was there once, or not; who knows."""
        kept_ms = width.open_of((await self.time()).venue_ms) - (KEPT - 1) * width.typical_ms
        first_ms = page.candles[0].open_time_ms if page.candles else page.through_ms
        at_ms = width.open_of(from_ms)
        at_ms = at_ms if at_ms == from_ms else width.close_of(at_ms)
        lost = []
        while at_ms < min(kept_ms, first_ms):
            lost.append(at_ms)
            at_ms = width.close_of(at_ms)
        return page._replace(unusable=tuple(sorted({*lost, *page.unusable})))


def _proof_end_ms(width: Interval, to_ms: int) -> int:
    return to_ms + _PROOF_ROWS * width.typical_ms


def _judge(answer: Answer) -> MantaError | None:
    """A body that names no coin of the venue's is refused with 422 or 500 and plain text; 429 may say ``null``."""
    text = answer.text.strip()
    if answer.status in (422, 500) and text.startswith(_NO_SUCH):
        return ConfigError(
            f"The venue did not understand the question: HTTP {answer.status}, {text[:200]}.",
            field="markets",
            fix="Use a coin that the venue lists; capital and small letters count.",
        )
    return status_error(answer, _FIELD, said="" if text == "null" else text)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no time")
    return value
