"""A feed's second duty: the venue's own longer candles, where its 1m history is too short to make them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from actors.edge import MAX_ITEMS, pack
from actors.session import Session
from trading.candles import Candle
from trading.errors import MantaError, VenueRetryable
from trading.events import Batch
from trading.instances import history_ms, wanted_natives
from trading.intervals import HOUR_MS, MINUTE_MS, parse_interval
from trading.markets import split_market
from trading.storage.natives import Lacking
from trading.venues.adapter import Adapter, History

__all__ = ["Natives"]

_RETRY_S: Final = 2.0
_TRIES: Final = 3
_SETTLE_S: Final = 60.0
# After a close, for the venue to have made up its candle.
_AFTER_CLOSE_MS: Final = 2 * MINUTE_MS

log = structlog.get_logger("natives")

Call = Callable[..., Awaitable[Any]]


class Natives:
    """Fetches what strategies and features need to be warm and minutes cannot tell.

    ``load`` comes before the first minute is told, so that a first start is warm at once. Minutes begin in the middle
    of some candles, which are nobody's but the venue's either: ``keep`` fetches each after its close. Nothing here is
    durable: what is stored is known to the recorder, and what is lacking is asked anew.
    """

    def __init__(self, market: str, session: Session, venue: Adapter, history: History, call: Call) -> None:
        self._market = market
        self._symbol = split_market(market)[1]
        self._session = session
        self._venue = venue
        self._history = history
        self._call = call
        self._wanted = wanted_natives(session.config, market, venue.intervals, session.start_ms)
        self._begins_ms = session.start_ms - history_ms(session.config)
        lent = session.config.history.seed and session.config.history.lender_of(market)
        if not lent and (horizon_ms := history.horizon_ms("1m")) is not None:
            # The horizon moves on until the minutes are asked for: an hour is much.
            self._begins_ms = max(self._begins_ms, session.start_ms - horizon_ms + HOUR_MS)

    async def load(self, *, first: bool) -> None:
        """Fetch and store what is lacking now.

        Without it no first minute may be told, so a ``first`` start waits as long as the venue does not answer.
        """
        tries = 0
        while self._wanted:
            tries += 1
            try:
                await self._work(self._session.start_ms)
            except VenueRetryable as error:
                log.warning("native candles wait for the venue", market=self._market, error=str(error))
                if not first and tries >= _TRIES:
                    return
            except MantaError as error:
                log.error("native candles are refused", market=self._market, error=str(error))
                return
            else:
                return
            await asyncio.sleep(_RETRY_S)

    async def keep(self) -> None:
        """Fetch what minutes begin in the middle of, once it has closed; a replay in lockstep has no time for it."""
        rate = self._session.time_rate
        closed_by_ms = self._session.start_ms
        # The first history is told by then, so it is known where minutes begin.
        wait_s = _SETTLE_S / max(1.0, rate)
        while rate and self._wanted:
            await asyncio.sleep(wait_s)
            try:
                closed_by_ms = (await self._history.time()).venue_ms - self._venue.doubt_ms
                await self._work(closed_by_ms)
            except MantaError as error:
                log.warning("native candles could not be fetched", market=self._market, error=str(error))
                wait_s = _SETTLE_S / max(1.0, rate)
                continue
            closes = [close_ms for name in self._wanted if (close_ms := self._cut_close_ms(name)) > closed_by_ms]
            if not closes:
                return
            wait_s = (min(closes) + _AFTER_CLOSE_MS - closed_by_ms) / 1000 / rate

    def _cut_close_ms(self, interval: str) -> int:
        """When the candle closes in which minutes begin."""
        width = parse_interval(interval)
        return width.close_of(width.open_of(self._begins_ms))

    async def _work(self, closed_by_ms: int) -> None:
        found: Lacking = await self._call("lacking_natives", self._market, self._wanted, closed_by_ms, self._begins_ms)
        self._begins_ms = found.begins_ms
        for interval, opens in found.opens.items():
            candles = await self._fetch(interval, opens, closed_by_ms)
            for start in range(0, len(candles), MAX_ITEMS):
                part = tuple(candles[start : start + MAX_ITEMS])
                await self._call("store_natives", self._market, pack(Batch(self._market, 0, 0, part, None)))
            log.info("native candles", market=self._market, interval=interval, lacking=len(opens), stored=len(candles))

    async def _fetch(self, interval: str, opens: list[int], closed_by_ms: int) -> list[Candle]:
        """Those of the lacking candles that the venue has."""
        width = parse_interval(interval)
        asked = set(opens)
        at_ms, end_ms = opens[0], width.close_of(opens[-1])
        found: list[Candle] = []
        while at_ms < end_ms:
            page = await self._history.page(self._symbol, interval, at_ms, end_ms, closed_by_ms)
            found += [candle for candle in page.candles if candle.open_time_ms in asked]
            if not page.more or page.through_ms <= at_ms:
                break
            at_ms = page.through_ms
        return found
