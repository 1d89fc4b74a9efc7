"""How ``manta reload`` reaches the host process: a request file and SIGHUP; the answer is a file, too.

SIGHUP alone, as systemd sends it, reloads likewise; its answer is in the log.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from manta.host import Host
from manta.output import error_body, error_from
from manta.run_file import read_run_file
from trading.config.model import Config
from trading.errors import Halt, MantaError

__all__ = ["is_requested", "obey_reloads", "request_reload"]

_REQUEST = "reload.request"
_ANSWER = "reload.answer"
_WAIT_S = 240.0
_POLL_S = 0.05

log = structlog.get_logger("host")


async def obey_reloads(host: Host, asked: asyncio.Event, load: Callable[[], Config]) -> None:
    """Reload with what ``load`` returns whenever ``asked`` is set, for ever; a failure is an answer, too."""
    while True:
        await asked.wait()
        asked.clear()
        request = _read(host.data_dir / _REQUEST)
        (host.data_dir / _REQUEST).unlink(missing_ok=True)
        try:
            answer = {"done": await host.reload(load())}
            log.info("reloaded", **answer["done"])
        except MantaError as error:
            answer = {"failed": error_body(error)}
            log.error("not reloaded", error=str(error))
        except Exception as error:
            log.exception("not reloaded")
            answer = {
                "failed": error_body(MantaError(f"{type(error).__name__}: {error}", fix="See `manta logs host`."))
            }
        if request is not None:
            _write(host.data_dir / _ANSWER, {"id": request["id"], **answer})


def is_requested(data_dir: Path) -> bool:
    """Whether a command waits for a reload."""
    return (data_dir / _REQUEST).exists()


def request_reload(data_dir: Path) -> dict[str, Any]:
    """Have the host that runs on ``data_dir`` reload its configuration; returns what changed, or raises its error."""
    facts = read_run_file(data_dir)
    if facts is None:
        raise Halt(f"Manta is not running on {data_dir}.", fix="Start it with `manta up`; it reads the configuration.")
    with (data_dir / "reload.lock").open("a", encoding="ascii") as lock:
        # One at a time: the second waits, and its request is a reload of its own.
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = secrets.token_hex(8)
        _write(data_dir / _REQUEST, {"id": number})
        os.kill(facts["pid"], signal.SIGHUP)
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            answer = _read(data_dir / _ANSWER)
            if answer is not None and answer["id"] == number:
                (data_dir / _ANSWER).unlink(missing_ok=True)
                return _opened(answer)
            if read_run_file(data_dir) is None:
                raise MantaError("Manta ended before it had reloaded.", fix="See `manta status`.")
            time.sleep(_POLL_S)
    raise MantaError(f"Manta had not reloaded after {_WAIT_S:.0f} s.", fix="See `manta logs host` and `manta status`.")


def _opened(answer: dict[str, Any]) -> dict[str, Any]:
    if "failed" in answer:
        raise error_from(answer["failed"])
    done: dict[str, Any] = answer["done"]
    return done


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "id" in found else None


def _write(path: Path, body: dict[str, Any]) -> None:
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_text(json.dumps(body), encoding="utf-8")
    fresh.replace(path)
