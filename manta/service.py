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
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from manta.host import Host, HostOptions
from manta.output import console, error_from
from manta.processes import kill_all, marked
from manta.reload_channel import is_requested, obey_reloads, request_reload
from manta.run_file import read_end, read_run_file
from trading.config.loading import data_dir, load_config, strategies_folder
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
    "follow_logs",
    "hold_alone",
    "log_records",
    "migrate_database",
    "newest_logs",
    "reload_running",
    "reload_words",
    "require_down",
    "reset_database",
    "run_detached",
    "run_foreground",
    "stop_running",
]

log = structlog.get_logger("host")

_UP_S = 180.0
_DOWN_S = 20.0
_KILL_S = 10.0
# A cluster that is not ours is left as it was found, however slow it is.
_CLUSTER_S = 30.0
_CANCEL_S = 0.5


def run_foreground(path: Path | None) -> dict[str, Any]:
    """Run until SIGTERM or SIGINT; returns when everything is down."""
    config, folder = _load(path)
    configure_logging(folder / "logs" / "host.log")
    return asyncio.run(_serve(path, config, folder))


async def _serve(path: Path | None, config: Config, folder: Path) -> dict[str, Any]:
    stopping, reloading = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def hang_up() -> None:
        # A terminal that closes sends SIGHUP, too, and whoever sat there wants it all to end.
        (reloading if is_requested(folder) or not sys.stdin.isatty() else stopping).set()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    host = Host(
        HostOptions(
            config,
            folder,
            progress=lambda text: console.print(f"[dim]{text} …[/]"),
            warn=_warn,
        )
    )
    began = time.monotonic()
    if not await _unless(stopping, host.start(), None):
        return {"stopped": True, "started": False}
    why = "told to"
    try:
        console.print(f"Manta is up: [bold]{_url(config)}/dashboard[/]  (Ctrl-C stops)")
        obeying = asyncio.ensure_future(obey_reloads(host, reloading, lambda: _load(path)[0]))
        await _unless(stopping, host.watch())
        obeying.cancel()
        console.print("[dim]stopping …[/]")
    except Exception as error:
        why = str(error)
        raise
    finally:
        await host.stop(why)
        log.info("ended", **(read_end(folder) or {}))
    return {"stopped": True, "started": True, "url": _url(config), "seconds": round(time.monotonic() - began, 1)}


def _warn(text: str) -> None:
    console.print(text, style="yellow", markup=False)


async def _unless(
    stopping: asyncio.Event, work: Coroutine[Any, Any, None], patience_s: float | None = _CANCEL_S
) -> bool:
    """Whether ``work`` ended before ``stopping`` was set; else it is cancelled, and gets ``patience_s`` to clean up."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    # Not for ever: what it waits for may hang, and the end must not.
    await asyncio.wait([working], timeout=patience_s)
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
            for warning in facts["warnings"]:
                _warn(warning)
            return facts
        if child.poll() is not None:
            answer.seek(0)
            raise _child_error(answer.read().decode(), log_path)
        time.sleep(0.1)
    raise MantaError(f"Manta was not up after {_UP_S:.0f} s.", fix=f"See {log_path}.")


def stop_running(path: Path | None) -> dict[str, Any]:
    """End the host that runs on the data directory and wait until it has flushed and gone.

    A host that does not end by itself within its ten seconds, and some grace, is killed with all that it started;
    nothing is lost by that: ``how`` says ``killed`` then.
    """
    _, folder = _load(path)
    facts = read_run_file(folder)
    if facts is None:
        return {"stopped": False}
    started = time.monotonic()
    how = "by itself"
    try:
        process = psutil.Process(facts["pid"])
        process.send_signal(signal.SIGTERM)
        if not _gone(process, _DOWN_S + (_CLUSTER_S if facts["attached"] else 0)):
            how = "killed"
            process.kill()
            kill_all(marked(facts["session_id"]), _KILL_S)
            _gone(process, _KILL_S)
    except psutil.NoSuchProcess:
        pass  # It ended just now.
    except psutil.AccessDenied as error:
        raise Halt(
            f"Manta (pid {facts['pid']}) belongs to another account.",
            fix="Run `manta down` as the account that started it.",
        ) from error
    end = read_end(folder) or {}
    flushed = how == "by itself" and end.get("session_id") == facts["session_id"] and end["flushed"]
    seconds = round(time.monotonic() - started, 2)
    return {"stopped": True, "pid": facts["pid"], "how": how, "flushed": flushed, "seconds": seconds}


def reload_running(path: Path | None) -> dict[str, Any]:
    """Have the running host read its configuration again and apply what changed; says what that was."""
    _, folder = _load(path)
    return request_reload(folder)


def reload_words(result: dict[str, Any]) -> str:
    if not result["changed"]:
        return "nothing has changed"
    lines = [f"reloaded in {result['seconds']:.1f} s: {', '.join(result['changed'])}"]
    lines += [f"  {what}: {', '.join(result[what])}" for what in ("added", "removed", "kept") if result[what]]
    if result["restarted"]:
        lines.append(f"  started anew: {', '.join(result['restarted'])}")
    if result["new_intervals"]:
        lines.append(f"  folded from stored minutes: {', '.join(result['new_intervals'])}")
    return "\n".join(lines)


def _gone(process: psutil.Process, patience_s: float) -> bool:
    # Not process.wait(): a parent that does not reap the host would keep it in the process table for ever.
    deadline = time.monotonic() + patience_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


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
    require_down(folder)

    async def work() -> dict[str, Any]:
        async with database_target(path) as target:
            await _empty(target)
            return {"database": str(target), "applied": list(await migrate(target, "venue"))}

    return asyncio.run(work())


def require_down(folder: Path) -> None:
    """Halt while Manta runs on the data directory ``folder``."""
    if read_run_file(folder) is not None:
        raise Halt("Manta is running on this database.", fix="Stop it first with `manta down`.")


async def hold_alone(database: Database, purpose: str) -> None:
    """Halt while a host, here or on another machine, works on the database; none can start until it is closed."""
    if await database.run(lambda connection: connection.fetchval("select to_regclass('leases') is not null")):
        await Lease(database, "host", f"{socket.gethostname()}/{os.getpid()} ({purpose})").acquire(timeout_s=1.0)


async def _empty(target: DatabaseTarget) -> None:
    """Drop all tables; Halt while a host, here or on another machine, works on them."""
    async with Database(target, application_name="manta reset") as database:
        await hold_alone(database, "reset")
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
    config = load_config(path, os.environ)
    # Actors and replicas run in other working folders than this process.
    own = strategies_folder(path, os.environ)
    return config.model_copy(update={"strategies_folder": own}), data_dir(path, os.environ)


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


def _url(config: Config) -> str:
    host = config.serve.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.serve.port}"


def _child_error(out: str, log_path: Path) -> MantaError:
    try:
        return error_from(json.loads(out.strip().splitlines()[-1]))
    except (ValueError, LookupError, TypeError):
        return MantaError("Manta did not start.", fix=f"See {log_path}.")
