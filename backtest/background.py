"""How work that can wait steps back behind live actors of the same machine."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

__all__ = ["COORDINATOR", "NICENESS", "WORKER", "grouped_by_session", "step_back", "thread_steps_back"]

NICENESS = 10

# A worker of Ray that stepped back must not be lent to others, and Ray lends among tasks of one environment.
WORKER = {"env_vars": {"MANTA_BACKGROUND": "worker"}}
COORDINATOR = {"env_vars": {"MANTA_BACKGROUND": "coordinator"}}

_GROUPING = Path("/proc/sys/kernel/sched_autogroup_enabled")
_GROUP = Path("/proc/self/autogroup")
# Who is not root may change one group's niceness ten times a second, together with everybody else.
_TRIES, _AGAIN_S = 50, 0.13


def step_back(*, own_session: bool = True) -> None:
    """Lower this whole process, every thread of it, for good; again is once.

    Where Linux shares its cores among sessions first (autogroup, as many desktops and servers have it), niceness counts
    only within a session: a worker in the session of Ray takes as much of a core as any backend of Postgres, each of
    which has a session of its own, and holds up every commit. With ``own_session`` it gets one too, whose niceness
    counts among sessions. Any other process of the machine then goes first, which is not worth it where nobody trades,
    and not for a coordinator: what waits for it are its workers, and a row of the database that it has locked.
    """
    for thread in _threads():
        with contextlib.suppress(ProcessLookupError):
            if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
    with contextlib.suppress(OSError):
        if own_session and os.getsid(0) != os.getpid() and grouped_by_session():
            _leave_session()
            _lower_session()


def grouped_by_session() -> bool:
    """Whether this Linux shares its cores among sessions first, and only then among the processes of each."""
    try:
        return _GROUPING.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def thread_steps_back() -> None:
    """This thread alone, where others of its process have to answer."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _threads() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    except OSError:
        return [0]


def _leave_session() -> None:
    if os.getpgrp() == os.getpid():
        # The leader of a process group may not; Ray's workers lead one each. Afterwards it is one of the same number.
        os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


def _lower_session() -> None:
    for _ in range(_TRIES):
        try:
            _GROUP.write_text(str(NICENESS), encoding="ascii")
        except BlockingIOError:
            time.sleep(_AGAIN_S)
        else:
            return
