"""The host process: owns Postgres, and Ray if it started it, as children of its main thread; if it dies, both stop.

It never imports Ray. The actor graph is put up and taken down by a short-lived driver, ``manta.graph``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from actors.cluster import ray_environment
from actors.session import Session, SlowPoint
from actors.stages import REST_S
from manta.backup_keeper import BackupKeeper, backup_folder
from manta.deadline import Deadline
from manta.driver import drive
from manta.graph import Order
from manta.preflight import require_answer, require_free, require_own, with_api_token
from manta.processes import MARK, free_port, marked, new_session_id
from manta.ray_head import RayHead
from manta.reload import plan_reload
from manta.run_file import note_end, note_run, stale_run
from manta.venue_time import ask_venue_time
from trading.clock import TimeSample, steady_ns
from trading.config.model import Config
from trading.config.secrets import SECRET_NAMES, write_secrets
from trading.errors import ConfigError, Halt, MantaError, OutcomeUnknown, StorageRetryable
from trading.instances import resolve_instances
from trading.markets import Market
from trading.storage.aliases import store_aliases
from trading.storage.database import Database
from trading.storage.host_orders import ask, read_answer
from trading.storage.leases import Lease
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres
from trading.storage.settings import DatabaseTarget, server_from_environment
from trading.venues.cluster_limits import ClusterLimits
from trading.venues.paper.faults import BrokerFault
from trading.venues.resolve import check_books, resolve_markets, with_aliases

__all__ = ["Host", "HostOptions"]

_ANSWER_S = 5.0
_STRIKES = 3
_DRIVER_S = 600.0
_LEASE_CHECK_S = 5.0
# The ten seconds of an orderly end: when each step, counted from the signal, is cut off.
_FLUSH_BY_S = 5.0
_RAY_BY_S = 7.0
_DATABASE_BY_S = 7.5
_POSTGRES_BY_S = 9.5
_LEAST_S = 0.5
# A reload may have the past of a new interval to fold.
_RELOAD_S = 180.0
_REMOVE_BY_S = 30.0
# Of the time for flushing, what the supervisor is told: its answer must still arrive.
_ORDER_SHARE = 0.85
_ORDER_POLL_S = 0.03

log = structlog.get_logger("host")


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to run. ``start_ms`` None asks the venue; ``progress`` is told each step in words.

    ``crash_dir`` is the folder with the points at which a simulator session is to be hurt.
    """

    config: Config
    data_dir: Path
    origin: str = "venue"
    time_rate: float = 1.0
    start_ms: int | None = None
    serve: bool = True
    crash_dir: Path | None = None
    slow_points: tuple[SlowPoint, ...] = ()
    broker_faults: tuple[BrokerFault, ...] = ()
    progress: Callable[[str], None] = field(default=lambda _text: None)
    warn: Callable[[str], None] = field(default=lambda _text: None)


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
        self._started_ns = steady_ns()
        self._watch: asyncio.Task[None] | None = None
        self._backups: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None
        self._lease: Lease | None = None
        self._database: Database | None = None
        # None when a cluster is attached to that runs already.
        ray = self.config.ray
        self._ray = None if ray.address else RayHead(self.data_dir, self.session_id, ray.listen)
        self._deployed = False
        self._stale: str | None = None
        self._aliases: dict[str, str] = {}
        self._markets: tuple[Market, ...] = ()
        self._warnings: tuple[str, ...] = ()
        self.address = self.config.ray.address or ""

    async def start(self) -> None:
        """Bring up Postgres, Ray, the actors and Serve; raises MantaError with everything taken down again."""
        ray_ready: asyncio.Task[None] | None = None
        try:
            self._take_data_dir()
            self._check_ports()
            say = self.options.progress
            if self._ray is not None:
                say("starting Ray")
                ray_ready = asyncio.create_task(self._start_ray(self._ray))
            say("starting Postgres")
            await self._start_postgres()
            if ray_ready is not None:
                await ray_ready
            self.session = await self._make_session()
            say("starting the actors")
            await self._deploy()
            self._note_run()
            if self.session.backup_dir is not None:
                keeper = BackupKeeper(self.config, self.data_dir, self.target)
                self._backups = asyncio.create_task(keeper.run())
        except BaseException as error:
            if ray_ready is not None:
                ray_ready.cancel()
                await asyncio.gather(ray_ready, return_exceptions=True)
            await self.stop("told to" if isinstance(error, asyncio.CancelledError) else f"it did not start: {error}")
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
            async with asyncio.timeout(_ANSWER_S), self._database.transaction(timeout_s=1) as connection:
                await self._lease.check(connection)
        except (StorageRetryable, OutcomeUnknown, TimeoutError):
            return

    async def _ray_lives(self) -> bool:
        if self._ray is not None:
            return self._ray.lives
        try:
            await asyncio.to_thread(require_answer, self.address)
        except ConfigError:
            return False
        return True

    async def report(self) -> list[dict[str, Any]]:
        """The health of every actor."""
        return list((await self._drive("report"))["actors"])

    async def reload(self, config: Config, *, rest_s: float = REST_S) -> dict[str, Any]:
        """Go by ``config`` from now on without touching feeds, recorder and database; says what that changed.

        ``rest_s`` is what each actor that starts anew has to finish what it has in hand; it is ended after that.
        Raises ConfigError or BadInput, having changed nothing, when it needs a restart or is wrong.
        """
        began = time.monotonic()
        config = with_aliases(config, self._aliases)
        plan = plan_reload(self.config, config)
        resolve_instances(config, 0)
        check_books(config, self._markets)
        told = {"added": [], "removed": [], "kept": []}
        if plan.changed:
            sample = await self._ask_venue()
            start_ms = None if sample is None else sample.venue_ms
            body = config.model_dump(mode="json")
            try:
                async with asyncio.timeout(_RELOAD_S):
                    told = await self._order(
                        "reload", config=body, roles=list(plan.roles), start_ms=start_ms, rest_s=rest_s
                    )
            except TimeoutError:
                raise MantaError(
                    f"The actors were not ready after {_RELOAD_S:.0f} s.", fix=f"See {self.data_dir / 'logs'}."
                ) from None
            self.config = config
            self.session = replace(self.session, config=config)
            if self.options.serve:
                await self._drive("serve")
        return {**plan.to_dict(), **told, "seconds": round(time.monotonic() - began, 2)}

    def processes(self) -> list[psutil.Process]:
        """Every process of this session, the host itself included."""
        found = {process.pid: process for process in [psutil.Process(), *marked(self.session_id)]}
        if self.postgres is not None and self.postgres.pid is not None:
            server = psutil.Process(self.postgres.pid)
            found |= {process.pid: process for process in [server, *server.children(recursive=True)]}
        return list(found.values())

    async def stop(self, why: str = "told to") -> list[dict[str, Any]]:
        """Flush, then end what was started, in order of dependence; returns the actors' last health. Never raises.

        Over within ten seconds, whatever hangs: each step has a moment at which it is cut off. What could not be
        flushed is pulled from the cursors at the next start. Only to leave a cluster that is not ours as it was found
        may take longer, when that is slow.
        """
        time_left = Deadline()
        if self._backups is not None:
            self._backups.cancel()
        removing = asyncio.ensure_future(self._remove(time_left)) if self._deployed and self._ray is None else None
        last = await self._end_actors(time_left)
        if self._ray is not None:
            await asyncio.to_thread(self._ray.end, time_left, _RAY_BY_S)
        if self._watch is not None:
            self._watch.cancel()
        if self._database is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._database.close(), time_left.left(_DATABASE_BY_S))
        if self.postgres is not None:
            await self.postgres.stop(max(_LEAST_S, time_left.left(_POSTGRES_BY_S)))
        cleared = removing is None or await removing
        if self._lock is not None:
            flushed = bool(last) and not any("error" in actor for actor in last)
            self._note_end(why, time_left, flushed=flushed or not self._deployed, cleared=cleared)
            self._lock.close()
            self._lock = None
        self._deployed = False
        return last

    async def _end_actors(self, time_left: Deadline) -> list[dict[str, Any]]:
        """Let the supervisor stop the actors; their last health.

        The order goes through Postgres. If that does not answer there is nothing to flush to, and no reason to wait.
        """
        if not self._deployed or (self._ray is not None and not self._ray.lives):
            return []
        try:
            async with asyncio.timeout(time_left.left(_FLUSH_BY_S)):
                answer = await self._order("take_down", within_s=time_left.left(_FLUSH_BY_S) * _ORDER_SHARE)
        except (MantaError, OSError, TimeoutError) as error:
            log.error("actors did not stop in order", error=str(error) or type(error).__name__)
            return []
        return list(answer["actors"])

    async def _remove(self, time_left: Deadline) -> bool:
        """Take Serve and the actors off a cluster that is not ours."""
        try:
            await self._drive("remove", time_left.left(_REMOVE_BY_S))
        except (MantaError, OSError) as error:
            log.error("the cluster still holds what was started there", error=str(error))
            return False
        return True

    async def _order(self, verb: str, **detail: Any) -> dict[str, Any]:
        """What the supervisor answers to ``verb``; waits for ever, so that the caller says how long."""
        database = Database(self.target, application_name="manta host orders")
        try:
            number = await database.run(lambda conn: ask(conn, self.session_id, verb, detail))
            while True:
                answer = await database.run(lambda conn: read_answer(conn, number))
                if answer is not None:
                    return answer
                await asyncio.sleep(_ORDER_POLL_S)
        finally:
            await database.close()

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
        (self._ray or RayHead(self.data_dir, self.session_id)).clear_predecessor()
        facts = stale_run(self.data_dir)
        if facts is not None and facts.get("ray") == self.config.ray.address:
            self._stale = f"manta-{facts['session_id']}"

    def _check_ports(self) -> None:
        serve, ray = self.config.serve, self.config.ray
        if self.options.serve:
            require_free(serve.host, serve.port, "serve.port", "Set serve.port, or MANTA__SERVE__PORT, to a free port.")
        if ray.address:
            require_answer(ray.address)
        elif self.options.origin == "venue":
            require_free(
                "127.0.0.1",
                ray.port,
                "ray.port",
                "Set ray.port to a free port, or ray.address to the cluster that runs there.",
            )
        if ray.listen:
            require_own(ray.listen)

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

    async def _start_ray(self, head: RayHead) -> None:
        ray = self.config.ray
        port = ray.port if self.options.origin == "venue" or ray.listen else free_port()
        host = ray.listen or "127.0.0.1"
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head.prepare()
        await head.start(self.config.ray, port, self._environment())

    def _environment(self) -> dict[str, str]:
        base = dict(os.environ) | {MARK: self.session_id}
        for name in SECRET_NAMES:
            base.pop(name, None)
        if self._ray is None:
            return base
        return ray_environment(self._ray.token_path, base, joinable=self.config.ray.listen is not None)

    async def _make_session(self) -> Session:
        path = write_secrets(self.data_dir / "secrets", with_api_token(self.data_dir / "secrets"))
        clock = await self._ask_venue()
        await self._resolve_markets()
        start_ms = self.options.start_ms if clock is None else clock.venue_ms
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
            host_pid=os.getpid(),
            crash_dir=str(self.options.crash_dir) if self.options.crash_dir is not None else None,
            slow_points=self.options.slow_points,
            broker_faults=self.options.broker_faults,
            clock=clock,
            backup_dir=str(backup_folder(self.config, self.data_dir)) if self._is_backed_up else None,
        )

    @property
    def _is_backed_up(self) -> bool:
        return self.options.origin == "venue" and self.config.storage.backup_hours > 0

    async def _resolve_markets(self) -> None:
        """Go by the venues' own names of the configured markets; ConfigError names those that no venue knows."""
        async with ClusterLimits(self.config, self.target) as limits:
            resolved = await resolve_markets(self.config, origin=self.options.origin, limits=limits)
        self.config, self._aliases, self._warnings = resolved.config, resolved.aliases, resolved.warnings
        self._markets = resolved.markets
        if self._database is not None:
            await self._database.run(lambda connection: store_aliases(connection, resolved.aliases))
        for warning in resolved.warnings:
            log.warning("market is an alias", warning=warning)
            self.options.warn(warning)

    async def _ask_venue(self) -> TimeSample | None:
        """What time it is at the venue; None in lockstep, where that is for the replay to say."""
        if self.options.start_ms is not None:
            return None
        return await ask_venue_time(self.config, self.target, self.options.origin)

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
        if self._ray is not None:
            await asyncio.to_thread(self._ray.shed)

    async def _drive(self, verb: str, within_s: float = _DRIVER_S) -> dict[str, Any]:
        order = Order(verb, self.address, self.session, self.options.serve, self._stale)
        return await drive(order, self._environment(), self.data_dir / "logs", within_s)

    def _note_run(self) -> None:
        serve = self.config.serve
        facts = {
            "session_id": self.session_id,
            "origin": self.options.origin,
            "url": f"http://{serve.host}:{serve.port}" if self.options.serve else None,
            "database": str(self.target),
            "ray": self.address,
            "attached": self._ray is None,
            "started_at": self.started_at,
            "started_steady_ns": self._started_ns,
            "warnings": list(self._warnings),
        }
        note_run(self.data_dir, facts)

    def _note_end(self, why: str, time_left: Deadline, *, flushed: bool, cleared: bool) -> None:
        seconds = round(time_left.spent, 2)
        facts = {
            "pid": os.getpid(),
            "session_id": self.session_id,
            "started_at": self.started_at,
            "why": why,
            "flushed": flushed,
            "seconds": seconds,
        }
        note_end(self.data_dir, facts, keep_run=not cleared)
