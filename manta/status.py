"""``manta status``: what runs and how well, from the database and the host themselves; the API need not answer."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from manta.processes import pss_mb
from manta.run_file import read_end, read_run_file, stale_run
from trading.clock import steady_ns
from trading.condition import report, span_text
from trading.config.loading import data_dir, load_config
from trading.config.model import Config
from trading.errors import MantaError
from trading.storage.aliases import read_aliases
from trading.storage.condition import read_condition
from trading.storage.database import connect
from trading.storage.postgres import running_server
from trading.storage.settings import server_from_environment

__all__ = ["describe", "describe_words"]

_READ_S = 4.0
_API_S = 2.0
_LAST_LINES = 200


def describe(path: Path | None) -> dict[str, Any]:
    """Whether it runs; if so how well, with every reason; if not, since when and why."""
    config, folder = load_config(path, os.environ), data_dir(path, os.environ)
    facts = read_run_file(folder)
    if facts is None:
        return {"running": False, "data_dir": str(folder), "ended": _ended(folder)}
    try:
        host = psutil.Process(facts["pid"])
        tree = [host, *host.children(recursive=True)]
    except psutil.NoSuchProcess:
        return {"running": False, "data_dir": str(folder), "ended": _ended(folder)}
    health = asyncio.run(_health(config, folder))
    problems = [*_process_problems(health, folder, facts["started_at"]), *_host_problems(facts)]
    if problems and health["status"] == "ok":
        health["status"] = "degraded"
    return {
        "running": True,
        "data_dir": str(folder),
        **{key: facts[key] for key in ("pid", "url", "origin", "database", "ray")},
        "uptime_s": round((steady_ns() - facts["started_steady_ns"]) / 1e9),
        "memory_pss_mb": pss_mb(tree),
        "health": {**health, "reasons": health["reasons"] + problems},
        "last_error": _last_error(folder / "logs" / "host.log", facts["started_at"]),
    }


def describe_words(facts: dict[str, Any]) -> str:
    """``describe`` for a reader: a head line, then one line for each thing that is not as it should be."""
    if not facts["running"]:
        return "\n".join(_ended_words(facts))
    health = facts["health"]
    where = f" at {facts['url']}" if facts["url"] else ""
    head = f"Manta is up (pid {facts['pid']}, {span_text(facts['uptime_s'])}, {facts['memory_pss_mb']:.0f} MB){where}"
    lines = [head, f"health: {health['status']}"]
    lines += [f"  ! {reason}" for reason in health["reasons"]]
    lines += [f"  · {note}" for note in health.get("notes", ())]
    for run in health.get("parity", ()):
        lines.append(f"  · {run['book']}: {run['day']} {run['status']} to the backtest")
    if facts["last_error"]:
        lines.append(f"last error of the host: {facts['last_error']}")
    return "\n".join(lines)


async def _health(config: Config, folder: Path) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_READ_S):
            target = server_from_environment(os.environ, folder / "secrets") or running_server(folder / "postgres")
            if target is None:
                return _no_database("its server does not run")
            connection = await connect(target, application_name="manta status", timeout_s=_READ_S)
            try:
                aliases = await read_aliases(connection)
                markets = tuple(dict.fromkeys(aliases.get(name, name) for name in config.markets))
                return report(await read_condition(connection, markets))
            finally:
                connection.terminate()
    except TimeoutError:
        return _no_database(f"it did not answer within {_READ_S:.0f} s")
    except MantaError as error:
        return _no_database(str(error))


def _no_database(why: str) -> dict[str, Any]:
    reason = f"database: cannot be reached: {why}"
    return {"status": "down", "database": "down", "reasons": [reason], "notes": [], "markets": [], "actors": []}


def _process_problems(health: dict[str, Any], folder: Path, since: float) -> Iterator[str]:
    """What the kernel knows of the actors' processes, and what those that do not answer said last."""
    for actor in health["actors"]:
        name, pid = actor["actor"], actor["pid"]
        if pid is None:
            continue
        try:
            stopped = psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            yield f"{name}: its process {pid} is gone; Ray starts it again"
        else:
            if stopped:
                yield f"{name}: its process {pid} is stopped by a signal (`kill -CONT {pid}` lets it go on)"
        if actor["state"] != "ok" and (said := _last_error(folder / "logs" / f"{name.replace(':', '_')}.log", since)):
            yield f"{name}: its last error was: {said}"


def _host_problems(facts: dict[str, Any]) -> Iterator[str]:
    if facts["url"]:
        try:
            with urllib.request.urlopen(f"{facts['url']}/api/v1/health?quiet=true", timeout=_API_S):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            yield f"api: answers with status {error.code} at {facts['url']}"
        except OSError as error:
            yield f"api: does not answer at {facts['url']}: {error}"


def _ended(folder: Path) -> dict[str, Any]:
    """How the last run ended: killed, in order, or never begun. Times are the host's wall clock, in seconds."""
    killed, end = stale_run(folder), read_end(folder)
    log = folder / "logs" / "host.log"
    if killed is not None and (end is None or end["session_id"] != killed["session_id"]):
        logs = [file.stat().st_mtime for file in (folder / "logs").glob("*.log")]
        error = _last_error(log, killed["started_at"])
        return {"how": "killed", "at": max(logs, default=killed["started_at"]), "why": None, "last_error": error}
    if end is None:
        return {"how": "never ran", "at": None, "why": None, "last_error": None}
    return {
        "how": "in order",
        "at": end["ended_at"],
        "why": end["why"],
        "flushed": end["flushed"],
        "seconds": end["seconds"],
        "last_error": _last_error(log, end["started_at"]),
    }


def _ended_words(facts: dict[str, Any]) -> Iterator[str]:
    ended = facts["ended"]
    yield f"Manta is not running on {facts['data_dir']}. Start it with `manta up`."
    if ended["how"] == "never ran":
        yield "It has never run there."
        return
    since = span_text(max(0.0, time.time() - ended["at"]))
    if ended["how"] == "killed":
        yield f"It was killed, or its machine went down, {since} ago; the next start goes on from the last commit."
    else:
        flushed = "everything flushed" if ended["flushed"] else "not everything flushed: the next start pulls the rest"
        yield f"It ended in order {since} ago ({ended['why']}), in {ended['seconds']:.1f} s, {flushed}."
    if ended["last_error"]:
        yield f"Its last error was: {ended['last_error']}"


def _last_error(log: Path, since: float) -> str | None:
    """The newest line of level error or worse that ``log`` got after ``since``, among its last ones."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
            written = datetime.fromisoformat(record["timestamp"]).timestamp()
        except (ValueError, TypeError, KeyError):
            continue
        if written < since:
            return None
        if record.get("level") in ("error", "critical"):
            said = str(record.get("error") or record.get("exception") or "").strip().splitlines()
            return f"{record['timestamp']} {record.get('event', '')}{f': {said[-1]}' if said else ''}"
    return None
