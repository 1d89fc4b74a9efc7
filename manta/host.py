"""The host process: owns Postgres, and Ray if it started it, as children of its main thread; if it dies, both stop.

It never imports Ray. The actor graph is put up and taken down by a short-lived driver, ``manta.graph``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pickle
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from actors.cluster import head_command, ray_environment
from actors.session import CrashPoint, Session
from manta.graph import Order
from manta.output import error_from
from manta.processes import MARK, die_with_parent, end_all, free_port, marked, new_session_id, wait_gone
from trading.config.model import Config
from trading.config.secrets import write_secrets
from trading.errors import ConfigError, Halt, MantaError, OutcomeUnknown, StorageRetryable, VenueRetryable
from trading.storage.database import Database
from trading.storage.leases import Lease
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres
from trading.storage.settings import DatabaseTarget, server_from_environment, write_secret

__all__ = ["Host", "HostOptions", "read_run_file"]

RUN_FILE = "run.json"
_RAY_DIR = "ray_dir"
_ANSWER_S = 5.0
_STRIKES = 3
_RAY_START_S = 60.0
_DRIVER_S = 240.0
_LEASE_CHECK_S = 5.0
_GRACE_S = 8.0

log = structlog.get_logger("host")


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to run. ``start_ms`` None asks the venue; ``progress`` is told each step in words."""

    config: Config
    data_dir: Path
    origin: str = "venue"
    time_rate: float = 1.0
    start_ms: int | None = None
    serve: bool = True
    crash_points: tuple[CrashPoint, ...] = ()
    progress: Callable[[str], None] = field(default=lambda _text: None)


class Host:
    """One running system. ``start`` brings everything up or leaves nothing behind; ``stop`` flushes and ends it all.

    What it started is known by pid and by a mark in the environment; nothing else is ever signalled.
    """

    def __init__(self, options: HostOptions) -> None:
        self.options = options
        self.config = options.config
        self.session_id = new_session_id()
        self.data_dir = options.data_dir.absolute()
        self.postgres: BundledPostgres | None = None
        self.target: DatabaseTarget
        self.session: Session
        self.started_at = time.time()
        self._watch: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None
        self._lease: Lease | None = None
        self._database: Database | None = None
        self._ray: subprocess.Popen[bytes] | None = None
        self._ray_dir: Path | None = None
        self._deployed = False
        self._stale: str | None = None
        self.address = self.config.ray.address or ""

    async def start(self) -> None:
        """Bring up Postgres, Ray, the actors and Serve; raises MantaError with everything taken down again."""
        ray_ready: asyncio.Task[None] | None = None
        try:
            self._take_data_dir()
            self._check_ports()
            say = self.options.progress
            if not self.config.ray.address:
                say("starting Ray")
                ray_ready = asyncio.create_task(self._start_ray())
            say("starting Postgres")
            await self._start_postgres()
            if ray_ready is not None:
                await ray_ready
            self.session = await self._make_session()
            say("starting the actors")
            await self._deploy()
            self._write_run_file()
        except BaseException:
            if ray_ready is not None:
                ray_ready.cancel()
                await asyncio.gather(ray_ready, return_exceptions=True)
            await self.stop()
            raise

    async def watch(self) -> None:
        """Raise when Ray ended, Postgres cannot be kept running, or another host took the database; never return."""
        failures = 0
        checked = time.monotonic()
        while failures < _STRIKES:
            if self._watch is not None and self._watch.done():
                self._watch.result()
            if time.monotonic() - checked > _LEASE_CHECK_S:
                await self._keep_lease()
                checked = time.monotonic()
            await asyncio.sleep(0.5 if self._ray is not None else _ANSWER_S)
            failures = 0 if await self._ray_lives() else failures + 1
        raise MantaError(f"Ray at {self.address} has ended.", fix="Start again with `manta up`; nothing is lost.")

    async def _keep_lease(self) -> None:
        """Hold the lease over restarts of Postgres, which forget its lock; Halt when another host was quicker."""
        if self._lease is None or self._database is None:
            return
        try:
            async with self._database.transaction(timeout_s=1) as connection:
                await self._lease.check(connection)
        except (StorageRetryable, OutcomeUnknown):
            return

    async def _ray_lives(self) -> bool:
        if self._ray is not None:
            return self._ray.poll() is None
        try:
            await asyncio.to_thread(_require_answer, self.address)
        except ConfigError:
            return False
        return True

    async def report(self) -> list[dict[str, Any]]:
        """The health of every actor."""
        return list((await self._drive("report"))["actors"])

    def processes(self) -> list[psutil.Process]:
        """Every process of this session, the host itself included."""
        found = {process.pid: process for process in [psutil.Process(), *marked(self.session_id)]}
        if self.postgres is not None and self.postgres.pid is not None:
            server = psutil.Process(self.postgres.pid)
            found |= {process.pid: process for process in [server, *server.children(recursive=True)]}
        return list(found.values())

    async def stop(self) -> list[dict[str, Any]]:
        """Flush, then end what was started, in order of dependence; returns the actors' last health. Never raises."""
        last: list[dict[str, Any]] = []
        if self._deployed:
            try:
                last = (await self._drive("remove"))["actors"]
            except (MantaError, OSError) as error:
                log.error("actors did not stop in order", error=str(error))
            self._deployed = False
        if self._ray is not None:
            await asyncio.to_thread(self._end_ray)
        self._remove_ray_dir()
        if self._database is not None:
            await self._database.close()
        if self._watch is not None:
            self._watch.cancel()
        if self.postgres is not None:
            await self.postgres.stop()
        if self._lock is not None:
            (self.data_dir / RUN_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
        return last

    def _take_data_dir(self) -> None:
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self.data_dir / "host.lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise Halt(
                f"Manta already runs on {self.data_dir}.",
                field="data_dir",
                value=str(self.data_dir),
                fix="Stop it with `manta down`, or choose another folder with MANTA_DATA_DIR.",
            ) from error
        self._lock = file

        self._end_of_predecessor()

    def _end_of_predecessor(self) -> None:
        """What a killed host could not remove: its Ray's folder, and its actors in a cluster that lives on."""
        with contextlib.suppress(OSError):
            shutil.rmtree((self.data_dir / _RAY_DIR).read_text(encoding="utf-8"), ignore_errors=True)
            (self.data_dir / _RAY_DIR).unlink()
        with contextlib.suppress(OSError, ValueError, KeyError):
            facts = json.loads((self.data_dir / RUN_FILE).read_text(encoding="utf-8"))
            if facts["ray"] == self.config.ray.address:
                self._stale = f"manta-{facts['session_id']}"

    def _check_ports(self) -> None:
        serve, ray = self.config.serve, self.config.ray
        if self.options.serve:
            _require_free(
                serve.host, serve.port, "serve.port", "Set serve.port, or MANTA__SERVE__PORT, to a free port."
            )
        if ray.address:
            _require_answer(ray.address)
        elif self.options.origin == "venue":
            _require_free(
                "127.0.0.1",
                ray.port,
                "ray.port",
                "Set ray.port to a free port, or ray.address to the cluster that runs there.",
            )

    async def _start_postgres(self) -> None:
        secrets_dir = self.data_dir / "secrets"
        server = server_from_environment(os.environ, secrets_dir)
        if server is None:
            storage = self.config.storage
            self.postgres = BundledPostgres(self.data_dir / "postgres", port=storage.port, binaries=storage.binaries)
            server = await self.postgres.start()
            self._watch = asyncio.ensure_future(self.postgres.watch())
        self.target = server
        await migrate(server, self.options.origin)
        self._database = Database(server, application_name="manta host")
        self._lease = Lease(self._database, "host", f"{socket.gethostname()}/{os.getpid()}")
        try:
            await self._lease.acquire(timeout_s=3.0)
        except Halt as error:
            raise Halt(
                f"Another Manta works on the database {server}: {error.message}",
                fix="Stop that one first, or give this one its own DB_NAME.",
            ) from error

    async def _start_ray(self) -> None:
        ray = self.config.ray
        port = ray.port if self.options.origin == "venue" else free_port()
        self.address = f"127.0.0.1:{port}"
        self._ray_dir = Path(tempfile.mkdtemp(prefix="manta-ray-"))
        (self.data_dir / _RAY_DIR).write_text(str(self._ray_dir), encoding="utf-8")
        write_secret(self._ray_dir / "token", secrets.token_hex(32))
        logs = self.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / "ray.log").open("ab") as output:
            self._ray = subprocess.Popen(  # noqa: ASYNC220 - must start from the main thread, and returns at once
                head_command(
                    sys.executable,
                    port=port,
                    agent_port=free_port(),
                    temp_dir=str(self._ray_dir),
                    num_cpus=ray.num_cpus or os.cpu_count() or 1,
                    object_store_mb=ray.object_store_mb,
                ),
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it only makes system calls
                start_new_session=True,
            )
        deadline = time.monotonic() + _RAY_START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self._ray.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise MantaError("Ray did not start.", fix=f"See {logs / 'ray.log'}.")

    def _environment(self) -> dict[str, str]:
        base = dict(os.environ) | {MARK: self.session_id}
        for name in ("DB_PASSWORD", "DISCORD_WEBHOOK_URL", "MANTA_API_TOKEN"):
            base.pop(name, None)
        if self._ray_dir is None:
            return base
        return ray_environment(str(self._ray_dir / "token"), base)

    async def _make_session(self) -> Session:
        path = write_secrets(self.data_dir / "secrets", _with_api_token(self.data_dir / "secrets"))
        start_ms = self.options.start_ms
        if start_ms is None:
            from trading.venues.binance.history import BinanceHistory

            venue = self.config.venues.binance
            try:
                async with BinanceHistory(venue, origin=self.options.origin) as history:
                    start_ms = (await history.time()).venue_ms
            except VenueRetryable as error:
                raise VenueRetryable(
                    f"The venue does not answer at {venue.rest_url}: {error.message}",
                    retry_after_s=error.retry_after_s,
                    field="venues.binance.rest_url",
                    value=venue.rest_url,
                    fix="Check the network, or HTTPS_PROXY, or venues.binance.rest_url; then start again.",
                ) from error
        return Session(
            session_id=self.session_id,
            namespace=f"manta-{self.session_id}",
            origin=self.options.origin,
            time_rate=self.options.time_rate,
            start_ms=start_ms,
            config=self.config,
            target=self.target,
            secrets_path=str(path),
            log_dir=str(self.data_dir / "logs"),
            postgres_pid_file=str(self.data_dir / "postgres" / "postmaster.pid") if self.postgres else None,
            crash_points=self.options.crash_points,
        )

    async def _deploy(self) -> None:
        try:
            await self._drive("deploy")
        except BaseException as error:
            # Our own Ray ends with everything on it; a cluster that is not ours is left as it was found.
            if self._ray is None and not (isinstance(error, ConfigError) and error.field == "ray.address"):
                with contextlib.suppress(MantaError, OSError):
                    await self._drive("clear")
            raise
        self._deployed = True

    async def _drive(self, verb: str) -> dict[str, Any]:
        order = Order(verb, self.address, self.session, self.options.serve, self._stale)
        driver = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "manta.graph",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
            preexec_fn=die_with_parent(signal.SIGKILL),
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(driver.communicate(pickle.dumps(order)), _DRIVER_S)
        except TimeoutError:
            raise MantaError(f"The driver did not finish {verb} in {_DRIVER_S:.0f} s.") from None
        finally:
            if driver.returncode is None:
                driver.kill()
                await driver.wait()
        if driver.returncode != 0 or not out:
            (self.data_dir / "logs").mkdir(exist_ok=True)
            (self.data_dir / "logs" / f"driver-{verb}.log").write_bytes(err)
            tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise MantaError(
                f"The driver failed to {verb} the actors: {tail[0][:500]}",
                fix=f"See {self.data_dir / 'logs'}.",
            )
        answer: dict[str, Any] = json.loads(out)
        if "failed" in answer:
            raise error_from(answer["failed"])
        return answer

    def _end_ray(self) -> None:
        if self._ray is None:
            return
        self._ray.terminate()
        try:
            self._ray.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._ray.kill()
            self._ray.wait()
        if left := wait_gone(self.session_id, 3.0):
            end_all(left, 2.0)

    def _remove_ray_dir(self) -> None:
        if self._ray_dir is not None:
            shutil.rmtree(self._ray_dir, ignore_errors=True)
            (self.data_dir / _RAY_DIR).unlink(missing_ok=True)

    def _write_run_file(self) -> None:
        serve = self.config.serve
        facts = {
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "session_id": self.session_id,
            "origin": self.options.origin,
            "url": f"http://{serve.host}:{serve.port}" if self.options.serve else None,
            "database": str(self.target),
            "ray": self.address,
            "started_at": self.started_at,
        }
        path = self.data_dir / RUN_FILE
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(facts), encoding="utf-8")
        fresh.replace(path)


def _require_free(host: str, port: int, field: str, fix: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {host} cannot be used: {error.strerror}.", field=field, value=port, fix=fix
            ) from error


def _require_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Nothing answers at {address}: {error}.",
            field="ray.address",
            value=address,
            fix="Start a cluster there with `ray start --head`, or remove ray.address and Manta starts its own.",
        ) from error


def _with_api_token(folder: Path) -> dict[str, str]:
    """The environment with an API token: the user's, or one of our own that stays the same and its owner can read."""
    environment = dict(os.environ)
    if not environment.get("MANTA_API_TOKEN") and not environment.get("MANTA_API_TOKEN_FILE"):
        token = folder / "api_token"
        if not token.exists():
            write_secret(token, secrets.token_urlsafe(32))
        environment["MANTA_API_TOKEN_FILE"] = str(token)
    return environment


def read_run_file(data_dir: Path) -> dict[str, Any] | None:
    """Facts of the host that runs on ``data_dir``; None when none does (a stale file is ignored)."""
    try:
        facts: dict[str, Any] = json.loads((data_dir / RUN_FILE).read_text(encoding="utf-8"))
        process = psutil.Process(facts["pid"])
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return facts if abs(process.create_time() - facts["created"]) < 0.01 else None
