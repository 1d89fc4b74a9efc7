"""Places where a simulator session may be hurt on purpose, and what is hurt there.

An actor passes its boundaries by name; a folder of the session says at which of them something is to happen, once. What
happens is real: SIGKILL of a process, or a cut of a socket. Sessions on a venue have no such folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["BOUNDARIES", "VICTIMS", "Boundary", "CrashBox", "CrashPoint", "carry_out", "no_boundary", "server_pid"]

BOUNDARIES = (
    "after_read",  # a message is taken, nothing is done about it
    "before_commit",  # the effects are known, nothing is written
    "before_cursor",  # the effects are written, the cursor is not, in one transaction
    "in_commit",  # COMMIT is sent, its answer not seen
    "after_commit",
    "before_send",
    "after_send",  # sent, the receiver's answer not seen
    "after_ack",
    "in_claim",  # the notifier's claim of messages: COMMIT is sent, its answer not seen
)
VICTIMS = ("self", "postgres", "connection", "host", "raylet")
# Ray sends from threads of its own: what was sent shall have left when the process is killed right after.
_ON_ITS_WAY_S = 0.02

Boundary = Callable[[str, int], None]
"""Told the name of a boundary and the event time, in ms, of what passes it."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Hurt ``victim``, once, when ``actor`` passes ``boundary`` with a position at or after ``at_ms``.

    self, postgres, host and raylet get SIGKILL: the actor's process, the database server, the host process, the Ray
    daemon of the actor's node. connection is the actor's own, to Postgres, or a feed's to its venue: it is cut at the
    socket and nobody is told. pause stops the actor's process (SIGSTOP) until somebody continues it. ``marker`` is the
    file that says it happened.
    """

    actor: str
    boundary: str
    at_ms: int
    victim: str
    marker: str


def no_boundary(name: str, position_ms: int) -> None:
    """What passes its boundaries unhurt."""


class CrashBox:
    """The folder with the points that are armed; the host's side arms them, an actor takes what is due.

    A point is taken by the creation of its marker, so it happens once whoever else looks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed = 0

    def arm(self, point: CrashPoint) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._armed += 1
        fresh = self.folder / f"{time.time_ns()}-{self._armed}.new"
        fresh.write_text(json.dumps(asdict(point)), encoding="utf-8")
        fresh.replace(fresh.with_suffix(".json"))

    def disarm(self) -> None:
        """Take back every point that did not happen yet."""
        for path in self.folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def take(self, actor: str, boundary: str, position_ms: int) -> CrashPoint | None:
        """The point that is due here, if there is one; it is the caller's to carry out."""
        try:
            names = [entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".json")]
        except FileNotFoundError:
            return None
        for name in sorted(names):
            path = self.folder / name
            try:
                point = CrashPoint(**json.loads(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue
            if (point.actor, point.boundary) != (actor, boundary) or position_ms < point.at_ms:
                continue
            try:
                os.close(os.open(point.marker, os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            path.unlink(missing_ok=True)
            return point
        return None


def carry_out(point: CrashPoint, pids: dict[str, int | None], cut: Callable[[], None]) -> None:
    """Hurt the point's victim: a pid of ``pids`` by its name, or the connection by ``cut``."""

    def now() -> None:
        if point.victim == "connection":
            cut()
        elif point.victim == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif (pid := pids[point.victim]) is not None:
            os.kill(pid, signal.SIGKILL)

    if point.boundary.startswith("in_"):
        # The task that passes here writes COMMIT to its socket before it yields; what is called soon comes after that.
        asyncio.get_running_loop().call_soon(now)
        return
    if point.boundary == "after_send":
        time.sleep(_ON_ITS_WAY_S)
    now()


def server_pid(pid_file: str | None) -> int | None:
    """The postmaster's process by its pid file; None when the server is not ours."""
    return None if pid_file is None else int(Path(pid_file).read_text(encoding="utf-8").split()[0])
