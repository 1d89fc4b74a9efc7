"""Worker processes of this machine, reached without Ray."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["end_worker"]


def end_worker(pid: int) -> bool:
    """SIGKILL the Ray worker ``pid``; False, and nothing done, when that is no worker of this machine any more."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    if not title.startswith(b"ray::"):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True
