"""Messages without a database: sent at once through the same channels, for commands that run beside nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

from trading.config.model import Notify
from trading.config.secrets import Secret
from trading.events import Event
from trading.notify.outbox import Answer, Jitter, decide
from trading.notify.routing import outbox_rows
from trading.notify.worker import Sender, open_sender
from trading.storage.outbox import OutboxMessage, OutboxRow

__all__ = ["send_now"]


async def send_now(
    events: Sequence[Event],
    notify: Notify,
    secrets: Mapping[str, Secret],
    *,
    patience_s: float = 60.0,
    jitter: Jitter = random.uniform,
) -> list[str]:
    """Send what ``events`` are to each channel that wants them; returns what could not be sent within ``patience_s``.

    Nothing is remembered: what fails is for the caller to tell. Channels do not wait for each other.
    """
    deadline = time.monotonic() + patience_s
    by_channel: dict[str, list[OutboxRow]] = {}
    for event in events:
        for row in outbox_rows(event, notify):
            by_channel.setdefault(row.channel, []).append(row)
    senders = {name: open_sender(name, notify.channels[name], secrets) for name in by_channel}
    tries = (_send_all(senders[name], rows, deadline, jitter) for name, rows in by_channel.items())
    return [text for failed in await asyncio.gather(*tries) for text in failed]


async def _send_all(sender: Sender, rows: Sequence[OutboxRow], deadline: float, jitter: Jitter) -> list[str]:
    failed: list[str] = []
    try:
        for number, row in enumerate(rows):
            if number:
                await asyncio.sleep(sender.min_interval_s)
            fate, attempts, maybe_duplicate = None, 0, False
            while fate is None or fate.retry_s is not None:
                attempts += 1
                message = OutboxMessage(0, *row, attempts, maybe_duplicate, 0)
                answer: Answer = await sender.send(message)
                fate = decide(answer, attempts, sender.max_attempts, jitter)
                maybe_duplicate = maybe_duplicate or fate.maybe_duplicate
                if fate.disable or time.monotonic() + (fate.retry_s or 0.0) > deadline:
                    break
                await asyncio.sleep(fate.retry_s or 0.0)
            if not fate.sent:
                failed.append(f"{row.channel}: {row.dedupe_key}: {fate.error}")
    finally:
        await sender.close()
    return failed
