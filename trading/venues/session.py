"""One market of any venue, live: sockets, REST and clock around the pure FeedState.

No Ray here; the feed actor, or a test, supplies what happens to the candles.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trading.candles import Candle
from trading.clock import HostClock, SystemClock, TimeSample, VenueClock
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
    Fetch,
    Fetched,
    Final,
    Forget,
    Found,
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
from trading.venues.adapter import Forming, ServerShutdown
from trading.venues.gateway import Gateway
from trading.venues.inbox import FeedInbox

__all__ = ["MarketFeed", "Outlets"]

_TICK_S = 0.25
_CLOCK_EVERY_S = 60.0
_CLOCK_RETRY_S = 5.0
_FORMING_EVERY_S = 1.0
_IDLE_S = 1.0
# A full page that ends this long before the venue's present holds no open candle, whatever our clock's error.
_NEAR_MS = 10 * MINUTE_MS
# A venue's time near the present is asked for once by all markets that want it in the same moment.
_SAME_MOMENT_S = 0.2
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
    ``gateway`` is the venue's, shared by the feeds of a process and its opener's to close. ``time_rate`` is 1 for a
    venue, the simulator's speed, or 0 in lockstep, where silence is no fault. Raises ConfigError for a market of
    another venue.
    """

    def __init__(
        self,
        market: str,
        gateway: Gateway,
        outlets: Outlets,
        *,
        time_rate: float = 1.0,
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        venue, self._symbol = split_market(market)
        if venue != gateway.adapter.venue:
            raise ConfigError(f"{market!r} is no market of {gateway.adapter.venue}.", field="markets", value=market)
        if gateway.origin == "venue" and time_rate != 1:
            raise ConfigError("A venue's time cannot run at another rate.", field="time_rate", value=time_rate)
        self.market = market
        self._gateway = gateway
        self._rate = time_rate
        self._outlets = outlets
        self._clock = clock or SystemClock()
        self._venue_clock = VenueClock(time_rate, clock=self._clock)
        self.state = FeedState(
            market,
            jitter,
            silence_timeout_s=self._silence_timeout_s(),
            grace_ms=round(gateway.settings.close_grace_s * 1000 * time_rate),
            future_ms=round(60_000 * max(1.0, time_rate)),
            proves_close=gateway.adapter.proves_close,
        )
        self._inbox = FeedInbox(market, self._clock.monotonic)
        self._stale = False
        self._warmup_from_ms: int | None = None
        self._conn = self._newest_socket = 0
        self._lines: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopping = False
        self._started = self._last_frame = self._next_clock = self._clock.monotonic()
        self._frames = self._unread_forming = 0
        self._down_reason: str | None = None

    def _silence_timeout_s(self) -> float | None:
        if self._rate == 0:
            return None
        configured = self._gateway.settings.silence_timeout_s
        return max(configured, _SIMULATED_QUIET_S / self._rate) if self._gateway.origin == "simulator" else configured

    # Public

    async def run(
        self,
        high_water_ms: int | None = None,
        *,
        warmup_from_ms: int | None = None,
        missing: tuple[tuple[int, int], ...] = (),
        was_down: bool = False,
        unconfirmed: tuple[Candle, ...] = (),
    ) -> None:
        """Feed until ``stop``, starting after ``high_water_ms``, or with history from ``warmup_from_ms`` on.

        ``missing`` are stored holes [from, to) to heal, ``unconfirmed`` stored minutes that only the stream told;
        ``was_down``: the last status that was told is False. Raises what a callback raised.
        """
        self._warmup_from_ms = warmup_from_ms
        if was_down:
            self.state.links.recall_down()
        self.resume(high_water_ms, missing, unconfirmed)
        self._spawn(self._keep_time())
        try:
            while not self._stopping:
                await self._inbox.wake.wait()
                self._inbox.wake.clear()
                await self._consume()
        finally:
            await self._end()

    async def stop(self) -> None:
        """Make ``run`` return after the delivery it is in."""
        self._stopping = True
        self._inbox.wake.set()

    def cut(self) -> None:
        """Break the venue's sockets without a close, as a network does: for tests of what follows."""
        self._gateway.hub.cut()

    def resume(
        self, high_water_ms: int | None, missing: tuple[tuple[int, int], ...], unconfirmed: tuple[Candle, ...] = ()
    ) -> None:
        """Go back to what storage holds, as ``run`` began: everything after it is told again from REST.

        Nothing of what was found before is delivered any more, not even the rest of what is on its way.
        """
        self._stale = True
        self._inbox.put(Resume(self._clock.monotonic(), high_water_ms, self._warmup_from_ms, missing, unconfirmed))

    def refetch(self, from_ms: int, to_ms: int) -> None:
        """Fetch told minutes again, because storage lost them, and tell them as a Heal."""
        self._inbox.put(Refetch(self._clock.monotonic(), from_ms, to_ms))

    def forget(self, from_ms: int, to_ms: int) -> None:
        """Ask no more for told minutes that the venue will never show; they stay missing."""
        self._inbox.put(Forget(self._clock.monotonic(), from_ms, to_ms))

    def found(self, candles: Sequence[Candle]) -> None:
        """Tell closed ``candles`` of told minutes, ascending, that were had by another way, as Heals."""
        self._inbox.put(Found(self._clock.monotonic(), tuple(candles)))

    @property
    def rest_error(self) -> str | None:
        """Why the last REST request failed; None after an answer."""
        return self.state.rest_error

    def venue_now_ms(self) -> int | None:
        """The venue's time; None in lockstep and before the venue has told it."""
        if self._rate == 0 or self._venue_clock.sample is None:
            return None
        return self._venue_clock.now_ms(0)

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
            "unconfirmed_minutes": self.state.unconfirmed,
            "missing_minutes": sum(to_ms - from_ms for from_ms, to_ms in self.state.missing) // 60_000,
        }

    def stats(self) -> dict[str, Any]:
        """Counters since the start, for metrics, with the health; sockets and REST are those of the whole process."""
        history = self._gateway.history
        return {
            **self.health(),
            **asdict(self.state.counters),
            "frames": self._frames,
            "forming_unread": self._unread_forming,
            "dropped": self._inbox.dropped,
            "dropped_garbage": self._inbox.dropped_garbage,
            "waiting": len(self._inbox),
            "sockets": self._gateway.hub.sockets,
            "rest_requests": history.requests,
            "rest_retries": history.retries,
            "rest_weight_used": history.limiter.used(),
            "uptime_s": round(self._clock.monotonic() - self._started, 3),
        }

    # The one consumer

    async def _consume(self) -> None:
        """Handle what waits; all candles of one turn travel in one delivery."""
        while (self._inbox or self._failure) and not self._stopping:
            if self._failure is not None:
                raise self._failure
            items: list[StreamItem] = []
            told: list[QualityNote | Status] = []
            while len(items) < BUFFER and (event := self._inbox.next()) is not None:
                if isinstance(event, Resume):
                    items, self._stale = [], False
                for instruction in self.state.handle(event):
                    if isinstance(instruction, Emit):
                        items.extend(instruction.items)
                    elif isinstance(instruction, QualityNote | Status):
                        told.append(instruction)
                    else:
                        self._start(instruction)
            await self._tell(items, told)
            forming = self._inbox.take_forming()
            if forming is not None and self._outlets.forming is not None:
                await self._outlets.forming(forming)

    async def _tell(self, items: list[StreamItem], told: list[QualityNote | Status]) -> None:
        for start in range(0, len(items), BUFFER):
            if self._stale:
                break
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
            self._lines[self._conn] = self._spawn(self._hold_line(self._conn, instruction.delay_s))
        elif isinstance(instruction, Close):
            task = self._lines.get(instruction.conn)
            if task is not None:
                task.cancel()

    # I/O

    async def _hold_line(self, conn: int, delay_s: float) -> None:
        """Lease line ``conn`` after ``delay_s``, on a socket newer than any before, and hold it to its end."""
        put, mono = self._inbox.put, self._clock.monotonic
        try:
            await asyncio.sleep(delay_s)
            leasing = self._gateway.hub.line(
                self._symbol,
                self._receiver(conn),
                lambda reason: put(Retiring(mono(), conn, reason)),
                newer_than=self._newest_socket,
            )
            async with leasing as line:
                self._newest_socket = line.socket
                put(Connected(mono(), conn))
                put(Disconnected(mono(), conn, await line.lost()))
        except VenueRetryable as error:
            put(ConnectFailed(mono(), error.message, error.retry_after_s))
        finally:
            self._lines.pop(conn, None)

    def _receiver(self, conn: int) -> Callable[[str | bytes], None]:
        """What reads the messages of line ``conn``."""
        reader = self._gateway.adapter.reader(self.market, self._symbol)
        next_alive = float("-inf")

        def receive(raw: str | bytes) -> None:
            nonlocal next_alive
            now = self._clock.monotonic()
            self._frames += 1
            self._last_frame = now
            wants = now >= next_alive
            for message in reader.read(raw, self._clock.time_ns(), want_forming=wants):
                if not isinstance(message, Forming):
                    self._take(message, conn, now)
                    continue
                self._unread_forming += message.candle is None
                self._inbox.forming = message.candle or self._inbox.forming
                if wants:
                    next_alive = now + _FORMING_EVERY_S
                    self._inbox.put(Alive(now, conn))

        return receive

    def _take(self, message: Candle | ServerShutdown | Anomaly, conn: int, now: float) -> None:
        if isinstance(message, Candle):
            self._inbox.put(Final(now, conn, message, self.venue_now_ms()))
        elif isinstance(message, ServerShutdown):
            self._inbox.put(Retiring(now, conn, "the venue shuts this server down"))
        else:
            self._inbox.put(Garbage(now, message))

    async def _fetch(self, ask: Fetch) -> None:
        try:
            closed_by_ms = await self._closed_by_ms(ask)
            page = await self._gateway.history.page(self._symbol, "1m", ask.from_ms, ask.to_ms, closed_by_ms)
        except MantaError as error:
            after = error.retry_after_s if isinstance(error, VenueRetryable) else None
            self._inbox.put(Fetched(self._clock.monotonic(), ask.from_ms, error=error.message, retry_after_s=after))
            return
        self._inbox.put(
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
        if ask.confirms and ask.to_ms is not None:
            return ask.to_ms + MINUTE_MS
        now_ms = self.venue_now_ms()
        if now_ms is None or ask.to_ms is None or ask.to_ms > now_ms - _NEAR_MS:
            sample = await self._gateway.time(_SAME_MOMENT_S if self._rate else 0.0)
            self._venue_clock.observe(sample)
            return sample.venue_ms - (self._gateway.adapter.doubt_ms if self._rate else 0)
        return ask.to_ms + MINUTE_MS

    async def _keep_time(self) -> None:
        """Tick; meanwhile keep the venue's clock: every minute, or in lockstep whenever the stream rests."""
        sampling: asyncio.Task[None] | None = None
        while True:
            now = self._clock.monotonic()
            self._inbox.put(Tick(now, self.venue_now_ms()))
            due = now >= self._next_clock and (self._rate != 0 or now - self._last_frame >= _IDLE_S)
            if due and (sampling is None or sampling.done()):
                self._next_clock = now + (_CLOCK_RETRY_S if self._rate else _IDLE_S)
                sampling = self._spawn(self._sample())
            await asyncio.sleep(_TICK_S)

    async def _sample(self) -> None:
        try:
            sample = await self._gateway.time(_CLOCK_EVERY_S / 2 if self._rate else 0.0)
        except MantaError:
            return
        self._venue_clock.observe(sample)
        if self._rate != 0:
            self._next_clock = self._clock.monotonic() + _CLOCK_EVERY_S
        else:
            # Nothing comes though the venue may have gone on: its clock tells whether a candle is overdue.
            self._inbox.put(Tick(self._clock.monotonic(), sample.venue_ms))

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
            self._inbox.wake.set()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
