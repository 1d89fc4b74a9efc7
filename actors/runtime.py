"""What all actors share: the discipline of one inbox and one consumer, and commits that happen exactly once.

Measured reasons: an async method that awaits lets the next call overtake it, so events go through one queue and one
task; a background task that dies leaves an actor alive and deaf, so its failure ends the process; an actor that exits
cleanly is never restarted, so failures exit hard and Ray starts the actor again.
"""

from __future__ import annotations

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import structlog

from actors.session import Session, actor_name
from trading.errors import Halt, OutcomeUnknown, StorageRetryable
from trading.intervals import MINUTE_MS
from trading.logs import configure_logging
from trading.storage import cursors
from trading.storage.database import Connection, Database
from trading.storage.leases import Lease

__all__ = ["CRASH_EXIT", "Actor", "Writer", "windows"]

CRASH_EXIT = 70
_INBOX = 64
_LEASE_WAIT_S = 30.0
_RETRY_S = 0.1
_COMMIT_POLL_S = 0.02
_PULL_MS = 5_000 * MINUTE_MS
T = TypeVar("T")

Write = Callable[[Connection], Awaitable[None]]


def windows(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The spans, from ``start_ms`` to ``end_ms``, in which missed minutes are pulled from storage."""
    for begin_ms in range(start_ms, end_ms, _PULL_MS):
        yield begin_ms, min(begin_ms + _PULL_MS, end_ms)


class Actor(ABC):
    """One inbox, one consumer.

    ``push``-like methods of subclasses put messages into the inbox, which is bounded: a full one slows the sender
    down. Only ``health`` and ``stop`` run beside the consumer. Nothing in memory is durable; ``bootstrap`` rebuilds
    it from storage.
    """

    role: ClassVar[str]

    def __init__(self, session: Session, subject: str = "") -> None:
        self.session = session
        self.subject = subject
        self.name = actor_name(self.role, subject)
        configure_logging(Path(session.log_dir) / f"{self.name.replace(':', '_')}.log", secrets=session.secrets_path)
        self.log = structlog.get_logger(self.name)
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(_INBOX)
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = False
        self._stopping = False

    @abstractmethod
    async def bootstrap(self) -> None:
        """Rebuild state from storage; called once, before the first message."""

    @abstractmethod
    async def handle(self, message: Any) -> None:
        """Handle one message to the end; the next one is taken only afterwards."""

    def start(self) -> None:
        """Start the consumer; call it from the running event loop."""
        self.spawn(self._consume())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in the background. Its failure ends the process, so that Ray restarts the actor."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def ready(self) -> str:
        """Return the actor's name once it is rebuilt and consuming."""
        await self._ready.wait()
        return self.name

    async def put(self, message: Any) -> None:
        await self._ready.wait()
        await self._inbox.put(message)

    async def drain(self) -> None:
        """Wait until the inbox is empty and the message at hand is done."""
        await self._inbox.join()

    async def stop(self) -> None:
        """Finish what is in the inbox, then release everything. Safe to call twice."""
        if not self._stopping:
            self._stopping = True
            if self._ready.is_set():
                await self.drain()
            await self.close()

    async def close(self) -> None:
        """Release what ``bootstrap`` acquired."""
        self.cancel_tasks()

    def cancel_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.remove_done_callback(self._finished)
            task.cancel()

    async def health(self) -> dict[str, Any]:
        return {
            "actor": self.name,
            "pid": os.getpid(),
            "ready": self._ready.is_set(),
            "inbox": self._inbox.qsize(),
            **self.facts(),
        }

    def facts(self) -> dict[str, Any]:
        """What this kind of actor adds to ``health``."""
        return {}

    async def _consume(self) -> None:
        await self.bootstrap()
        self._ready.set()
        self.log.info("ready")
        while True:
            message = await self._inbox.get()
            try:
                await self.handle(message)
            finally:
                self._inbox.task_done()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.log.error("actor failed", error=str(error), kind=type(error).__name__, exc_info=error)
        os._exit(Halt.exit_code if isinstance(error, Halt) else CRASH_EXIT)


class Writer(Actor):
    """An actor that owns tables: one connection, one lease, and cursors that move together with its effects."""

    def __init__(self, session: Session, subject: str = "") -> None:
        super().__init__(session, subject)
        self.db = Database(session.target, application_name=self.name)
        self.lease = Lease(self.db, self.name, f"{session.session_id}/{os.getpid()}")
        self._away = False

    async def acquire(self) -> None:
        """Become the only writer of this name; a killed predecessor's connection may linger some seconds."""
        await self.lease.acquire(timeout_s=_LEASE_WAIT_S)

    async def commit(self, moves: Mapping[str, int], write: Write) -> None:
        """Run ``write`` and move the cursors ``moves`` in one transaction, exactly once, however often Postgres goes
        away.

        When the connection breaks during COMMIT the outcome is unknown: the cursors tell. Without cursors, ``write``
        must be idempotent. Raises Halt when another process has taken this actor's place.
        """
        highest = max(moves.values(), default=0)
        self.boundary("before_commit", highest)
        attempt = 0
        while True:
            try:
                async with self.db.transaction() as conn:
                    await self.lease.check(conn)
                    if attempt and moves and not await cursors.advance(conn, moves):
                        break
                    await write(conn)
                    for name, position in moves.items():
                        await cursors.set_cursor(conn, name, position)
                break
            except (StorageRetryable, OutcomeUnknown) as error:
                attempt += 1
                self._lost(error)
                await asyncio.sleep(_RETRY_S)
        self._back()
        self.boundary("after_commit", highest)

    async def read(self, query: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a read, repeated until Postgres answers."""
        while True:
            try:
                async with self.db.transaction() as conn:
                    found = await query(conn)
            except (StorageRetryable, OutcomeUnknown) as error:
                self._lost(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._back()
                return found

    async def committed(self, names: Mapping[str, str]) -> dict[str, int]:
        """Committed positions of the cursors ``names``, by their keys; those that were never moved are left out."""

        async def query(conn: Connection) -> dict[str, int | None]:
            return {key: await cursors.get_cursor(conn, name) for key, name in names.items()}

        found = await self.read(query)
        return {key: position for key, position in found.items() if position is not None}

    async def sender_position(self, cursor: str, upto_ms: int | None) -> int:
        """How far the sender has committed, or ``upto_ms`` once it has committed that: it may push shortly before."""
        while True:
            found = await self.read(lambda conn: cursors.get_cursor(conn, cursor)) or 0
            if upto_ms is None:
                return found
            if found >= upto_ms:
                return upto_ms
            await asyncio.sleep(_COMMIT_POLL_S)

    async def close(self) -> None:
        await super().close()
        await self.lease.release()
        await self.db.close()

    def boundary(self, name: str, position: int) -> None:
        """A named place where a simulator session may kill this actor, or Postgres, once."""
        if self.session.origin != "simulator":
            return
        for point in self.session.crash_points:
            if point.actor != self.name or point.boundary != name or position < point.at_ms:
                continue
            try:
                os.close(os.open(point.marker, os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            victim = os.getpid()
            if point.victim == "postgres" and self.session.postgres_pid_file:
                victim = int(Path(self.session.postgres_pid_file).read_text(encoding="utf-8").split()[0])
            os.kill(victim, signal.SIGKILL)

    def _lost(self, error: Exception) -> None:
        if not self._away:
            self.log.warning("postgres away", error=str(error))
        self._away = True

    def _back(self) -> None:
        if self._away:
            self.log.info("postgres back")
        self._away = False
