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

from trading.clock import SystemClock

__all__ = [
    "MARK",
    "birth_mark",
    "die_with_parent",
    "free_port",
    "kill_all",
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


def birth_mark(pid: int) -> str | None:
    """What tells process ``pid`` from any other that ever had its number; None when there is none.

    The kernel's own count of ticks since the boot: a time of day would change when the host's clock is set.
    """
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; the start is the 20th field after it.
    return f"{SystemClock().now().boot}/{told.rpartition(')')[2].split()[19]}"


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


def kill_all(processes: Iterable[psutil.Process], patience_s: float) -> None:
    """SIGKILL, which a stopped process obeys, too; wait up to ``patience_s`` for their end."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience_s)


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
