"""Messages as lines of the log."""

from __future__ import annotations

import structlog

from trading.notify.messages import is_trouble, line
from trading.notify.outbox import Answer, Verdict
from trading.storage.outbox import OutboxMessage

__all__ = ["LogSender"]


class LogSender:
    """Writes one line a message; trouble is a warning."""

    batch = 50
    min_interval_s = 0.0
    max_attempts = 1000

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger("trading.notify").bind(channel=name)

    async def send(self, message: OutboxMessage) -> Answer:
        text = line(message.body, maybe_duplicate=message.maybe_duplicate)
        tell = self._log.warning if is_trouble(message.body) else self._log.info
        tell(text, kind=message.kind, key=message.dedupe_key)
        return Answer(Verdict.ACCEPTED)

    async def close(self) -> None:
        """Nothing is held."""
