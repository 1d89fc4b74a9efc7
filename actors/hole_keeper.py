"""A feed's care for missing minutes: asked for again, lent by a second venue, or left with their reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from actors.edge import MAX_ITEMS
from actors.session import Session
from trading.candles import Candle, Hole
from trading.errors import ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.hole_keeper import HoleKeeper
from trading.intervals import MINUTE_MS
from trading.markets import split_market
from trading.spans import Span
from trading.venues.gateway import Gateway
from trading.venues.lender import Lender, first_shown
from trading.venues.session import MarketFeed

__all__ = ["HoleWatch"]

_LOOK_S = 300.0
# A simulator session that lends has no five minutes to wait.
_LOOK_SIMULATED_S = 1.0
# Every so many looks the venue is asked again for minutes that are lent.
_TAKE_BACK_LOOKS = 12
_TAKE_BACK_MINUTES = 900
_PATIENCE_S = 120.0

Call = Callable[..., Awaitable[Any]]
Deliver = Callable[[list[Candle | Hole]], Awaitable[None]]


class HoleWatch:
    """Looks after one market's missing minutes for as long as its feed runs.

    Everything it finds goes the feed's way, to the recorder and on from there. It keeps nothing that lasts. A second
    venue that fails is told in the log, once on the way down and once on the way up, and in ``facts``; it harms nothing
    else.
    """

    def __init__(self, session: Session, feed: MarketFeed, gateway: Callable[[str], Gateway], call: Call) -> None:
        self.market = feed.market
        self._session = session
        self._feed = feed
        self._call = call
        self._log = structlog.get_logger(f"holes:{self.market}")
        venue, self._symbol = split_market(self.market)
        self._history = gateway(venue).history
        self._keeper = HoleKeeper(self.market)
        self._error = self._unseeded = ""
        other = session.config.history.lender_of(self.market)
        self._lender: Lender | None = None
        if other is not None:
            try:
                self._lender = Lender(self.market, other, gateway(split_market(other)[0]).history)
            except ConfigError as error:
                # A replay asks nothing beyond this machine.
                self._log.warning("nothing will be lent", by=other, error=str(error))

    def facts(self) -> dict[str, str]:
        """Who lends, why it did not when it was asked last, and why the past was not lent; empty without a lender."""
        if self._lender is None:
            return {}
        return {"other": self._lender.other, "error": self._error, "unseeded": self._unseeded}

    async def run(self, told_ms: Callable[[], int]) -> None:
        """Look at once and then every five minutes, for ever. ``told_ms`` is how far the feed has told."""
        simulated = self._session.origin == "simulator" and self._lender is not None
        looks = 0
        while True:
            await self._look(told_ms)
            if self._lender is not None and looks % _TAKE_BACK_LOOKS == 0:
                await self._take_back(told_ms())
            looks += 1
            await asyncio.sleep(_LOOK_SIMULATED_S if simulated else _LOOK_S)

    async def seed(self, from_ms: int, deliver: Deliver) -> None:
        """Have the past from ``from_ms`` to what the market's own venue shows lent, and ``deliver`` it in order.

        For a market of which nothing is recorded. What is not lent in two minutes of trying stays unknown.
        """
        if self._lender is None or not self._session.config.history.seed:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE_S
        begin_ms = from_ms
        while True:
            try:
                now_ms = (await self._history.time()).venue_ms
                first_ms = await first_shown(self._history, self._symbol, from_ms, now_ms)
                if first_ms is None or first_ms - from_ms < MINUTE_MS:
                    return
                count = 0
                async for items in self._lender.past(from_ms, first_ms):
                    for start in range(0, len(items), MAX_ITEMS):
                        await deliver(items[start : start + MAX_ITEMS])
                    count += len(items)
                    from_ms = _end(items)
                self._log.info("the past is lent", by=self._lender.other, minutes=count, upto_ms=from_ms)
            except VenueRetryable as error:
                if loop.time() >= end or from_ms > begin_ms:
                    # What has been begun is gone on with as with any other hole.
                    self._not_seeded(self._lender, error)
                    return
                await asyncio.sleep(min(10.0, error.retry_after_s or 1.0))
            except MantaError as error:
                self._not_seeded(self._lender, error)
                return
            else:
                return

    def _not_seeded(self, lender: Lender, error: MantaError) -> None:
        self._log.warning("the past is not lent", by=lender.other, error=str(error))
        self._unseeded = str(error)

    def _now_ms(self, told_ms: Callable[[], int]) -> int:
        return self._feed.venue_now_ms() or told_ms()

    async def _look(self, told_ms: Callable[[], int]) -> None:
        holes: list[Span] = await self._call("open_holes", self.market)
        look = self._keeper.look(
            holes,
            now_ms=self._now_ms(told_ms),
            horizon_ms=self._history.horizon_ms("1m"),
            rest_error=self._feed.rest_error,
        )
        for span in look.ask:
            self._feed.refetch(*span)
        for span in look.forget:
            self._feed.forget(*span)
        if look.why:
            await self._call("note", [("why", each) for each in look.why])
        if self._lender is not None:
            for span in look.lend:
                await self._lend(self._lender, *span)
            if not look.lend:
                # Whoever is not asked fails nobody.
                self._error = ""

    async def _lend(self, lender: Lender, from_ms: int, to_ms: int) -> None:
        at_ms = from_ms
        try:
            while at_ms < to_ms:
                lent = await lender.minutes(at_ms, to_ms)
                if lent.candles:
                    self._feed.found(lent.candles)
                    self._log.info("minutes lent", by=lender.other, from_ms=at_ms, count=len(lent.candles))
                if lent.through_ms <= at_ms:
                    break
                at_ms = lent.through_ms
        except (ConfigError, VenueAuth, VenueRetryable) as error:
            self._failed(str(error))
        else:
            self._failed("")

    def _failed(self, error: str) -> None:
        if bool(error) != bool(self._error):
            if error:
                self._log.warning("the second venue does not answer", error=error)
            else:
                self._log.info("the second venue answers again")
        self._error = error

    async def _take_back(self, now_ms: int) -> None:
        """Ask the market's own venue for what was lent: what it tells after all takes the place of that."""
        horizon_ms = self._history.horizon_ms("1m")
        from_ms = 0 if horizon_ms is None else now_ms - horizon_ms + 2 * MINUTE_MS
        lent: list[Span] = await self._call("lent", self.market, from_ms, _TAKE_BACK_MINUTES)
        for start, end in lent:
            try:
                page = await self._history.page(self._symbol, "1m", start, end, end)
            except MantaError:
                return
            own = [row for row in page.candles if start <= row.open_time_ms < min(end, page.through_ms)]
            if own:
                self._log.info("lent minutes are the venue's own now", from_ms=own[0].open_time_ms, count=len(own))
                self._feed.found(own)


def _end(items: Sequence[Candle | Hole]) -> int:
    last = items[-1]
    return last.close_time_ms if isinstance(last, Candle) else last.to_ms
