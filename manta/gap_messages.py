"""Messages of a command: through the outbox that a running Manta drains, or by draining it here when none runs."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from pathlib import Path

from trading.config.model import Config
from trading.config.secrets import write_secrets
from trading.errors import Halt
from trading.notify.worker import Notifier
from trading.storage import outbox
from trading.storage.database import Database
from trading.storage.leases import Lease

__all__ = ["flush_outbox"]

_SEND_S = 30.0


async def flush_outbox(config: Config, database: Database) -> dict[str, int]:
    """Send what waits in the outbox unless another process does that; by channel, how many still wait.

    What cannot be sent now goes out when Manta starts, or with the next command.
    """
    lease = Lease(database, "notifier", f"{socket.gethostname()}/{os.getpid()} (command)")
    try:
        await lease.acquire(timeout_s=0.5)
    except Halt:
        return {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            notifier = Notifier(database, lease, config.notify, write_secrets(Path(folder), os.environ))
            running = asyncio.ensure_future(notifier.run())
            await notifier.drain(_SEND_S)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        left = await database.run(outbox.read_backlogs)
    finally:
        await lease.release()
    return {name: item.waiting for name, item in left.items() if item.waiting and name in config.notify.channels}
