"""``up``, ``down``, ``status``, ``logs`` and the database commands: what runs on this machine's data directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import IO, Any

import psutil

from manta.host import Host, HostOptions, read_run_file
from manta.output import console, error_from
from manta.processes import pss_mb
from trading.config.loading import data_dir, load_config
from trading.config.model import Config
from trading.errors import BadInput, Halt, MantaError
from trading.logs import configure_logging
from trading.storage.database import Database
from trading.storage.leases import Lease
from trading.storage.migrate import migrate
from trading.storage.postgres import BundledPostgres, running_server
from trading.storage.settings import DatabaseTarget, server_from_environment

__all__ = [
    "database_target",
    "describe",
    "describe_words",
    "follow_logs",
    "log_records",
    "migrate_database",
    "newest_logs",
    "reset_database",
    "run_detached",
    "run_foreground",
    "stop_running",
]

_UP_S = 180.0
_DOWN_S = 60.0


def run_foreground(path: Path | None) -> dict[str, Any]:
    """Run until SIGTERM or SIGINT; returns when everything is down."""
    config, folder = _load(path)
    configure_logging(folder / "logs" / "host.log")
    return asyncio.run(_serve(config, folder))


async def _serve(config: Config, folder: Path) -> dict[str, Any]:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    host = Host(HostOptions(config, folder, progress=lambda text: console.print(f"[dim]{text} …[/]")))
    began = time.monotonic()
    if not await _unless(stopping, host.start()):
        return {"stopped": True, "started": False}
    try:
        console.print(f"Manta is up: [bold]{_url(config)}/dashboard[/]  (Ctrl-C stops)")
        await _unless(stopping, host.watch())
        console.print("[dim]stopping …[/]")
    finally:
        await host.stop()
    return {"stopped": True, "started": True, "url": _url(config), "seconds": round(time.monotonic() - began, 1)}


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether ``work`` ended before ``stopping`` was set; it is cancelled, and has cleaned up, otherwise."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return False


def run_detached(path: Path | None) -> dict[str, Any]:
    """Start ``manta up`` in a session of its own and return once it serves; its error, if it fails, is ours.

    Whatever ends this wait ends the start, too.
    """
    _, folder = _load(path)
    if read_run_file(folder) is not None:
        raise Halt(f"Manta already runs on {folder}.", fix="Stop it with `manta down`.")
    log_path = folder / "logs" / "up.log"
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "manta", "up", "--json", *(["--config", str(path)] if path else [])]
    # Not a pipe: the child outlives us, and its last word must find somebody.
    with tempfile.TemporaryFile() as answer, log_path.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=answer, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return _await_up(child, folder, answer, log_path)
        except BaseException:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_DOWN_S)
            raise


def _await_up(child: subprocess.Popen[bytes], folder: Path, answer: IO[bytes], log_path: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _UP_S
    while time.monotonic() < deadline:
        facts = read_run_file(folder)
        if facts is not None and facts["pid"] == child.pid:
            return facts
        if child.poll() is not None:
            answer.seek(0)
            raise _child_error(answer.read().decode(), log_path)
        time.sleep(0.1)
    raise MantaError(f"Manta was not up after {_UP_S:.0f} s.", fix=f"See {log_path}.")


def stop_running(path: Path | None) -> dict[str, Any]:
    """End the host that runs on the data directory and wait until it has flushed and gone."""
    _, folder = _load(path)
    facts = read_run_file(folder)
    if facts is None:
        return {"stopped": False}
    started = time.monotonic()
    try:
        process = psutil.Process(facts["pid"])
        process.send_signal(signal.SIGTERM)
        # Not process.wait(): a parent that does not reap the host would keep it in the process table for ever.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() - started > _DOWN_S:
                raise MantaError(
                    f"Manta (pid {process.pid}) did not stop within {_DOWN_S:.0f} s.", fix="See `manta logs host`."
                )
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        pass  # It ended just now.
    except psutil.AccessDenied as error:
        raise Halt(
            f"Manta (pid {facts['pid']}) belongs to another account.",
            fix="Run `manta down` as the account that started it.",
        ) from error
    return {"stopped": True, "pid": facts["pid"], "seconds": round(time.monotonic() - started, 2)}


def describe(path: Path | None) -> dict[str, Any]:
    """Whether it runs, and what its health endpoint says."""
    _, folder = _load(path)
    facts = read_run_file(folder)
    if facts is None:
        return {"running": False, "data_dir": str(folder)}
    try:
        host = psutil.Process(facts["pid"])
        tree = [host, *host.children(recursive=True)]
    except psutil.NoSuchProcess:
        return {"running": False, "data_dir": str(folder)}
    return {
        "running": True,
        "data_dir": str(folder),
        **{key: facts[key] for key in ("pid", "url", "origin", "database", "ray")},
        "uptime_s": round(time.time() - facts["started_at"]),
        "memory_pss_mb": pss_mb(tree),
        "health": _get(f"{facts['url']}/api/v1/health"),
    }


def describe_words(facts: dict[str, Any]) -> str:
    if not facts["running"]:
        return f"Manta is not running on {facts['data_dir']}. Start it with `manta up`."
    health = facts["health"]
    lines = [
        f"Manta is up (pid {facts['pid']}, {facts['uptime_s']} s, {facts['memory_pss_mb']:.0f} MB) at {facts['url']}",
        f"health: {health.get('status', 'unknown')}",
    ]
    lines += [f"  {reason}" for reason in health.get("reasons", [])]
    return "\n".join(lines)


def newest_logs(path: Path | None, actor: str | None, lines: int) -> list[str]:
    """The last lines of the log files, merged by time stamp."""
    found: list[str] = []
    for file in _log_files(path, actor):
        found += file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return sorted(found, key=_stamp)[-lines:]


def log_records(lines: Iterable[str]) -> list[Any]:
    """Each line as the record that it holds; what Ray or Postgres wrote stays text."""
    return [_record(line) or line for line in lines]


def follow_logs(path: Path | None, actor: str | None) -> None:
    """Print lines as they are written, until interrupted."""
    positions = {file: file.stat().st_size for file in _log_files(path, actor)}
    while True:
        for file in _log_files(path, actor):
            size = file.stat().st_size
            start = positions.get(file, 0)
            if size != start:
                with file.open("rb") as stream:
                    stream.seek(start if size > start else 0)
                    sys.stdout.write(stream.read().decode(errors="replace"))
                sys.stdout.flush()
                positions[file] = size
        time.sleep(0.3)


def migrate_database(path: Path | None) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        async with database_target(path) as target:
            return {"database": str(target), "applied": list(await migrate(target, "venue"))}

    return asyncio.run(work())


def reset_database(path: Path | None) -> dict[str, Any]:
    """Drop everything and migrate anew; refused while Manta runs on it."""
    _, folder = _load(path)
    if read_run_file(folder) is not None:
        raise Halt("Manta is running on this database.", fix="Stop it first with `manta down`.")

    async def work() -> dict[str, Any]:
        async with database_target(path) as target:
            await _empty(target)
            return {"database": str(target), "applied": list(await migrate(target, "venue"))}

    return asyncio.run(work())


async def _empty(target: DatabaseTarget) -> None:
    """Drop all tables; Halt while a host, here or on another machine, works on them."""
    async with Database(target, application_name="manta reset") as database:
        if await database.run(lambda connection: connection.fetchval("select to_regclass('leases') is not null")):
            await Lease(database, "host", f"{socket.gethostname()}/{os.getpid()} (reset)").acquire(timeout_s=1.0)
        await database.run(lambda connection: connection.execute("drop schema public cascade; create schema public"))


@contextlib.asynccontextmanager
async def database_target(path: Path | None) -> Any:
    """The configured database, its bundled server started for the time of the block if it does not run."""
    config, folder = _load(path)
    server = server_from_environment(os.environ, folder / "secrets") or running_server(folder / "postgres")
    if server is not None:
        yield server
        return
    postgres = BundledPostgres(folder / "postgres", port=config.storage.port, binaries=config.storage.binaries)
    target: DatabaseTarget = await postgres.start()
    try:
        yield target
    finally:
        await postgres.stop()


def _load(path: Path | None) -> tuple[Config, Path]:
    return load_config(path, os.environ), data_dir(path, os.environ)


def _log_files(path: Path | None, actor: str | None) -> list[Path]:
    _, folder = _load(path)
    files = sorted((folder / "logs").glob("*.log"))
    if actor is None:
        return [file for file in files if file.stem not in ("ray", "up")]
    chosen = [file for file in files if file.stem == actor.replace(":", "_")]
    if not chosen:
        known = ", ".join(file.stem for file in files) or "none yet"
        raise BadInput(f"There is no log of {actor!r}.", field="actor", value=actor, fix=f"Known: {known}.")
    return chosen


def _record(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _stamp(line: str) -> str:
    record = _record(line)
    return line[:30] if record is None else str(record.get("timestamp", ""))


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http URL
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError):
            return dict(json.load(error))
        return {"status": "unknown", "reasons": [str(error)]}
    except (OSError, ValueError) as error:
        return {"status": "unreachable", "reasons": [str(error)]}
    return body


def _url(config: Config) -> str:
    host = config.serve.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.serve.port}"


def _child_error(out: str, log_path: Path) -> MantaError:
    try:
        return error_from(json.loads(out.strip().splitlines()[-1]))
    except (ValueError, LookupError, TypeError):
        return MantaError("Manta did not start.", fix=f"See {log_path}.")
