"""The supervisor's doubt: every few minutes each market's price is compared with one from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog

from actors.session import Session
from trading.candles import Candle
from trading.config.secrets import read_secrets
from trading.cross_check import POOL, Compared, Finding, Watch, counterpart, newest_common, wants_pool
from trading.errors import ConfigError, MantaError, VenueAuth
from trading.intervals import MINUTE_MS
from trading.markets import Market, split_market
from trading.notify.routing import alert_event, tell
from trading.storage import candles, deviations, markets
from trading.storage.database import Connection
from trading.venues.adapter import History
from trading.venues.base.pool import Contracts, PoolReader
from trading.venues.base.rpc import NAME, BaseRpc
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.origin import is_loopback
from trading.venues.resolve import open_history

__all__ = ["CrossCheck"]

# Minutes looked at for one that both sides have, and how old ours may be to be compared with a price of now.
_MINUTES = 6
_FRESH_MS = 3 * MINUTE_MS

Read = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]
Commit = Callable[[Mapping[str, int], Callable[[Connection], Awaitable[None]]], Awaitable[None]]

log = structlog.get_logger("cross_check")


class CrossCheck:
    """Compares each market's newest closed minute with the same minute of its counterpart, and bitcoin with the pools.

    Durable: what deviates, in the transaction of its alert, so a crash in between tells it once. A counterpart that was
    not configured and does not exist is left alone. A session whose candles are simulated asks nothing beyond this
    machine.
    """

    def __init__(self, session: Session, read: Read, commit: Commit, now_ms: Callable[[], Awaitable[int]]) -> None:
        self._session = session
        self._settings = session.config.cross_check
        self._read = read
        self._commit = commit
        self._now_ms = now_ms
        self._watch: Watch | None = None
        self._limits = ClusterLimits(session.config, session.target, application_name="manta cross check limits")
        self._histories: dict[str, History] = {}
        self._symbols: dict[str, str | None] = {}
        self._pool: tuple[BaseRpc, PoolReader] | None = None

    @property
    def every_s(self) -> float:
        return self._settings.every_minutes * 60.0

    async def work(self) -> None:
        """Compare every market once."""
        if self._watch is None:
            self._watch = Watch(self._settings.max_deviation_pct, await self._read(deviations.open_findings))
        known: list[Market] = await self._read(markets.read_markets)
        for market in known:
            if market.key not in self._session.config.markets:
                continue
            ours: list[Candle] = await self._read(
                lambda conn, key=market.key: candles.read_candles(conn, key, "1m", limit=_MINUTES, newest=True)
            )
            if not ours:
                continue
            for compared in (await self._with_market(market, ours), await self._with_pool(market, ours)):
                if compared is not None:
                    log.debug("compared", **compared._asdict())
                    for finding in self._watch.see(compared):
                        await self._tell(finding)

    async def close(self) -> None:
        for history in self._histories.values():
            await history.close()
        self._histories.clear()
        await self._limits.close()
        if self._pool is not None:
            await self._pool[0].close()
            self._pool = None

    async def _with_market(self, market: Market, ours: list[Candle]) -> Compared | None:
        named = self._settings.other_of(market.key)
        other = named or counterpart(market)
        if other is None or other == "none":
            return None
        at_ms = ours[-1].open_time_ms
        venue, symbol = split_market(other)
        try:
            if not self._may_ask(venue):
                return None
            history = self._history(venue)
            if other not in self._symbols:
                self._symbols[other] = await self._resolve(history, symbol, needed=named is not None)
            known = self._symbols[other]
            if known is None:
                return None
            end_ms = ours[-1].close_time_ms
            page = await history.page(known, "1m", ours[0].open_time_ms, end_ms, end_ms)
        except (ConfigError, VenueAuth) as error:
            return Compared(market.key, other, at_ms, error=str(error), lasting=True)
        except MantaError as error:
            return Compared(market.key, other, at_ms, error=str(error))
        pair = newest_common(ours, page.candles)
        if pair is None:
            return Compared(market.key, other, at_ms, error=f"{other} shows none of the last {_MINUTES} minutes.")
        return Compared(market.key, other, pair[0].open_time_ms, pair[0].close, pair[1].close)

    async def _with_pool(self, market: Market, ours: list[Candle]) -> Compared | None:
        secret = read_secrets(self._session.secrets_path).get(NAME)
        if not secret or not wants_pool(market):
            return None
        newest = ours[-1]
        if await self._now_ms() - newest.close_time_ms > _FRESH_MS:
            # A price of now says nothing about a candle of then; that the feed is late is told elsewhere.
            return None
        try:
            if self._pool is None:
                rpc = BaseRpc(secret, origin=self._session.origin)
                self._pool = rpc, PoolReader(rpc, Contracts(**self._settings.base.model_dump()))
            price = await self._pool[1].price()
        except (ConfigError, VenueAuth) as error:
            return Compared(market.key, POOL, newest.open_time_ms, error=str(error), lasting=True)
        except MantaError as error:
            return Compared(market.key, POOL, newest.open_time_ms, error=str(error))
        return Compared(market.key, POOL, newest.open_time_ms, newest.close, price.units)

    async def _resolve(self, history: History, symbol: str, *, needed: bool) -> str | None:
        try:
            return (await history.market(symbol)).symbol
        except ConfigError:
            if needed:
                raise
            return None

    def _history(self, venue: str) -> History:
        if venue not in self._histories:
            config, origin = self._session.config, self._session.origin
            self._histories[venue] = open_history(config, venue, origin=origin, limits=self._limits)
        return self._histories[venue]

    def _may_ask(self, venue: str) -> bool:
        url = self._session.config.venues.of(venue).rest_url
        return self._session.origin == "venue" or is_loopback(urlsplit(url).hostname or "")

    async def _tell(self, finding: Finding) -> None:
        when_ms = finding.from_ms
        cause = f"{finding.reason}:{finding.market}:{finding.against}:{when_ms}" + (":over" if finding.over else "")
        event = alert_event(cause, finding.title, finding.message, when_ms, finding.market, over=finding.over)

        async def write(conn: Connection) -> None:
            await deviations.store_finding(conn, finding)
            await tell(conn, [event], self._session.config.notify)

        log.warning(finding.title, market=finding.market, against=finding.against)
        await self._commit({}, write)
