"""Makes a replay's Postgres slow, silent or absent on purpose, for tests and benches of back-pressure."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from manta.replay import Replay
from trading.storage.database import connect

__all__ = ["absent_postgres", "silent_postgres", "slow_postgres"]

_END_SESSIONS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where pid <> pg_backend_pid() and backend_type = 'client backend'
"""


@asynccontextmanager
async def slow_postgres(replay: Replay, commit_ms: int) -> AsyncIterator[None]:
    """Every commit takes ``commit_ms`` longer, at most 100."""
    await _settings(replay, commit_delay=commit_ms * 1000, commit_siblings=0)
    try:
        yield
    finally:
        await _settings(replay, commit_delay=0, commit_siblings=5)


@asynccontextmanager
async def absent_postgres(replay: Replay) -> AsyncIterator[None]:
    """All sessions are cut, and nobody reaches the server until the block ends."""
    target = replay.host.target
    door = Path(target.host) / f".s.PGSQL.{target.port}"
    hidden = door.with_suffix(".hidden")
    connection = await connect(target, application_name="manta outage")
    door.rename(hidden)
    try:
        await connection.execute(_END_SESSIONS)
        await connection.close()
        yield
    finally:
        hidden.rename(door)


@asynccontextmanager
async def silent_postgres(replay: Replay) -> AsyncIterator[None]:
    """The server stands still: connections stay, and nothing answers until the block ends."""
    if replay.host.postgres is None or replay.host.postgres.pid is None:
        raise RuntimeError("the replay has no server of its own")
    server = psutil.Process(replay.host.postgres.pid)
    stopped = [server, *server.children(recursive=True)]
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(stopped):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


async def _settings(replay: Replay, **values: int) -> None:
    connection = await connect(replay.host.target, application_name="manta outage")
    for name, value in values.items():
        await connection.execute(f"alter system set {name} = {value}")
    await connection.execute("select pg_reload_conf()")
    await connection.close()
