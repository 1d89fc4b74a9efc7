"""What all actors share: the discipline of one inbox and one consumer, and commits that happen exactly once.

Measured reasons: an async method that awaits lets the next call overtake it, so events go through one queue and one
task; a background task that dies leaves an actor alive and deaf, so its failure ends the process; an actor that exits
cleanly is never restarted, so failures exit hard and Ray starts the actor again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import structlog

from actors.crash import CrashBox, carry_out, server_pid
from actors.edge import Neighbour, unpack
from actors.inbox import Inbox
from actors.lean import packages
from actors.session import Session, actor_name
from trading.clock import VenueClock
from trading.config.model import Config
from trading.errors import Halt, OutcomeUnknown, StorageRetryable
from trading.events import Batch
from trading.intervals import MINUTE_MS
from trading.logs import configure_logging
from trading.markets import split_market
from trading.storage import clocks, cursors
from trading.storage.database import Connection, Database
from trading.storage.leases import Lease
from trading.storage.markets import remember_markets
from trading.storage.reloads import read_reload

if TYPE_CHECKING:
    from trading.venues.cluster_limits import ClusterLimits
    from trading.venues.gateway import Gateway

__all__ = ["CRASH_EXIT", "Actor", "Process", "Writer", "windows"]

CRASH_EXIT = 70
_LEASE_WAIT_S = 30.0
_RETRY_S = 0.1
_STOP_S = 10.0
_COMMIT_POLL_S = 0.02
_GIVE_WAY_S = 0.01
_PULL_MS = 5_000 * MINUTE_MS
T = TypeVar("T")

Write = Callable[[Connection], Awaitable[None]]


def windows(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """The spans, from ``start_ms`` to ``end_ms``, in which missed minutes are pulled from storage."""
    for begin_ms in range(start_ms, end_ms, _PULL_MS):
        yield begin_ms, min(begin_ms + _PULL_MS, end_ms)


@dataclass(slots=True)
class Process:
    """What the actors of one process share: its log file, in a pack one database connection, and each venue's gateway
    with the limits of the cluster.

    ``near`` are actors that others reach by name within the process.
    """

    session: Session
    name: str
    db: Database | None = None
    gateways: dict[str, Gateway] = field(default_factory=dict)
    limits: ClusterLimits | None = None
    near: dict[str, Neighbour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        file = Path(self.session.log_dir) / f"{self.name.replace(':', '_')}.log"
        configure_logging(file, secrets=self.session.secrets_path)

    async def close(self) -> None:
        if self.db is not None:
            await self.db.close()
        for gateway in self.gateways.values():
            await gateway.close()
        if self.limits is not None:
            await self.limits.close()

    def gateway(self, venue: str) -> Gateway:
        """The way to ``venue``, opened for the first who needs it."""
        # Only feeds pay for the modules.
        from trading.venues.cluster_limits import ClusterLimits
        from trading.venues.gateway import Gateway

        if venue not in self.gateways:
            config, origin = self.session.config, self.session.origin
            self.limits = self.limits or ClusterLimits(
                config, self.session.target, application_name=f"manta {self.name} limits"
            )
            self.gateways[venue] = Gateway(venue, config.venues.of(venue), origin=origin, limiter=self.limits.of(venue))
        return self.gateways[venue]


class Actor(ABC):
    """One inbox, one consumer.

    ``push``-like methods of subclasses put messages into the inbox, which is bounded: a full one slows the sender
    down. Only ``health`` and ``stop`` run beside the consumer. Nothing in memory is durable; ``bootstrap`` rebuilds
    it from storage.
    """

    role: ClassVar[str]

    def __init__(self, session: Session, subject: str = "", process: Process | None = None) -> None:
        self.session = session
        self.subject = subject
        self.name = actor_name(self.role, subject)
        self.process = process or Process(session, self.name)
        self.log = structlog.get_logger(self.name)
        crash_dir = session.crash_dir if session.origin == "simulator" else None
        self._crashes = CrashBox(Path(crash_dir)) if crash_dir else None
        self._inbox = Inbox()
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = False
        self._stopping = False
        self._finished_all = False

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

    async def reconfigure(self, config: Config) -> None:
        """Go by ``config`` from now on, for an actor that only reads it when it needs it."""
        self.session = replace(self.session, config=config)

    async def accept(self, packed: bytes) -> Batch:
        """Take a ``push`` in, and give way before it is answered.

        Measured: Ray's work on an answer holds the interpreter for most of a millisecond, while the batch is urgent
        and nobody waits for the answer.
        """
        batch = unpack(packed)
        await self.put(batch)
        await self.give_way()
        return batch

    async def give_way(self) -> None:
        """Let what is urgent go first: a candle is on its way to a decision, and what we do next can wait a moment.

        On two cores, and within one interpreter, both would be slower. With more work waiting, or in lockstep, only our
        task steps aside.
        """
        await asyncio.sleep(0 if self.session.lockstep or not self._inbox.empty() else _GIVE_WAY_S)

    async def drain(self) -> None:
        """Wait until the inbox is empty and the message at hand is done."""
        await self._inbox.join()

    async def stop(self, within_s: float = _STOP_S) -> dict[str, Any]:
        """Finish what is in the inbox as far as the time allows, release everything, return the last health.

        Whatever is left is not lost: it is pulled from the cursors at the next start; ``finished`` says whether nothing
        is. Safe to call twice.
        """
        end = time.monotonic() + within_s
        if not self._stopping:
            self._stopping = True
            if self._ready.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.drain(), within_s / 2)
                    self._finished_all = True
            last = await self.health()
            await self.close(max(0.0, end - time.monotonic()))
        else:
            last = await self.health()
        return last | {"finished": self._finished_all}

    async def close(self, within_s: float) -> None:
        """Release what ``bootstrap`` acquired; ``within_s`` is what remains for handing over what is under way."""
        self.cancel_tasks()

    def boundary(self, name: str, position_ms: int) -> None:
        """A named place where a simulator session may be hurt; ``position_ms`` is the event time of what passes."""
        if self._crashes is None:
            return
        point = self._crashes.take(self.name, name, position_ms)
        if point is not None:
            pids = {
                "self": os.getpid(),
                "postgres": server_pid(self.session.postgres_pid_file),
                "host": self.session.host_pid,
                "raylet": os.getppid(),
            }
            carry_out(point, pids, self.cut)

    def cut(self) -> None:
        """Break this actor's connection at the socket, as a network does."""
        raise NotImplementedError(f"{self.name} has no connection")

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
            "inbox_weight": self._inbox.weight,
            **({"packages": packages()} if self.session.origin == "simulator" else {}),
            **self.facts(),
        }

    def facts(self) -> dict[str, Any]:
        """What this kind of actor adds to ``health``."""
        return {}

    async def _consume(self) -> None:
        await self.bootstrap()
        self._ready.set()
        self.log.info("ready")
        slow = self.session.slow_points if self.session.origin == "simulator" else ()
        pause_s = sum(point.seconds for point in slow if point.actor == self.name)
        while True:
            message = await self._inbox.get()
            if pause_s:
                await asyncio.sleep(pause_s)
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

    def __init__(self, session: Session, subject: str = "", process: Process | None = None) -> None:
        super().__init__(session, subject, process)
        self._owns_db = self.process.db is None
        self.db = self.process.db or Database(session.target, application_name=self.name)
        if remember_markets not in self.db.on_connect:
            self.db.on_connect.append(remember_markets)
        self.lease = Lease(self.db, self.name, f"{session.session_id}/{os.getpid()}")
        self._counter_name = f"counted:{self.name}"
        self._counting = asyncio.Lock()
        self._away = False

    async def acquire(self) -> None:
        """Become the only writer of this name; a killed predecessor's connection may linger some seconds.

        Waits while Postgres is away. Raises Halt when another process does this job. From here on ``session.config``
        is what the session was last reloaded with: an actor that starts again is given the arguments of its first
        start.
        """
        while self.lease.epoch is None:
            try:
                await self.lease.acquire(timeout_s=_LEASE_WAIT_S)
            except (StorageRetryable, OutcomeUnknown) as error:
                self._lost(error)
                await asyncio.sleep(_RETRY_S)
        config = await self.read(lambda conn: read_reload(conn, self.session.session_id))
        if config is not None:
            self.session = replace(self.session, config=config)

    async def commit(self, moves: Mapping[str, int], write: Write, *, at_ms: int | None = None) -> None:
        """Run ``write`` and move the cursors ``moves`` in one transaction, exactly once, however often Postgres goes
        away.

        When the connection breaks during COMMIT the outcome is unknown: the cursors tell. Without ``moves`` a counter
        of this actor's commits does. Raises Halt when another process has taken this actor's place. ``at_ms`` is the
        position that boundaries are told, by default the highest of ``moves``.
        """
        highest = max(moves.values(), default=0) if at_ms is None else at_ms
        self.boundary("before_commit", highest)
        if moves:
            await self._commit(moves, write, highest)
            return
        # One at a time: the next one's number would make a lost commit look done.
        async with self._counting:
            await self._commit({self._counter_name: await self._next_commit()}, write, highest)

    async def _commit(self, moves: Mapping[str, int], write: Write, highest: int) -> None:
        attempt = 0
        while True:
            try:
                async with self.db.transaction() as conn:
                    await self.lease.check(conn)
                    if attempt and not await cursors.advance(conn, moves):
                        break
                    await write(conn)
                    self.boundary("before_cursor", highest)
                    await cursors.set_cursors(conn, moves)
                    self.boundary("in_commit", highest)
                break
            except (StorageRetryable, OutcomeUnknown) as error:
                attempt += 1
                self._lost(error)
                await asyncio.sleep(_RETRY_S)
        self._back()
        self.boundary("after_commit", highest)

    async def _next_commit(self) -> int:
        return (await self.read(lambda conn: cursors.get_cursor(conn, self._counter_name)) or 0) + 1

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

    async def observe_venue(self, clock: VenueClock, venue: str) -> None:
        """Tell ``clock`` what is known of the venue's time before any push brings it: from the recorder, or the start.

        The newer one, for the recorder's is from before the start while the venue's feed has not spoken yet.
        """
        if self.session.lockstep:
            return
        stored = await self.read(lambda conn: clocks.read_clock(conn, venue))
        known = [sample for sample in (stored, self.session.clock) if sample is not None]
        clock.observe(max(known, default=None))

    async def venue_now_ms(self) -> int:
        """The present time at the venue, for what this actor tells of itself; the session's start in lockstep."""
        clock = VenueClock(self.session.time_rate)
        await self.observe_venue(clock, split_market(self.session.config.markets[0])[0])
        return clock.now_ms(self.session.start_ms)

    async def sender_position(self, cursor: str, upto_ms: int | None) -> int:
        """How far the sender has committed, or ``upto_ms`` once it has committed that: it may push shortly before."""
        while True:
            found = await self.read(lambda conn: cursors.get_cursor(conn, cursor)) or 0
            if upto_ms is None:
                return found
            if found >= upto_ms:
                return upto_ms
            await asyncio.sleep(_COMMIT_POLL_S)

    def cut(self) -> None:
        self.db.cut()

    async def close(self, within_s: float) -> None:
        await super().close(within_s)
        await self.lease.release()
        if self._owns_db:
            await self.db.close()

    def _lost(self, error: Exception) -> None:
        if not self._away:
            self.log.warning("postgres away", error=str(error))
        self._away = True

    def _back(self) -> None:
        if self._away:
            self.log.info("postgres back")
        self._away = False
