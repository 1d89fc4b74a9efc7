"""The notifier at work: one task for each channel takes due messages out of the outbox and sends them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from trading.config.model import DiscordChannel, Notify
from trading.config.secrets import read_secrets
from trading.errors import OutcomeUnknown, StorageRetryable
from trading.logs import Availability
from trading.notify.discord import DiscordSender
from trading.notify.log_channel import LogSender
from trading.notify.messages import ALERT
from trading.notify.outbox import Answer, Fate, Jitter, Verdict, decide
from trading.storage import outbox
from trading.storage.database import Connection, Database
from trading.storage.leases import Lease
from trading.storage.outbox import OutboxMessage, OutboxRow

__all__ = ["Notifier", "Sender"]

_log = structlog.get_logger(__name__)
_POLL_S = 1.0
_RETRY_S = 0.2
T = TypeVar("T")


class Sender(Protocol):
    """One way out. ``batch`` is how many messages are sent, at most, before their outcome is stored."""

    batch: int
    min_interval_s: float
    max_attempts: int

    async def send(self, message: OutboxMessage) -> Answer: ...

    async def close(self) -> None: ...


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
    ) -> None:
        self._db = db
        self._lease = lease
        self._notify = notify
        self._secrets_path = secrets_path
        self._jitter = jitter
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
        """By channel: how many were sent, retried and given up since the start, and why it is disabled, if it is."""
        return {
            name: {
                "sent": channel.sent,
                "retried": channel.retried,
                "dead": channel.dead,
                "disabled": channel.disabled or None,
            }
            for name, channel in self._channels.items()
        }

    def _open_channels(self) -> dict[str, _Channel]:
        wants_secret = any(isinstance(item, DiscordChannel) for item in self._notify.channels.values())
        secrets = read_secrets(self._secrets_path) if wants_secret else {}
        return {
            name: _Channel(
                name,
                DiscordSender(item, secrets.get("DISCORD_WEBHOOK_URL"))
                if isinstance(item, DiscordChannel)
                else LogSender(name),
            )
            for name, item in self._notify.channels.items()
        }

    async def _serve(self, channel: _Channel) -> None:
        while not channel.disabled and not self._flushed.is_set():
            if not await self._may_send(channel):
                continue
            draining = self._drain_until is not None
            messages = await self._claim(channel)
            if not messages:
                await self._rest(channel, done=draining)
                continue
            fates = []
            for message in messages:
                answer = await _send(channel, message)
                fates.append((message, decide(answer, message.attempts, channel.sender.max_attempts, self._jitter)))
            await self._settle(channel, fates)
        channel.idle = True
        self._leave_if_idle()

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
            return await outbox.claim_due(connection, channel.name, limit=channel.sender.batch)

        return await self._stored(claim)

    async def _settle(self, channel: _Channel, fates: Sequence[tuple[OutboxMessage, Fate]]) -> None:
        """Store what became of messages, and tell the other channels about trouble, in one transaction."""
        alerts = [row for message, fate in fates for row in self._alerts(channel, message, fate)]

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
            await outbox.enqueue(connection, alerts)

        await self._stored(store)
        for _, fate in fates:
            channel.sent += fate.sent
            channel.dead += fate.dead
            channel.retried += fate.retry_s is not None and not fate.disable
            channel.disabled = channel.disabled or (fate.error if fate.disable else "")
        pause_s = max((fate.pause_s for _, fate in fates), default=0.0)
        channel.not_before = time.monotonic() + max(pause_s, channel.sender.min_interval_s)
        for name in {row.channel for row in alerts}:
            self._channels[name].idle = False
            self._channels[name].wake.set()

    def _alerts(self, channel: _Channel, message: OutboxMessage, fate: Fate) -> list[OutboxRow]:
        """Rows for every other channel that works; without one, or when the lost message was an alert, a log line."""
        if not fate.alert:
            return []
        text = f"Notification channel {channel.name} {fate.alert}"
        others = [item for item in self._channels.values() if item is not channel and not item.disabled]
        if message.kind == ALERT or not others:
            _log.error(text, channel=channel.name, key=message.dedupe_key)
            return []
        key = f"{ALERT}:{channel.name}:{'disabled' if fate.disable else 'dead'}:{message.id}"
        body = {
            "kind": ALERT,
            "v": 1,
            "event_time_ms": time.time_ns() // 1_000_000,
            "stream": "notify",
            "cause_id": message.dedupe_key,
            "payload": {"title": text, "message": message.dedupe_key},
        }
        return [OutboxRow(item.name, key, ALERT, body) for item in others]

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
