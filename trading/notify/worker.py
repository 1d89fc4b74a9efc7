"""The notifier at work: one task for each channel takes due messages out of the outbox and sends them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from trading.config.model import DiscordChannel, LogChannel, Notify
from trading.config.secrets import Secret, read_secrets
from trading.errors import OutcomeUnknown, StorageRetryable
from trading.events import Event, EventKind
from trading.logs import Availability
from trading.notify.discord import DiscordSender
from trading.notify.log_channel import LogSender
from trading.notify.outbox import Answer, Fate, Jitter, Verdict, decide
from trading.notify.routing import alert_event, tell
from trading.storage import outbox
from trading.storage.database import Connection, Database
from trading.storage.leases import Lease
from trading.storage.outbox import Backlog, OutboxMessage

__all__ = ["Boundary", "Notifier", "Sender", "open_sender"]

_log = structlog.get_logger(__name__)
_POLL_S = 1.0
_COUNT_S = 15.0
_RETRY_S = 0.2
T = TypeVar("T")

Boundary = Callable[[str, int], None]
"""Told each place where a crash matters, with the message's event time in ms: ``in_claim`` (the claim's COMMIT is about
to be sent), ``after_read`` (claimed), ``before_send``, ``after_send`` (the channel answered, nobody stored it yet),
``before_commit``, ``before_cursor`` and ``in_commit`` (around the outcome's transaction), ``after_ack`` (stored)."""


class Sender(Protocol):
    """One way out. ``batch`` is how many messages are sent, at most, before their outcome is stored."""

    batch: int
    min_interval_s: float
    max_attempts: int

    async def send(self, message: OutboxMessage) -> Answer: ...

    async def close(self) -> None: ...


def open_sender(name: str, channel: LogChannel | DiscordChannel, secrets: Mapping[str, Secret]) -> Sender:
    """The way out that ``channel``, which is configured as ``name``, describes."""
    if isinstance(channel, DiscordChannel):
        return DiscordSender(channel, secrets.get("DISCORD_WEBHOOK_URL"))
    return LogSender(name)


class _Channel:
    """A sender, when it may send next (host monotonic seconds), and what it has done since the start."""

    def __init__(self, name: str, sender: Sender) -> None:
        self.name = name
        self.sender = sender
        self.wake = asyncio.Event()
        self.not_before = 0.0
        self.idle = False
        self.disabled = ""
        self.sent = self.retried = self.dead = 0
        self.backlog = Backlog(0, None, 0)


class Notifier:
    """Drains table ``outbox`` to the configured channels.

    Durable: every message and its state. A message is ``sending`` in a committed transaction before it is sent, so what
    a crash leaves between sending and storing the outcome is repeated marked as a possible repeat. ``lease`` is checked
    in each transaction. A channel that hangs or fails delays no other: the database connection is not held while
    something is sent.
    """

    def __init__(
        self,
        db: Database,
        lease: Lease | None,
        notify: Notify,
        secrets_path: Path | str | None,
        *,
        jitter: Jitter = random.uniform,
        on_boundary: Boundary = lambda _name, _position: None,
    ) -> None:
        self._db = db
        self._lease = lease
        self._notify = notify
        self._secrets_path = secrets_path
        self._jitter = jitter
        self._boundary = on_boundary
        self._channels: dict[str, _Channel] = {}
        self._postgres = Availability(_log, "postgres")
        self._drain_until: float | None = None
        self._opened = False
        self._flushed = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send until ``drain`` was called and nothing is due. Raises Halt when another process took the lease."""
        self._channels = self._open_channels()
        self._opened = True
        tasks: list[asyncio.Task[Any]] = []
        try:
            repeated = await self._stored(lambda conn, _: outbox.requeue_interrupted(conn))
            if repeated:
                _log.warning("messages go out again, marked: a notifier ended while sending them", count=repeated)
            tasks = [asyncio.create_task(self._serve(channel)) for channel in self._channels.values()]
            tasks.append(asyncio.create_task(self._count()))
            # Keeps the notifier there, to be drained, when no channel is left.
            tasks.append(asyncio.create_task(self._flushed.wait()))
            self._leave_if_idle()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for channel in self._channels.values():
                await channel.sender.close()
            self._ended.set()

    def wake(self) -> None:
        """Look into the outbox now instead of within a second."""
        for channel in self._channels.values():
            channel.wake.set()

    async def drain(self, timeout_s: float) -> bool:
        """Send what is due, then let ``run`` end; whether that was done within ``timeout_s``. What is left waits."""
        self._drain_until = time.monotonic() + timeout_s
        self._leave_if_idle()
        self.wake()
        try:
            await asyncio.wait_for(self._ended.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def stats(self) -> dict[str, dict[str, Any]]:
        """By channel: how many were sent, retried and given up since the start, and why it is disabled, if it is.

        ``waiting`` and ``oldest_age_s`` are what waited at the last count, some seconds ago; ``dead_letters`` are those
        that are kept.
        """
        now_ms = time.time_ns() // 1_000_000
        return {
            name: {
                "sent": channel.sent,
                "retried": channel.retried,
                "dead": channel.dead,
                "disabled": channel.disabled or None,
                "waiting": channel.backlog.waiting,
                "oldest_age_s": (
                    None
                    if channel.backlog.oldest_ms is None
                    else round(max(0, now_ms - channel.backlog.oldest_ms) / 1000)
                ),
                "dead_letters": channel.backlog.dead,
            }
            for name, channel in self._channels.items()
        }

    def _open_channels(self) -> dict[str, _Channel]:
        wants_secret = any(isinstance(item, DiscordChannel) for item in self._notify.channels.values())
        secrets = read_secrets(self._secrets_path) if wants_secret else {}
        return {name: _Channel(name, open_sender(name, item, secrets)) for name, item in self._notify.channels.items()}

    async def _serve(self, channel: _Channel) -> None:
        while not channel.disabled and not self._flushed.is_set():
            if not await self._may_send(channel):
                continue
            draining = self._drain_until is not None
            messages = await self._claim(channel)
            if not messages:
                await self._rest(channel, done=draining)
                continue
            self._boundary("after_read", _newest_ms(messages))
            fates = []
            for message in messages:
                self._boundary("before_send", message.event_time_ms)
                answer = await _send(channel, message)
                self._boundary("after_send", message.event_time_ms)
                fates.append((message, decide(answer, message.attempts, channel.sender.max_attempts, self._jitter)))
            await self._settle(channel, fates)
            self._boundary("after_ack", messages[-1].event_time_ms)
        channel.idle = True
        self._leave_if_idle()

    async def _count(self) -> None:
        """Now and then, how much waits: a channel that hangs is to be seen."""
        while not self._flushed.is_set():
            found = await self._stored(lambda conn, _: outbox.read_backlogs(conn))
            for name, channel in self._channels.items():
                channel.backlog = found.get(name, Backlog(0, None, 0))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._flushed.wait(), _COUNT_S)

    async def _may_send(self, channel: _Channel) -> bool:
        """Wait for the channel's pace; false when that did not end or would outlast the time left for draining."""
        wait_s = channel.not_before - time.monotonic()
        if wait_s <= 0:
            return True
        if self._drain_until is not None and channel.not_before > self._drain_until:
            await self._rest(channel, done=True)
            return False
        # Woken only to notice a shutdown: new messages do not shorten a pause.
        await _wait(channel.wake, wait_s)
        return False

    async def _rest(self, channel: _Channel, *, done: bool) -> None:
        """Wait for something to do; ``done`` when draining has nothing left to do here."""
        channel.idle = done
        self._leave_if_idle()
        if not self._flushed.is_set():
            await _wait(channel.wake, _POLL_S)

    def _leave_if_idle(self) -> None:
        """All at once: a channel that still sends may yet have an alert for one that has nothing to do."""
        if self._opened and self._drain_until is not None and all(channel.idle for channel in self._channels.values()):
            self._flushed.set()
            self.wake()

    async def _claim(self, channel: _Channel) -> list[OutboxMessage]:
        async def claim(connection: Connection, again: bool) -> list[OutboxMessage]:
            if again:
                # The claim before this one may have been committed unseen.
                await outbox.release_claims(connection, channel.name)
            claimed = await outbox.claim_due(connection, channel.name, limit=channel.sender.batch)
            if claimed:
                self._boundary("in_claim", _newest_ms(claimed))
            return claimed

        return await self._stored(claim)

    async def _settle(self, channel: _Channel, fates: Sequence[tuple[OutboxMessage, Fate]]) -> None:
        """Store what became of messages, and tell the other channels about trouble, in one transaction."""
        alerts = [event for message, fate in fates for event in self._alerts(channel, message, fate)]
        others = Notify(
            channels={
                name: item
                for name, item in self._notify.channels.items()
                if name != channel.name and not self._channels[name].disabled
            }
        )
        newest_ms = _newest_ms([message for message, _ in fates])

        async def store(connection: Connection, _: bool) -> None:
            for message, fate in fates:
                if fate.sent:
                    await outbox.mark_sent(connection, message.id)
                elif fate.dead:
                    await outbox.mark_dead(connection, message.id, fate.error)
                else:
                    await outbox.mark_retry(
                        connection,
                        message.id,
                        fate.error,
                        fate.retry_s or 0.0,
                        maybe_duplicate=fate.maybe_duplicate,
                    )
            await tell(connection, alerts, others)
            self._boundary("before_cursor", newest_ms)
            self._boundary("in_commit", newest_ms)

        self._boundary("before_commit", newest_ms)
        await self._stored(store)
        for _, fate in fates:
            channel.sent += fate.sent
            channel.dead += fate.dead
            channel.retried += fate.retry_s is not None and not fate.disable
            channel.disabled = channel.disabled or (fate.error if fate.disable else "")
        pause_s = max((fate.pause_s for _, fate in fates), default=0.0)
        channel.not_before = time.monotonic() + max(pause_s, channel.sender.min_interval_s)
        for name in others.channels if alerts else ():
            self._channels[name].idle = False
            self._channels[name].wake.set()

    def _alerts(self, channel: _Channel, message: OutboxMessage, fate: Fate) -> list[Event]:
        """What every other channel that works is to hear; without one, or in a circle, a log line instead."""
        if not fate.alert:
            return []
        text = f"Notification channel {channel.name} {fate.alert}"
        circle = message.kind == EventKind.ALERT and not fate.disable
        if circle or not any(item is not channel and not item.disabled for item in self._channels.values()):
            _log.error(text, channel=channel.name, key=message.dedupe_key)
            return []
        cause = f"{channel.name}:{'disabled' if fate.disable else 'dead'}:{message.id}"
        return [alert_event(cause, text, message.dedupe_key, time.time_ns() // 1_000_000, "notify")]

    async def _stored(self, work: Callable[[Connection, bool], Awaitable[T]]) -> T:
        """Run ``work(connection, again)`` in a transaction until Postgres has surely committed it."""
        again = False
        while True:
            try:
                async with self._db.transaction() as connection:
                    if self._lease is not None:
                        await self._lease.check(connection)
                    found = await work(connection, again)
            except (StorageRetryable, OutcomeUnknown) as error:
                again = True
                self._postgres.down(str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._postgres.back()
                return found


def _newest_ms(messages: Sequence[OutboxMessage]) -> int:
    return max((message.event_time_ms for message in messages), default=0)


async def _send(channel: _Channel, message: OutboxMessage) -> Answer:
    try:
        return await channel.sender.send(message)
    except Exception as error:
        # One message that cannot be told must not keep the others back.
        _log.exception("a message cannot be sent", channel=channel.name, key=message.dedupe_key)
        return Answer(Verdict.BAD_MESSAGE, f"{type(error).__name__} while sending")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
    finally:
        event.clear()
