"""What each process of a session is, without what differs from run to run."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import psutil

__all__ = ["kind_of", "kind_of_command"]


def kind_of(process: psutil.Process) -> str:
    """A short name; processes that do the same have the same. A bench is the host of the system that it measures."""
    if process.pid == os.getpid():
        return "host"
    with contextlib.suppress(psutil.Error):
        return kind_of_command(process.cmdline())
    return "ended"


def kind_of_command(command: Sequence[str]) -> str:
    """The name for a command line: Ray's and Postgres's own titles as they are, other programs by module or file."""
    if not command:
        return "ended"
    title = " ".join(command).strip()
    if title.startswith("ray::"):
        return re.split(r"[.(\s]", title, maxsplit=1)[0].replace("ServeReplica:manta:", "ServeReplica ")
    if title.startswith("postgres:"):
        return "postgres sessions and helpers"
    words = list(command)
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    scripts = [word for word in words if word.endswith(".py")]
    return Path(scripts[0] if scripts else words[0]).name
