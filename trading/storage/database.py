"""One connection to Postgres that survives its loss, and transactions that say what happened when it was lost.

Before COMMIT was sent, a lost connection means that nothing is written: StorageRetryable. While COMMIT was under way
nobody knows: OutcomeUnknown. A server that refuses us for good is ConfigError. ``Database.run`` resolves the first two
for functions that may be repeated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from trading.errors import ConfigError, OutcomeUnknown, StorageRetryable
from trading.storage.settings import DatabaseTarget

__all__ = ["Connection", "Database", "connect", "is_connection_lost", "listen", "notify", "open_pool"]

_log = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 60.0
_ROLLBACK_S = 2.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A killed server can leave the driver amid an operation without its having noticed the loss yet.
    asyncpg.InternalClientError,
)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
# The server is there and refuses to store anything until somebody makes room.
_FULL = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Database:
    """One connection, made when needed and again after a loss. Tasks that share it take turns, a transaction each.

    ``application_name`` is what ``pg_stat_activity`` shows. A statement without an answer within
    ``command_timeout_s`` counts as a lost connection: a server that hangs must not hang its clients. Functions in
    ``on_connect`` run on every new connection before anything else does; one that raises closes it again and the error
    reaches the caller.
    """

    def __init__(
        self,
        target: DatabaseTarget,
        *,
        application_name: str = "manta",
        command_timeout_s: float = _COMMAND_TIMEOUT_S,
    ) -> None:
        self.target = target
        self.application_name = application_name
        self._command_timeout_s = command_timeout_s
        self.on_connect: list[Callable[[Connection], Awaitable[None]]] = []
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    @asynccontextmanager
    async def transaction(self, *, timeout_s: float = 30.0) -> AsyncIterator[Connection]:
        """A transaction: committed at the end of the block, rolled back by any exception.

        Waits up to ``timeout_s`` for Postgres to be reachable. Raises StorageRetryable when it was not, or was lost
        before COMMIT; OutcomeUnknown when it was lost during COMMIT. Do not open a second one inside it.
        """
        task = asyncio.current_task()
        if self._holder is task:
            raise RuntimeError("a transaction of this task is already open on this connection")
        async with self._turn:
            connection = await self._ready_connection(time.monotonic() + timeout_s)
            self._holder = task
            try:
                async with _transaction(connection):
                    yield connection
            except BaseException:
                if connection.is_closed():
                    self._connection = None
                raise
            finally:
                self._holder = None

    async def run(self, function: Callable[[Connection], Awaitable[T]], *, deadline_s: float = 30.0) -> T:
        """Run ``function(connection)`` in a transaction, again after a lost connection, for up to ``deadline_s``.

        ``function`` may run again although an earlier run was committed unseen, so it must be repeatable: reads and
        upserts are; else let it begin with ``cursors.advance`` and do nothing when that says the work is done. Raises
        StorageRetryable after the deadline (OutcomeUnknown if the last try ended in COMMIT); what ``function`` raises
        otherwise ends it at once.
        """
        deadline = time.monotonic() + deadline_s
        for attempt in range(1_000_000):
            left_s = deadline - time.monotonic()
            try:
                async with self.transaction(timeout_s=left_s) as connection:
                    return await function(connection)
            except (StorageRetryable, OutcomeUnknown, *_AGAIN) as error:
                pause_s = _pause_s(attempt)
                if time.monotonic() + pause_s >= deadline:
                    if isinstance(error, _AGAIN):
                        raise StorageRetryable(f"Postgres could not order this transaction: {error}.") from error
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError

    def cut(self) -> None:
        """Break the connection at its socket, as a network does, also amid a transaction: for tests of what follows."""
        if self._connection is not None and not self._connection.is_closed():
            # The driver has no public way to its socket, and what uvloop shows of it cannot be shut down.
            transport = self._connection._transport  # type: ignore[attr-defined]
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close the connection; a later transaction opens a new one."""
        async with self._turn:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)

    async def _ready_connection(self, deadline: float) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = None
        attempt = 0
        while True:
            try:
                self._connection = await self._open(max(0.1, deadline - time.monotonic()))
            except StorageRetryable as error:
                if attempt == 0:
                    _log.warning("%s: Postgres at %s is away: %s", self.application_name, self.target, error)
                pause_s = _pause_s(attempt)
                if time.monotonic() + pause_s >= deadline:
                    raise
                attempt += 1
                await asyncio.sleep(pause_s)
            else:
                if attempt:
                    _log.info("%s: Postgres is back after %d attempts", self.application_name, attempt + 1)
                return self._connection

    async def _open(self, timeout_s: float) -> asyncpg.Connection[asyncpg.Record]:
        connection = await connect(
            self.target,
            application_name=self.application_name,
            timeout_s=min(timeout_s, _CONNECT_TIMEOUT_S),
            command_timeout_s=self._command_timeout_s,
        )
        try:
            for function in self.on_connect:
                await function(connection)
        except BaseException as error:
            await _close(connection)
            if isinstance(error, Exception) and is_connection_lost(error, connection):
                raise StorageRetryable(f"Postgres dropped a new connection: {error}.") from error
            raise
        return connection


@asynccontextmanager
async def _transaction(connection: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[None]:
    transaction = connection.transaction()
    # At its two ends a cancelled transaction leaves nobody knowing where the connection stands.
    at_an_end = True
    committing = False
    try:
        await transaction.start()
        at_an_end = False
        try:
            yield
        except TimeoutError:
            # Whoever did not answer would not answer a rollback either.
            raise
        except BaseException:
            if not connection.is_closed():
                await _roll_back(connection, transaction)
            raise
        at_an_end = committing = True
        await transaction.commit()
    except asyncio.CancelledError:
        # A BEGIN or COMMIT may still be on its way: a new connection is the only clean state.
        if at_an_end:
            connection.terminate()
        raise
    except _FULL as error:
        raise StorageRetryable(
            f"Postgres has no room: {error}.", fix="Make room on its disk; then all goes on."
        ) from error
    except Exception as error:
        if not is_connection_lost(error, connection):
            raise
        connection.terminate()
        if committing:
            raise OutcomeUnknown(f"The connection to Postgres was lost during COMMIT: {error}.") from error
        raise StorageRetryable(f"The connection to Postgres was lost: {error}.") from error


async def _roll_back(connection: asyncpg.Connection[asyncpg.Record], transaction: Transaction) -> None:
    """Roll back; a server that does not even answer that loses the connection, and with it the transaction."""
    try:
        async with asyncio.timeout(_ROLLBACK_S):
            await transaction.rollback()
    except TimeoutError:
        connection.terminate()


def is_connection_lost(error: BaseException, connection: Connection) -> bool:
    """Whether ``error`` means that ``connection`` is gone, rather than that a statement was wrong."""
    if isinstance(error, (*_LOST, TimeoutError)):
        return True
    return isinstance(error, asyncpg.InterfaceError | OSError | EOFError) and connection.is_closed()


async def connect(
    target: DatabaseTarget,
    *,
    application_name: str = "manta",
    timeout_s: float = _CONNECT_TIMEOUT_S,
    command_timeout_s: float | None = None,
) -> asyncpg.Connection[asyncpg.Record]:
    """One plain connection: StorageRetryable when Postgres is away, ConfigError when it refuses us."""
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            **_arguments(target, application_name), timeout=timeout_s, command_timeout=command_timeout_s
        )
    except _REFUSED as error:
        raise _refused(target, error) from error
    except (*_LOST, OSError, EOFError, TimeoutError, asyncpg.InterfaceError) as error:
        raise StorageRetryable(
            f"Postgres at {target} does not answer: {error or type(error).__name__}.",
            fix="Check that the server runs, and DB_HOST and DB_PORT.",
        ) from error
    try:
        await _prepare(connection)
    except (*_LOST, OSError, EOFError, asyncpg.InterfaceError) as error:
        connection.terminate()
        raise StorageRetryable(f"Postgres at {target} dropped a new connection: {error}.") from error
    return connection


async def open_pool(
    target: DatabaseTarget, *, max_size: int = 4, application_name: str = "manta serve"
) -> asyncpg.Pool[asyncpg.Record]:
    """A pool for readers; at most 4 connections, since a small server has few for all."""
    if not 1 <= max_size <= 4:
        raise ValueError("a pool holds 1 to 4 connections")
    try:
        return await asyncpg.create_pool(
            **_arguments(target, application_name),
            min_size=1,
            max_size=max_size,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=60,
            init=_prepare,
        )
    except _REFUSED as error:
        raise _refused(target, error) from error
    except (*_LOST, OSError, EOFError, TimeoutError) as error:
        raise StorageRetryable(f"Postgres at {target} does not answer: {error or type(error).__name__}.") from error


async def notify(connection: Connection, channel: str, payload: str) -> None:
    """Tell listeners of ``channel`` at commit; equal payloads of one transaction arrive once."""
    await connection.execute("select pg_notify($1, $2)", channel, payload)


async def listen(
    target: DatabaseTarget, channel: str, *, application_name: str = "manta listen"
) -> AsyncGenerator[str, None]:
    """Payloads told on ``channel``, for ever, over reconnects.

    An empty string comes first and after each reconnect: something may have been missed, so look into the tables.
    Close it (``aclosing``) to free its connection.
    """
    attempt = 0
    while True:
        told: asyncio.Queue[str | None] = asyncio.Queue()
        try:
            connection = await connect(target, application_name=application_name)
            connection.add_termination_listener(lambda _, told=told: told.put_nowait(None))
            await connection.add_listener(channel, lambda _c, _p, _n, payload, told=told: told.put_nowait(str(payload)))
        except (StorageRetryable, *_LOST, OSError, asyncpg.InterfaceError):
            attempt += 1
            await asyncio.sleep(_pause_s(attempt))
            continue
        attempt = 0
        try:
            yield ""
            while (payload := await told.get()) is not None:
                yield payload
        finally:
            await _close(connection)


def _arguments(target: DatabaseTarget, application_name: str) -> dict[str, Any]:
    return {
        "host": target.host,
        "port": target.port,
        "database": target.database,
        "user": target.user,
        "password": target.password(),
        "statement_cache_size": 200,
        "server_settings": {"application_name": application_name, "timezone": "UTC", "jit": "off"},
    }


async def _prepare(connection: Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_encode, decoder=json.loads, schema="pg_catalog")


def _encode(value: Any) -> str:
    return json.dumps(value, allow_nan=False, default=_plain, separators=(",", ":"))


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not fit into JSON")


def _refused(target: DatabaseTarget, error: asyncpg.PostgresError) -> ConfigError:
    return ConfigError(
        f"Postgres at {target} refuses us: {error}.",
        field="DB_HOST",
        value=str(target),
        fix="Check DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD; the database and its user must exist.",
    )


async def _close(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    with suppress(Exception):
        await connection.close(timeout=2.0)
    if not connection.is_closed():
        connection.terminate()


def _pause_s(attempt: int) -> float:
    """Full jitter, so that all actors do not return at the same moment."""
    return random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempt, 20)))
