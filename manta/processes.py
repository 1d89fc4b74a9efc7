"""Processes of one session: found by a mark in their environment, measured, and ended by pid."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

__all__ = [
    "MARK",
    "die_with_parent",
    "end_all",
    "free_port",
    "marked",
    "new_session_id",
    "pss_mb",
    "pss_table",
    "wait_gone",
]

MARK = "MANTA_SESSION"
_PR_SET_PDEATHSIG = 1


def new_session_id() -> str:
    return secrets.token_hex(6)


def free_port() -> int:
    """A loopback TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent(sig: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn`` after which the child gets ``sig`` when the thread that started it ends.

    Linux ties the signal to the parent's thread, so such children must be started from the main thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def preexec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:
            os._exit(1)

    return preexec


def marked(session_id: str) -> list[psutil.Process]:
    """All live processes whose environment carries the session's mark, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == session_id:
                found.append(process)
    return found


def end_all(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """SIGTERM, then SIGKILL after ``grace_s``."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_s)


def pss_table(processes: Iterable[psutil.Process]) -> list[dict[str, Any]]:
    """Proportional set size of each process, in MB of 10**6 bytes, largest first."""
    rows = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            rows.append({"pid": process.pid, "name": _title(process), "pss_mb": process.memory_full_info().pss / 1e6})
    return sorted(rows, key=lambda row: -float(row["pss_mb"]))


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    return round(sum(float(row["pss_mb"]) for row in pss_table(processes)), 1)


def wait_gone(session_id: str, timeout_s: float) -> list[psutil.Process]:
    """Wait until no process carries the mark; returns those that still do."""
    deadline = time.monotonic() + timeout_s
    while (left := marked(session_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _title(process: psutil.Process) -> str:
    words = process.cmdline()
    if not words:
        return process.name()
    if words[0].startswith("ray::") or words[0].startswith("postgres"):
        return " ".join(words)[:60]
    shown = [Path(word).name for word in words if not word.startswith("-")]
    return " ".join(shown[:3])[:60]
