"""One Binance market, live: sockets, REST and clock around the pure FeedState.

No Ray here; the feed actor, or a test, supplies what happens to the candles.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trading.candles import Candle
from trading.clock import HostClock, SystemClock, TimeSample, VenueClock
from trading.config.model import BinanceVenue
from trading.errors import ConfigError, MantaError, VenueRetryable
from trading.events import StreamItem
from trading.feed import BUFFER, FeedState
from trading.feed_events import (
    Alive,
    Anomaly,
    Close,
    Connected,
    ConnectFailed,
    Disconnected,
    Emit,
    FeedEvent,
    Fetch,
    Fetched,
    Final,
    Garbage,
    Instruction,
    Open,
    QualityNote,
    Refetch,
    Resume,
    Retiring,
    Status,
    Tick,
)
from trading.intervals import MINUTE_MS
from trading.markets import split_market
from trading.venues.binance.history import BinanceHistory
from trading.venues.binance.messages import Forming, KlineReader, ServerShutdown
from trading.venues.binance.stream import close_reason, kline_socket, stream_address
from trading.venues.origin import Origin, check_origin

__all__ = ["MarketFeed", "Outlets"]

_TICK_S = 0.25
_CLOCK_EVERY_S = 60.0
_CLOCK_RETRY_S = 5.0
_FORMING_EVERY_S = 1.0
_IDLE_S = 1.0
# A full page that ends this long before the venue's present holds no open candle, whatever our clock's error.
_NEAR_MS = 10 * MINUTE_MS
# The simulator says something every 20 s of its time; a real venue every 2 s.
_SIMULATED_QUIET_S = 45.0


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where a feed's findings go. All but ``deliver`` may be left out.

    ``deliver`` gets at most 1000 items and the newest pair of venue and host time; ``forming`` the open candle, at most
    once a second; ``quality`` each anomaly; ``status`` each transition: False and why it is down, True when it is back.
    """

    deliver: Callable[[list[StreamItem], TimeSample | None], Awaitable[None]]
    forming: Callable[[Candle], Awaitable[None]] | None = None
    quality: Callable[[Anomaly], Awaitable[None]] | None = None
    status: Callable[[bool, str], Awaitable[None]] | None = None


class MarketFeed:
    """Runs one market's feed until it is stopped.

    Every candle, hole and heal reaches ``outlets.deliver`` in order, one call at a time. While it works the sockets are
    still read, into a bounded buffer whose overflow is fetched again from REST. What an outlet raises ends ``run``.
    ``time_rate`` is 1 for a venue, the simulator's speed, or 0 in lockstep, where silence is no fault. ``history`` may
    be shared by feeds; it is then the caller's to close. Raises ConfigError when the URLs do not fit ``origin``.
    """

    def __init__(
        self,
        market: str,
        settings: BinanceVenue,
        outlets: Outlets,
        *,
        origin: Origin = "venue",
        time_rate: float = 1.0,
        history: BinanceHistory | None = None,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        venue, self._symbol = split_market(market)
        if venue != "binance":
            raise ConfigError(f"{market!r} is no market of binance.", field="markets", value=market)
        if origin == "venue" and time_rate != 1:
            raise ConfigError("A venue's time cannot run at another rate.", field="time_rate", value=time_rate)
        check_origin(origin, settings.stream_url, "venues.binance.stream_url")
        self.market = market
        self._settings = settings
        self._origin: Origin = origin
        self._rate = time_rate
        self._outlets = outlets
        self._clock = clock or SystemClock()
        self._owns_history = history is None
        self.history = history or BinanceHistory(settings, origin=origin, clock=self._clock, jitter=jitter)
        self._reader = KlineReader(market, self._symbol)
        self._venue_clock = VenueClock(time_rate)
        self.state = FeedState(
            market,
            jitter,
            silence_timeout_s=self._silence_timeout_s(),
            max_age_s=settings.max_connection_age_s,
            grace_ms=round(settings.close_grace_s * 1000 * time_rate),
            future_ms=round(60_000 * max(1.0, time_rate)),
        )
        self._inbox: deque[FeedEvent] = deque()
        self._finals_waiting = 0
        self._overflowing = False
        self._wake = asyncio.Event()
        self._forming: Candle | None = None
        self._conn = 0
        self._sockets: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopping = False
        self._started = self._last_frame = self._next_clock = self._clock.monotonic()
        self._frames = self._unread_forming = self._dropped = 0
        self._down_reason: str | None = None

    def _silence_timeout_s(self) -> float | None:
        if self._rate == 0:
            return None
        configured = self._settings.silence_timeout_s
        return max(configured, _SIMULATED_QUIET_S / self._rate) if self._origin == "simulator" else configured

    # Public

    async def run(
        self,
        high_water_ms: int | None = None,
        *,
        warmup_from_ms: int | None = None,
        missing: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Feed until ``stop``, starting after ``high_water_ms``, or with history from ``warmup_from_ms`` on.

        ``missing`` are stored holes [from, to) to heal. Raises what a callback raised.
        """
        self._put(Resume(self._clock.monotonic(), high_water_ms, warmup_from_ms, missing))
        self._spawn(self._keep_time())
        try:
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                await self._consume()
        finally:
            await self._end()

    async def stop(self) -> None:
        """Make ``run`` return after the delivery it is in."""
        self._stopping = True
        self._wake.set()

    def resume(self, high_water_ms: int) -> None:
        """Go back, or forward, to ``high_water_ms``: everything after it is told again from REST."""
        self._put(Resume(self._clock.monotonic(), high_water_ms, None, self.state.missing))

    def refetch(self, from_ms: int, to_ms: int) -> None:
        """Fetch told minutes again, because storage lost them, and tell them as a Heal."""
        self._put(Refetch(self._clock.monotonic(), from_ms, to_ms))

    def venue_now_ms(self) -> int | None:
        """The venue's time; None in lockstep and before the venue has told it."""
        if self._rate == 0 or self._venue_clock.sample is None:
            return None
        return self._venue_clock.now_ms(self._clock.time_ns(), 0)

    def health(self) -> dict[str, Any]:
        """Whether data flows, why not, and how old the last message is."""
        return {
            "market": self.market,
            "up": self.state.links.up,
            "reason": None if self.state.links.up else self._down_reason,
            "warming": self.state.warming,
            "high_water_ms": self.state.high_water_ms,
            "last_message_age_s": round(self._clock.monotonic() - self._last_frame, 3) if self._frames else None,
            "rest_error": self.state.rest_error,
            "missing_minutes": sum(to_ms - from_ms for from_ms, to_ms in self.state.missing) // 60_000,
        }

    def stats(self) -> dict[str, Any]:
        """Counters since the start, for metrics, with the health."""
        return {
            **self.health(),
            **asdict(self.state.counters),
            "frames": self._frames,
            "forming_unread": self._unread_forming,
            "dropped": self._dropped,
            "waiting": len(self._inbox),
            "rest_requests": self.history.requests,
            "rest_retries": self.history.retries,
            "rest_weight_used": self.history.limiter.used(),
            "uptime_s": round(self._clock.monotonic() - self._started, 3),
        }

    # The one consumer

    async def _consume(self) -> None:
        """Handle what waits; all candles of one turn travel in one delivery."""
        while (self._inbox or self._forming or self._failure) and not self._stopping:
            if self._failure is not None:
                raise self._failure
            items: list[StreamItem] = []
            told: list[QualityNote | Status] = []
            while self._inbox and len(items) < BUFFER:
                event = self._inbox.popleft()
                if isinstance(event, Final):
                    self._finals_waiting -= 1
                for instruction in self.state.handle(event):
                    if isinstance(instruction, Emit):
                        items.extend(instruction.items)
                    elif isinstance(instruction, QualityNote | Status):
                        told.append(instruction)
                    else:
                        self._start(instruction)
            await self._tell(items, told)
            forming, self._forming = self._forming, None
            if forming is not None and self._outlets.forming is not None:
                await self._outlets.forming(forming)

    async def _tell(self, items: list[StreamItem], told: list[QualityNote | Status]) -> None:
        for start in range(0, len(items), BUFFER):
            await self._outlets.deliver(items[start : start + BUFFER], self._venue_clock.sample)
        for each in told:
            if isinstance(each, QualityNote):
                if self._outlets.quality is not None:
                    await self._outlets.quality(each.anomaly)
                continue
            self._down_reason = None if each.up else each.reason
            if self._outlets.status is not None:
                await self._outlets.status(each.up, each.reason)

    def _start(self, instruction: Instruction) -> None:
        if isinstance(instruction, Fetch):
            self._spawn(self._fetch(instruction))
        elif isinstance(instruction, Open):
            self._conn += 1
            self._sockets[self._conn] = self._spawn(self._hold_socket(self._conn, instruction.delay_s))
        elif isinstance(instruction, Close):
            task = self._sockets.get(instruction.conn)
            if task is not None:
                task.cancel()

    def _put(self, event: FeedEvent) -> None:
        self._inbox.append(event)
        if isinstance(event, Final):
            self._finals_waiting += 1
            if self._finals_waiting > BUFFER:
                self._drop_oldest()
            elif self._overflowing and self._finals_waiting < BUFFER // 2:
                self._overflowing = False
        self._wake.set()

    def _drop_oldest(self) -> None:
        """Forget the oldest closed candle that waits: the jump it leaves is fetched from REST."""
        oldest = next(event for event in self._inbox if isinstance(event, Final))
        self._inbox.remove(oldest)
        self._finals_waiting -= 1
        self._dropped += 1
        if not self._overflowing:
            self._overflowing = True
            detail = f"more than {BUFFER} candles wait for delivery; the oldest are dropped and fetched again"
            times = oldest.candle.open_time_ms, oldest.candle.close_time_ms
            self._put(Garbage(self._clock.monotonic(), Anomaly(self.market, "overflow", detail, *times)))

    # I/O

    async def _hold_socket(self, conn: int, delay_s: float) -> None:
        """Open socket ``conn`` after ``delay_s``, and read it to its end."""
        opened = False
        try:
            await asyncio.sleep(delay_s)
            url = stream_address(self._settings.stream_url, self._symbol)
            timeout_s = self._settings.request_timeout_s
            async with kline_socket(url, origin=self._origin, timeout_s=timeout_s) as socket:
                opened = True
                self._put(Connected(self._clock.monotonic(), conn))
                await self._read(conn, socket)
        except VenueRetryable as error:
            self._put(ConnectFailed(self._clock.monotonic(), error.message, error.retry_after_s))
        except ConnectionClosed as error:
            reason = close_reason(error)
            now = self._clock.monotonic()
            self._put(Disconnected(now, conn, reason) if opened else ConnectFailed(now, reason))
        finally:
            self._sockets.pop(conn, None)

    async def _read(self, conn: int, socket: ClientConnection) -> None:
        next_forming = float("-inf")
        while True:
            raw = await socket.recv()
            now = self._clock.monotonic()
            self._frames += 1
            self._last_frame = now
            read = self._reader.read(raw, self._clock.time_ns(), want_forming=now >= next_forming)
            if isinstance(read, Candle):
                self._put(Final(now, conn, read, self.venue_now_ms()))
            elif isinstance(read, Forming):
                if read.candle is None:
                    self._unread_forming += 1
                    continue
                next_forming = now + _FORMING_EVERY_S
                self._forming = read.candle
                self._put(Alive(now, conn))
            elif isinstance(read, ServerShutdown):
                self._put(Retiring(now, conn, "the venue shuts this server down"))
            elif isinstance(read, Anomaly):
                self._put(Garbage(now, read))

    async def _fetch(self, ask: Fetch) -> None:
        try:
            closed_by_ms = await self._closed_by_ms(ask)
            page = await self.history.page(self._reader, self._symbol, ask.from_ms, ask.to_ms, closed_by_ms)
        except MantaError as error:
            after = error.retry_after_s if isinstance(error, VenueRetryable) else None
            self._put(Fetched(self._clock.monotonic(), ask.from_ms, error=error.message, retry_after_s=after))
            return
        self._put(
            Fetched(
                self._clock.monotonic(),
                ask.from_ms,
                page.candles,
                page.through_ms,
                page.more,
                page.unusable,
                anomalies=page.anomalies,
            )
        )

    async def _closed_by_ms(self, ask: Fetch) -> int:
        """A venue time that has passed for certain: near the present only the venue itself can say so, and is asked
        first.
        """
        now_ms = self.venue_now_ms()
        if now_ms is None or ask.to_ms is None or ask.to_ms > now_ms - _NEAR_MS:
            sample = await self.history.time()
            self._venue_clock.observe(sample)
            return sample.venue_ms
        return ask.to_ms + MINUTE_MS

    async def _keep_time(self) -> None:
        """Tick; meanwhile keep the venue's clock: every minute, or in lockstep whenever the stream rests."""
        sampling: asyncio.Task[None] | None = None
        while True:
            now = self._clock.monotonic()
            self._put(Tick(now, self.venue_now_ms()))
            due = now >= self._next_clock and (self._rate != 0 or now - self._last_frame >= _IDLE_S)
            if due and (sampling is None or sampling.done()):
                self._next_clock = now + (_CLOCK_RETRY_S if self._rate else _IDLE_S)
                sampling = self._spawn(self._sample())
            await asyncio.sleep(_TICK_S)

    async def _sample(self) -> None:
        try:
            sample = await self.history.time()
        except MantaError:
            return
        self._venue_clock.observe(sample)
        if self._rate != 0:
            self._next_clock = self._clock.monotonic() + _CLOCK_EVERY_S
        else:
            # Nothing comes though the venue may have gone on: its clock tells whether a candle is overdue.
            self._put(Tick(self._clock.monotonic(), sample.venue_ms))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failure = error
            self._wake.set()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._owns_history:
            await self.history.close()
