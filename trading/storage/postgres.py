"""The bundled Postgres: one server on a data directory of ours, supervised by the process that started it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncpg
import psutil

from trading.errors import ConfigError, StorageRetryable
from trading.storage.account import Account, choose_account
from trading.storage.binaries import Binaries, find_binaries
from trading.storage.settings import DATABASE_NAME, DATABASE_PORT, DATABASE_USER, DatabaseTarget, write_secret

__all__ = ["BundledPostgres", "running_server"]

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_START_TIMEOUT_S = 60.0
_RETRY_S = 20.0
_STOP_S = 20.0
_LOG_LIMIT = 1_000_000
_PASSWORD = "btc_bot.password"  # noqa: S105 - a file name
_SOCKET_DIR = "socket_dir"
# Small, durable, and the same answer every time: parallel workers would add floats in another order.
_SETTINGS = {
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "32MB",
    # Fifty markets whose timeframes each have a process of their own, and what reads beside them.
    "max_connections": "100",
    "max_parallel_workers_per_gather": "0",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "autovacuum_max_workers": "2",
    "wal_level": "minimal",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "unix_socket_permissions": "0700",
}
_SETTINGS_18 = {"io_method": "sync"}


class BundledPostgres:
    """A private server on ``data_dir``, reachable by a socket in a 0700 folder and, if ``port`` is given, on 127.0.0.1.

    ``start`` makes the data directory at first use. What was committed survives ``kill -9`` of this process and of the
    server; the server stops by itself when the thread that called ``start`` ends, so call it from the main thread.
    Failures to start that the user can mend are ConfigError. ``settings`` override ours, for tests that need no
    durability. Not for use from two tasks at once.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int = 0,
        binaries: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port
        self._wanted = Path(binaries) if binaries is not None else None
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._stopping = False
        self.socket_dir: Path | None = None
        self.restarts = 0

    @property
    def target(self) -> DatabaseTarget:
        """Where clients connect. Only after ``start``; stays the same over restarts."""
        if self.socket_dir is None:
            raise RuntimeError("the server was not started")
        password = str(self.data_dir / _PASSWORD)
        return DatabaseTarget(
            str(self.socket_dir), self.port or DATABASE_PORT, DATABASE_NAME, DATABASE_USER, password_file=password
        )

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> DatabaseTarget:
        """Start the server, waiting until it answers; returns where. A second call while it runs changes nothing."""
        if self.pid is not None:
            return self.target
        self._stopping = False
        self.data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        try:
            binaries = find_binaries(self.data_dir, self._wanted)
            account = choose_account(self.data_dir, binaries.postgres)
            self._let_pass(account)
            if not (self.data_dir / "PG_VERSION").exists():
                await self._initialise(binaries, account)
            await self._await_predecessor()
            self.socket_dir = self._make_socket_dir(account)
            await self._launch_with_retries(binaries, account)
            await _create_database(self.target)
        except BaseException:
            await self.stop()
            raise
        return self.target

    async def watch(self, on_restart: Callable[[], None] | None = None) -> None:
        """Start the server again whenever it dies, with growing pauses, until ``stop``; ConfigError if it never can."""
        failures = 0
        while not self._stopping:
            process = self._process
            if process is None:
                return
            if process.poll() is None:
                await asyncio.sleep(0.1)
                continue
            _log.warning("PostgreSQL ended with status %s; starting it again", process.returncode)
            began = time.monotonic()
            try:
                await self._launch_with_retries(*self._programs())
            except StorageRetryable as error:
                failures += 1
                _log.error("PostgreSQL does not start: %s", error)
                await asyncio.sleep(random.uniform(0, min(30.0, 0.5 * 2**failures)))
                continue
            failures = 0
            self.restarts += 1
            _log.info("PostgreSQL is back after %.1f s", time.monotonic() - began)
            if on_restart is not None:
                on_restart()

    async def stop(self, within_s: float = _STOP_S) -> None:
        """Shut down: sessions are cut, what is committed is flushed. Ends within the time, by force if need be.

        By force means the kernel: what was committed is in the log, and the next start recovers it.
        """
        self._stopping = True
        process, self._process = self._process, None
        if process is not None:
            workers = _children(process.pid)
            # Who was paused would sleep through what follows.
            for pid in (process.pid, *(worker.pid for worker in workers if worker.is_running())):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            for number, share in ((signal.SIGINT, 0.7), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 0.1)):
                with suppress(ProcessLookupError):
                    process.send_signal(number)
                if await _ended(process, within_s * share):
                    break
            await _kill(workers, within_s * 0.1)
        if self.socket_dir is not None:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
            (self.data_dir / _SOCKET_DIR).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _lock_path(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".lock")

    def _programs(self) -> tuple[Binaries, Account]:
        binaries = find_binaries(self.data_dir, self._wanted)
        return binaries, choose_account(self.data_dir, binaries.postgres)

    def _take_lock(self) -> None:
        file = self._lock_path.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise _in_use(self.data_dir, f"process {holder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def _let_pass(self, account: Account) -> None:
        """Another account must pass through the folder above the data: it may enter it, not look into it."""
        if account.uid is None:
            return
        account.owns(self._lock_path)
        parent = self.data_dir.parent
        told = parent.stat()
        if told.st_uid == os.getuid():
            parent.chmod(stat.S_IMODE(told.st_mode) | stat.S_IXOTH)

    async def _initialise(self, binaries: Binaries, account: Account) -> None:
        """initdb beside the final place, then rename: an interrupted first start leaves nothing half-made."""
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise ConfigError(
                f"{self.data_dir} holds files but no PostgreSQL data.",
                field="MANTA_DATA_DIR",
                value=str(self.data_dir),
                fix="Choose an empty or new MANTA_DATA_DIR.",
            )
        fresh = self.data_dir.with_name(self.data_dir.name + ".new")
        password = self.data_dir.with_name(self.data_dir.name + ".password")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        write_secret(password, secrets.token_urlsafe(24))
        account.owns(fresh)
        account.owns(password)
        output = await self._run_initdb(
            [
                binaries.initdb, "--pgdata", str(fresh), "--username", DATABASE_USER, "--pwfile", str(password),
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums",
            ],
            account,
        )  # fmt: skip
        if output is not None:
            shutil.rmtree(fresh, ignore_errors=True)
            password.unlink(missing_ok=True)
            raise ConfigError(
                f"initdb could not make {self.data_dir}: {output}",
                field="MANTA_DATA_DIR",
                value=str(self.data_dir),
                fix="Choose a MANTA_DATA_DIR on a local disk with free space, below folders open to the account.",
            )
        password.replace(fresh / _PASSWORD)
        if self.data_dir.exists():
            self.data_dir.rmdir()
        fresh.replace(self.data_dir)

    async def _run_initdb(self, command: list[str], account: Account) -> str | None:
        """None when it worked, else its last line."""
        with tempfile.TemporaryFile() as output:
            process = _spawn(command, account, output)
            if await _ended(process, _START_TIMEOUT_S) and process.returncode == 0:
                return None
            process.kill()
            process.wait()
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
        wrong = [line for line in lines if "error:" in line or "FATAL" in line]
        return (wrong or lines or ["no answer"])[-1]

    async def _await_predecessor(self) -> None:
        """Give a server whose parent just died time to end; remove a pid file that no such server stands behind."""
        deadline = time.monotonic() + _RETRY_S
        while (pid := _server_pid(self.data_dir)) is not None:
            if time.monotonic() > deadline:
                raise _in_use(self.data_dir, f"PostgreSQL process {pid}")
            await asyncio.sleep(0.1)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _make_socket_dir(self, account: Account) -> Path:
        """A short path, since a socket's may have 107 bytes only. The last one is used again if it is still ours."""
        note = self.data_dir / _SOCKET_DIR
        if note.exists():
            last = Path(note.read_text(encoding="utf-8"))
            if _is_private(last, (account.uid or os.getuid(), os.getuid())):
                account.owns(last)
                return last
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        plain = account.uid is None and len(runtime) < 60 and os.access(runtime, os.W_OK)
        folder = Path(tempfile.mkdtemp(prefix="manta-pg-", dir=runtime if plain else "/tmp"))  # noqa: S108 - mkdtemp is 0700
        account.owns(folder)
        note.write_text(str(folder), encoding="utf-8")
        account.owns(note)
        return folder

    async def _launch_with_retries(self, binaries: Binaries, account: Account) -> None:
        """After a crash the first try can meet the dying children's shared memory: try again for some seconds."""
        deadline = time.monotonic() + _RETRY_S
        while True:
            failure = await self._launch(binaries, account)
            if failure is None:
                return
            if "could not create any TCP/IP sockets" in failure or "Address already in use" in failure:
                raise ConfigError(
                    f"Port {self.port} of 127.0.0.1 is taken.",
                    field="storage.port",
                    value=self.port,
                    fix="Set storage.port to a free port, or to 0 to use the socket only.",
                )
            if time.monotonic() > deadline or self._stopping:
                raise StorageRetryable(
                    f"PostgreSQL does not start on {self.data_dir}: {failure}", fix=f"See {self.data_dir}/server.log."
                )
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _launch(self, binaries: Binaries, account: Account) -> str | None:
        """One try. None when the server answers, else what its log says."""
        await self._await_predecessor()
        if self._stopping:
            return "it was told to stop"
        log_file = self.data_dir / "server.log"
        if log_file.exists() and log_file.stat().st_size > _LOG_LIMIT:
            log_file.replace(self.data_dir / "server.log.1")
        settings = {
            **_SETTINGS,
            **(_SETTINGS_18 if binaries.major >= 18 else {}),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or DATABASE_PORT),
            "unix_socket_directories": str(self.socket_dir),
            **self._settings,
        }
        command = [binaries.postgres, "-D", str(self.data_dir)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with log_file.open("ab") as output:
            account.owns(log_file)
            begin = output.tell()
            self._process = process = _spawn(command, account, output)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            if _is_ready(self.data_dir, process.pid):
                return None
            await asyncio.sleep(_POLL_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        with log_file.open("rb") as output:
            output.seek(begin)
            return _complaint(output.read().decode(errors="replace"))


def running_server(data_dir: Path | str) -> DatabaseTarget | None:
    """Where the bundled server of ``data_dir`` answers, if one runs; for commands beside the host process."""
    data_dir = Path(data_dir).absolute()
    pid = _server_pid(data_dir)
    if pid is None or not _is_ready(data_dir, pid):
        return None
    lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    return DatabaseTarget(lines[4], int(lines[3]), DATABASE_NAME, DATABASE_USER, str(data_dir / _PASSWORD))


def _spawn(command: list[str], account: Account, output: IO[bytes]) -> subprocess.Popen[bytes]:
    # Its own session, so that Ctrl-C in a terminal does not stop the database before those who still write to it.
    return subprocess.Popen(
        command,
        preexec_fn=account.enter(dies_with_parent=True),  # noqa: PLW1509 - it only makes system calls
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
    )


async def _ended(process: subprocess.Popen[bytes], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


async def _kill(workers: list[psutil.Process], patience_s: float) -> None:
    """End what outlived its server: a paused one, or one amid a long statement."""
    deadline = time.monotonic() + patience_s
    while left := [worker for worker in workers if worker.is_running()]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_POLL_S)
    for worker in left:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def _is_ready(data_dir: Path, pid: int) -> bool:
    """Whether server ``pid`` says in its pid file that it takes connections: the eighth line, as pg_ctl reads it."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _server_pid(data_dir: Path) -> int | None:
    """The process of the pid file, if it truly is a Postgres on ``data_dir``: numbers are used again after a crash.

    A server's working directory is its data directory, which no other program's is by chance.
    """
    try:
        pid = int((data_dir / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
            return None
        return pid if Path(process.cwd()).samefile(data_dir) else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    except psutil.AccessDenied:
        return pid


def _is_private(folder: Path, owners: tuple[int, ...]) -> bool:
    try:
        told = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(told.st_mode) and told.st_uid in owners and stat.S_IMODE(told.st_mode) == 0o700


def _complaint(log: str) -> str:
    lines = [line for line in log.splitlines() if "FATAL" in line or "could not" in line or "PANIC" in line]
    return "; ".join(line.split("] ", 1)[-1] for line in lines[-3:]) or "it ended without a word"


def _in_use(data_dir: Path, holder: str) -> ConfigError:
    return ConfigError(
        f"{data_dir} is in use by {holder}.",
        field="MANTA_DATA_DIR",
        value=str(data_dir),
        fix="Stop that one with `manta down`, or choose another MANTA_DATA_DIR.",
    )


async def _create_database(target: DatabaseTarget) -> None:
    connection = await asyncpg.connect(
        host=target.host, port=target.port, user=target.user, password=target.password(), database="postgres"
    )
    try:
        if not await connection.fetchval("select true from pg_database where datname = $1", target.database):
            await connection.execute(f'create database "{target.database}"')
    finally:
        await connection.close()
