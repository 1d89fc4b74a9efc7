"""Pionex over REST: the venue's time, what a market is, and the candles that have been.

Only public data. There is no ``startTime``: a question names the end and how many rows before it, and history ends
10,000 rows before the present. Sources: the venue's ``openapi.yaml`` and ``openapi_futures.yaml``.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from trading.candles import Candle, Source
from trading.clock import HostClock, SystemClock, TimeSample
from trading.config.model import PionexVenue
from trading.errors import BadInput, ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.feed_events import Anomaly
from trading.intervals import Interval, parse_interval
from trading.markets import Market
from trading.venues.adapter import Budget, Limiter, Page, Rows
from trading.venues.http import Answer, RestClient, TooManyRequests, VenueHttp, status_error
from trading.venues.limits import WeightLimiter
from trading.venues.origin import Origin
from trading.venues.pionex.messages import Envelope, native_interval, parse_envelope, read_klines

__all__ = ["HORIZON_ROWS", "PAGE_ROWS", "PionexHistory", "budget"]

PAGE_ROWS = 500
HORIZON_ROWS = 10_000
"""Rows that the venue keeps of each interval."""

_FIELD = "venues.pionex.rest_url"
_BAN_S = 60.0
_SYMBOLS_WEIGHT = 5
# A symbol whose clock may be asked when none is known yet: an answer that refuses it tells the time as well.
_ANY_SYMBOL = "BTC_USDT"
_MOST_QUESTIONS = 4


def budget(settings: PionexVenue) -> Budget:
    """The request weight that the configuration allows."""
    return Budget(settings.weight_per_second, 1.0)


class _Window(NamedTuple):
    """What the venue showed of one run of open times, and the latest time that it told meanwhile."""

    rows: dict[int, Candle]
    unusable: set[int]
    anomalies: list[Anomaly]
    told_ms: int


class PionexHistory(RestClient):
    """A client for the REST side. ``async with`` it, or call ``close``.

    HTTP 200 does not mean success: the envelope's ``result`` does. After a 429 nobody who shares ``limiter`` asks
    anything for a minute at least, for every question in that time would lengthen the ban.
    """

    def __init__(
        self,
        settings: PionexVenue,
        *,
        origin: Origin = "venue",
        limiter: Limiter | None = None,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        clock = clock or SystemClock()
        self._http = VenueHttp(
            settings.rest_url.rstrip("/") + "/api/v1",
            field=_FIELD,
            timeout_s=settings.request_timeout_s,
            origin=origin,
            limiter=limiter or WeightLimiter(budget(settings), clock.monotonic),
            judge=self._judge,
            clock=clock,
            jitter=jitter,
        )
        self._symbol = _ANY_SYMBOL
        self._told_ms = 0

    async def time(self) -> TimeSample:
        """The venue's time, which every envelope tells; no question is for the time alone."""
        return await self._http.time(self._any_envelope, int)

    async def _any_envelope(self) -> int | None:
        try:
            await self._klines(self._symbol, "1M", None, 1)
        except BadInput:
            self._symbol = _ANY_SYMBOL
        return self._told_ms or None

    async def market(self, symbol: str) -> Market:
        """``symbol`` as the venue describes it; ConfigError with the nearest names, or when it is not traded now."""
        kind = "PERP" if symbol.upper().endswith("_PERP") else "SPOT"
        try:
            found = {item["symbol"]: item for item in await self._symbols(symbols=symbol, type=kind)}
        except BadInput:
            found = {}
        if symbol not in found:
            near = await self._nearest(symbol)
            raise ConfigError(
                f"Pionex does not know {symbol!r}.",
                field="markets",
                value=f"pionex:{symbol}",
                fix=f"Did you mean {near}?" if near else "Write it like BTC_USDT, or BTC_USDT_PERP for a perp.",
            )
        try:
            market = _market(found[symbol])
        except (TypeError, KeyError, ValueError, InvalidOperation) as error:
            raise VenueRetryable(f"The venue's description of {symbol} is unreadable: {error!r}.") from error
        self._symbol = symbol
        return market

    async def _symbols(self, **query: str) -> list[dict[str, Any]]:
        envelope = await self._get("common/symbols", query, _SYMBOLS_WEIGHT)
        symbols = envelope.data.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(item, dict) and "symbol" in item for item in symbols):
            raise VenueRetryable("The venue's list of symbols is unreadable.")
        return symbols

    async def _nearest(self, symbol: str) -> str:
        names: list[str] = []
        for kind in ("SPOT", "PERP"):
            try:
                names += [str(item["symbol"]) for item in await self._symbols(type=kind) if item.get("enable", True)]
            except MantaError:
                continue
        plain = {name.replace("_", ""): name for name in names}
        near = difflib.get_close_matches(symbol.upper().replace("_", "").replace("-", ""), plain, n=3, cutoff=0.5)
        return ", ".join(plain[name] for name in near)

    def horizon_ms(self, interval: str) -> int | None:
        """The venue keeps 10,000 rows: a week of 1m, 13 months of 1h."""
        return HORIZON_ROWS * parse_interval(interval).typical_ms

    async def page(self, symbol: str, interval: str, from_ms: int, to_ms: int | None, closed_by_ms: int) -> Page:
        """Closed candles from ``from_ms`` on, oldest first, though the venue pages backwards: the end of the question
        is chosen so that its rows reach back to ``from_ms``.

        A row is closed when the envelope's own time is within the candle that follows it and ``closed_by_ms`` is past
        its end, so that it was asked for afterwards; or when the answer has a later row. What lies before the venue's
        horizon comes back as unusable: nobody can know whether anything was traded then.
        """
        name, width = native_interval(interval), parse_interval(interval)
        step_ms = width.typical_ms
        asked_ms = -(-from_ms // step_ms) * step_ms
        now_ms = max(closed_by_ms, self._told_ms)
        horizon_ms = width.open_of(now_ms) - (HORIZON_ROWS - 1) * step_ms
        if to_ms is not None and asked_ms < to_ms <= horizon_ms:
            return Page((), to_ms, False, tuple(range(asked_ms, to_ms, step_ms)), ())
        first_ms = max(asked_ms, horizon_ms)
        newest_ms = first_ms + (PAGE_ROWS - 1) * step_ms
        if to_ms is not None:
            newest_ms = min(newest_ms, max(first_ms, width.open_of(to_ms) + step_ms))
        # The open candle is asked for as well: it proves that the ones before it have closed.
        newest_ms = min(newest_ms, max(first_ms, width.open_of(now_ms) + step_ms))
        window = await self._window(symbol, name, width, first_ms, newest_ms)
        is_over = newest_ms + step_ms <= window.told_ms
        if is_over and not window.rows and not window.unusable:
            page = await self._empty_page(symbol, name, width, first_ms, newest_ms)
        else:
            page = _page(window, width, first_ms, closed_by_ms, is_over=is_over)
        return page if first_ms == asked_ms else _beyond_horizon(page, range(asked_ms, page.through_ms, step_ms))

    async def _empty_page(self, symbol: str, name: str, width: Interval, from_ms: int, newest_ms: int) -> Page:
        """Nothing where something could be: only a later row proves that nothing traded there."""
        rows, _ = await self._rows(symbol, name, width, None, 1)
        is_proven = any(opened > newest_ms for opened in _times(rows))
        return Page((), newest_ms + width.typical_ms if is_proven else from_ms, is_proven, (), ())

    async def _window(self, symbol: str, name: str, width: Interval, from_ms: int, newest_ms: int) -> _Window:
        """Ask backwards from ``newest_ms`` until ``from_ms`` is reached, a page is not full, or nothing older comes."""
        found = _Window({}, set(), [], 0)
        step_ms, oldest_ms = width.typical_ms, newest_ms + width.typical_ms
        for _ in range(_MOST_QUESTIONS):
            limit = max(1, min(PAGE_ROWS, (oldest_ms - from_ms) // step_ms))
            # Whether the end is inclusive or not, the row that opened last before oldest_ms is meant.
            rows, told_ms = await self._rows(symbol, name, width, oldest_ms - 1, limit)
            wanted = [row for row in rows.candles if from_ms <= row.open_time_ms < oldest_ms]
            found.rows.update((row.open_time_ms, row) for row in wanted)
            found.unusable.update(opened for opened in rows.unusable if from_ms <= opened < oldest_ms)
            found.anomalies.extend(note for note in rows.anomalies if from_ms <= note.from_ms < oldest_ms)
            found = found._replace(told_ms=max(found.told_ms, told_ms))
            times = _times(rows)
            if len(times) < limit or not from_ms < min(times) < oldest_ms:
                break
            oldest_ms = min(times)
        return found

    async def _rows(self, symbol: str, name: str, width: Interval, end_ms: int | None, limit: int) -> tuple[Rows, int]:
        """The newest ``limit`` rows that open up to ``end_ms``, and the time that the venue told with them."""
        envelope = await self._klines(symbol, name, end_ms, limit)
        source = Source.REST.value if width.name == "1m" else Source.NATIVE.value
        rows = read_klines(f"pionex:{symbol}", width.name, envelope.data.get("klines"), source)
        if not rows.is_whole:
            raise VenueRetryable(f"The venue's answer is unreadable: {rows.anomalies[-1].detail}.")
        newest_ms = max(_times(rows), default=0)
        if newest_ms > (envelope.timestamp_ms if end_ms is None else end_ms + width.typical_ms):
            # It may stand where another row should be, so that nothing is proven absent.
            raise VenueRetryable(f"The venue's answer holds a row of {newest_ms}, which was not asked for.")
        return rows, envelope.timestamp_ms

    async def _klines(self, symbol: str, name: str, end_ms: int | None, limit: int) -> Envelope:
        query = {"symbol": symbol, "interval": name, "limit": str(limit)}
        if end_ms is not None:
            query["endTime"] = str(end_ms)
        return await self._get("market/klines", query, 5 if symbol.endswith("_PERP") else 1)

    async def _get(self, path: str, query: dict[str, str], weight: int) -> Envelope:
        envelope = parse_envelope(await self._http.get(path, query, weight=weight))
        if envelope is None:
            raise VenueRetryable(f"{path}: the answer is no envelope.")
        return envelope

    def _judge(self, answer: Answer) -> MantaError | None:
        """What an answer asks of us; its time is taken over, whatever else it says."""
        try:
            envelope = parse_envelope(json.loads(answer.text))
        except (ValueError, RecursionError):
            envelope = None
        if envelope is not None:
            self._told_ms = envelope.timestamp_ms or self._told_ms
        said = f"{envelope.code} {envelope.message}".strip() if envelope is not None else ""
        error = status_error(answer, _FIELD, said=said, pause_s=lambda _: _BAN_S)
        if isinstance(error, TooManyRequests):
            error.retry_after_s = max(_BAN_S, error.retry_after_s or 0.0)
            return error
        if envelope is None or envelope.ok:
            return error or (VenueRetryable(f"{answer.path}: the answer is no envelope.") if not envelope else None)
        return _refusal(answer.path, envelope) or error or VenueRetryable(f"{answer.path}: {said}.")


def _refusal(path: str, envelope: Envelope) -> MantaError | None:
    """What ``result: false`` asks of us, by its code; None for a code that says nothing certain."""
    code, said = envelope.code, f"{path}: {envelope.code} {envelope.message}"
    # One of the venue's own examples spells it INVAILD.
    if "INVALID_SYMBOL" in code or "INVAILD_SYMBOL" in code:
        return BadInput(f"{said}.", field="symbol", fix="Use a symbol that the venue lists.")
    if code in ("MARKET_PARAMETER_ERROR", "MARKET_INVALID_TIME"):
        return ConfigError(f"{said}.", field=_FIELD, fix="Is this Pionex's REST base?")
    if code in ("IP_NOT_WHITELISTED", "PERMISSION_DENIED"):
        return VenueAuth(f"{said}.", field=_FIELD, fix="Is this address allowed to use the venue?")
    return None


def _page(window: _Window, width: Interval, from_ms: int, closed_by_ms: int, *, is_over: bool) -> Page:
    """What ``window`` shows of closed candles; ``is_over``: it ends in the past."""
    rows, unusable = window.rows, sorted(window.unusable)
    times = sorted({*rows, *unusable})
    candles = [rows[opened] for opened in times if opened in rows]
    through_ms = from_ms
    if times:
        through_ms = width.close_of(times[-1])
        is_fresh = window.told_ms < through_ms + width.typical_ms
        if through_ms > min(window.told_ms, closed_by_ms) or not (is_over or is_fresh):
            # Still open; or over for long without a row after it, which a clock that runs ahead would say as well.
            through_ms = times[-1]
            candles = [candle for candle in candles if candle.open_time_ms < through_ms]
            unusable = [opened for opened in unusable if opened < through_ms]
    return Page(tuple(candles), through_ms, is_over and through_ms > from_ms, tuple(unusable), tuple(window.anomalies))


def _beyond_horizon(page: Page, asked: range) -> Page:
    """Name what was asked for before the oldest row that the venue still shows."""
    oldest_ms = min((*(row.open_time_ms for row in page.candles), *page.unusable), default=page.through_ms)
    return page._replace(unusable=(*(opened for opened in asked if opened < oldest_ms), *page.unusable))


def _times(rows: Rows) -> list[int]:
    return [*(row.open_time_ms for row in rows.candles), *rows.unusable]


def _market(info: dict[str, Any]) -> Market:
    symbol = info["symbol"]
    if info.get("enable") is not True:
        raise ConfigError(
            f"Pionex does not trade {symbol} now.",
            field="markets",
            value=f"pionex:{symbol}",
            fix="Remove it from markets, or wait until the venue trades it again.",
        )
    price_decimals, size_decimals = int(info["quotePrecision"]), int(info["basePrecision"])
    notional = info.get("minAmount") or info.get("minNotional") or "0"
    return Market(
        venue="pionex",
        symbol=symbol,
        kind="perp" if info["type"] == "PERP" else "spot",
        base=info["baseCurrency"],
        quote=info["quoteCurrency"],
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick_size=Decimal(1).scaleb(-price_decimals),
        lot_size=Decimal(1).scaleb(-size_decimals),
        min_notional=Decimal(notional).normalize(),
    )
