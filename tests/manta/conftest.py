"""What tests of the command share: running it, running a whole Manta beside it, and seeing what is left afterwards."""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from manta.cli import main
from manta.processes import MARK, free_port
from trading.storage.settings import DatabaseTarget

UP_S = 240.0
REPLAY = Path(__file__).with_name("replay_process.py")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said. ``value`` is the one JSON value that stdout may hold."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        assert self.out.endswith("\n")
        return json.loads(self.out)


@dataclass(slots=True)
class Place:
    """A folder to run in, with its own data directory and environment."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.folder / "var"

    def config(self, text: str) -> Path:
        path = self.folder / "manta.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def variables(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "MANTA__"))}
        return clean | {"MANTA_DATA_DIR": str(self.data_dir)} | self.environ

    def run(self, *arguments: str) -> Answer:
        """Run the command in this process, as its console script does."""
        before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
        out, err = io.StringIO(), io.StringIO()
        argv, sys.argv = sys.argv, ["manta", *arguments]
        status: Any = 0
        try:
            os.environ.clear()
            os.environ.update(self.variables())
            with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    status = end.code
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(before)
            signal.signal(signal.SIGTERM, handler)
        return Answer(int(status or 0), out.getvalue(), err.getvalue())

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the command as a process of its own."""
        return _popen(["-m", "manta", *arguments], self)

    def call(self, *arguments: str, timeout_s: float = UP_S) -> Answer:
        """Run the command as a process of its own, to its end."""
        child = self.popen(*arguments)
        out, err = child.communicate(timeout=timeout_s)
        return Answer(child.returncode, out, err)


@dataclass(slots=True)
class Running:
    """A replay in a process of its own, up and caught up."""

    place: Place
    process: "subprocess.Popen[str]"
    facts: dict[str, Any]
    url: str | None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=60)


def start_replay(place: Place, **order: Any) -> Running:
    """Start one and wait until it has handled its minutes; AssertionError with its words if it ends instead."""
    process, url = popen_replay(place, **order)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], UP_S)
    line = process.stdout.readline() if ready else ""
    facts = json.loads(line) if line else {}
    if "pid" not in facts:
        process.kill()
        raise AssertionError(f"{line} {process.communicate(timeout=60)[1]}")
    return Running(place, process, facts, url)


def popen_replay(
    place: Place,
    *,
    minutes: int = 30,
    serve: bool = False,
    speed: float | None = None,
    compare: bool = False,
    **config: Any,
) -> tuple["subprocess.Popen[str]", str | None]:
    """``speed`` None is lockstep; ``compare`` says whether what is stored is compared with the reference at the end."""
    port = free_port()
    order = {
        "data_dir": str(place.data_dir),
        "minutes": minutes,
        "serve": serve,
        "speed": speed,
        "compare": compare,
        "config": {"serve": {"port": port}, **config},
    }
    return _popen([str(REPLAY), json.dumps(order)], place), f"http://127.0.0.1:{port}" if serve else None


def _popen(arguments: list[str], place: Place) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=place.folder,
        env=place.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(terminal: int, text: str, timeout_s: float = 60) -> str:
    """What is written on a terminal up to ``text``, or until it is silent for so long or nobody has it open."""
    found = ""
    # Linux tells the end of a terminal as an error.
    with contextlib.suppress(OSError):
        while text not in found and select.select([terminal], [], [], timeout_s)[0]:
            found += os.read(terminal, 4096).decode()
    return found


def living(pids: Iterable[int]) -> list[int]:
    """Those that run; an orphan that nobody reaped does not."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def finish(process: "subprocess.Popen[str]", timeout_s: float = 120.0) -> tuple[str, str]:
    """Its output once it ended by itself; it is killed when it does not."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it did not end: {process.communicate(timeout=120)}") from None


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.05)
    return found


def of_place(place: Place) -> list[str]:
    """The command lines of all processes that work for ``place``, however they came to be."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (MARK in process.environ() and process.environ().get("MANTA_DATA_DIR") == str(place.data_dir)) or (
                "postgres" in process.name() and Path(process.cwd()).is_relative_to(place.data_dir)
            ):
                found.append(" ".join(process.cmdline())[:120])
    return found


def temporary() -> Path:
    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def nothing_left(place: Place, *, within_s: float = 60.0) -> Iterator[None]:
    """Inside it, whatever is started for ``place`` must end, with its sockets and temporary folders."""
    yield
    wait_for(lambda: not of_place(place), f"the end of {of_place(place)}", within_s)
    assert not (place.data_dir / "run.json").exists()
    assert not (place.data_dir / "ray_dir").exists()
    assert not (place.data_dir / "postgres" / "socket_dir").exists()
    assert not (place.data_dir / "postgres" / "postmaster.pid").exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def stored(place: Place, empty_database: DatabaseTarget) -> Place:
    """A place with a database of its own, of the venue's origin once the first command has migrated it."""
    place.environ |= {
        "DB_HOST": empty_database.host,
        "DB_PORT": str(empty_database.port),
        "DB_NAME": empty_database.database,
        "DB_USER": empty_database.user,
        "DB_PASSWORD": empty_database.password() or "",
    }
    return place


@pytest.fixture(scope="module")
def module_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("manta"))


def variables(**names: Any) -> Mapping[str, str]:
    return {f"MANTA__{name}": str(value) for name, value in names.items()}
