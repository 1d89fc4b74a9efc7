"""Watches a strategy while it is tried: which files and connections it opens, from which line; and sets its clock."""

from __future__ import annotations

import datetime as dt
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["LATER_S", "Opened", "other_time", "watching"]

_OPENS = frozenset(
    {
        "open", "os.listdir", "os.scandir", "os.system", "pathlib.Path.glob", "socket.connect", "socket.getaddrinfo",
        "sqlite3.connect", "subprocess.Popen", "urllib.Request", "ctypes.dlopen",
    }
)  # fmt: skip
# Time zones are read from files when they are first used.
_HARMLESS = ("zoneinfo", "tzdata")
LATER_S = (40_000_003.0, 40_003_603.0, 40_043_203.0, 40_259_203.0)
"""Other times: more than a year from now, and from each other an hour, half a day and some days."""


class Opened(NamedTuple):
    """What a line of the strategy's file opened."""

    line: int
    what: str


class _Watch:
    def __init__(self) -> None:
        self.name = ""
        self.found: dict[Opened, None] = {}
        self.hooked = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.name or event not in _OPENS:
            return
        what = str(arguments[0]) if arguments else event
        if any(part in what for part in _HARMLESS):
            return
        line = _line_of(sys._getframe(), self.name)
        if line:
            self.found[Opened(line, what if event == "open" else f"{event} {what}")] = None


_watch = _Watch()


@contextmanager
def watching(name: str) -> Iterator[list[Opened]]:
    """Collect what the file of the strategy ``name`` opens meanwhile, at its end."""
    if not _watch.hooked:
        # An audit hook cannot be taken away: it stays, and does nothing while no strategy is watched.
        sys.addaudithook(_watch.hook)
        _watch.hooked = True
    found: list[Opened] = []
    _watch.name, _watch.found = f"<{name}.py ", {}
    try:
        yield found
    finally:
        _watch.name = ""
        found += _watch.found


@contextmanager
def other_time(ahead_s: float = LATER_S[0]) -> Iterator[None]:
    """Another wall clock, ``ahead_s`` ahead, and other chances: nothing honest notices.

    Only modules that are run meanwhile, or ask their modules anew at each call, see it.
    """
    clocks = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "perf_counter", "localtime")}
    kept, chance = dt.datetime, random.getstate()

    class Later(kept):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return kept.now(tz) + dt.timedelta(seconds=ahead_s)

        @classmethod
        def utcnow(cls) -> dt.datetime:
            return kept.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=ahead_s)

        @classmethod
        def today(cls) -> dt.datetime:
            return cls.now()

    try:
        time.time = lambda: clocks["time"]() + ahead_s
        time.time_ns = lambda: clocks["time_ns"]() + int(ahead_s) * 1_000_000_000
        time.monotonic = lambda: clocks["monotonic"]() + ahead_s
        time.perf_counter = lambda: clocks["perf_counter"]() + ahead_s
        dt.datetime = Later  # type: ignore[misc]
        random.seed(987_654_321)
        yield
    finally:
        for name, clock in clocks.items():
            setattr(time, name, clock)
        dt.datetime = kept  # type: ignore[misc]
        random.setstate(chance)


def _line_of(frame: FrameType | None, name: str) -> int:
    """The line of the strategy's file that is on the way to ``frame``; 0 where it only imports, or is not there."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return 0
        if file.startswith(name):
            return frame.f_lineno
        frame = frame.f_back
    return 0
