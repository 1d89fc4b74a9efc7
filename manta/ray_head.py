"""The Ray node that Manta starts for itself: a child of the main thread, with a token and a folder of its own, on
loopback unless PCs may join.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from actors.cluster import head_command
from manta.deadline import Deadline
from manta.processes import die_with_parent, free_port, kill_all, marked, wait_gone
from trading.config.model import RaySettings
from trading.errors import MantaError
from trading.storage.settings import write_secret

__all__ = ["RayHead", "cpus_for_backtests", "join_token", "session_token"]

_NOTE = "ray_dir"
_TOKEN = Path("token")
_JOIN_TOKEN = Path("secrets", "ray_token")
_START_S = 60.0
_LEAST_S = 0.5


def cpus_for_backtests(settings: RaySettings) -> int:
    """How many tasks may compute on this machine at a time, beside live actors.

    One core is theirs: where a sweep has all of them, every tenth decision waits for a tenth of a second and more, and
    the sweep's own coordinator, which needs a core as well, makes it no faster.
    """
    return settings.num_cpus or max(1, (os.cpu_count() or 1) - 1)


def join_token(data_dir: Path) -> Path:
    """The 0600 file with the token that PCs join by. It stays the same until its owner deletes it."""
    path = data_dir / _JOIN_TOKEN
    return path if path.exists() else write_secret(path, secrets.token_hex(32))


def session_token(data_dir: Path, *, joinable: bool) -> Path | None:
    """Where the token of the Ray is that runs on ``data_dir``; None when none does."""
    if joinable:
        return data_dir / _JOIN_TOKEN
    try:
        return Path((data_dir / _NOTE).read_text(encoding="utf-8")) / _TOKEN
    except OSError:
        return None


class RayHead:
    """One node. What it started is known by pid and by the session's mark; nothing else is ever signalled.

    Its temporary folder is noted in the data directory, so that a killed host's successor can remove it.
    """

    def __init__(self, data_dir: Path, session_id: str, listen: str | None = None) -> None:
        self._data_dir = data_dir
        self._listen = listen
        self._note = data_dir / _NOTE
        self._logs = data_dir / "logs"
        self._session_id = session_id
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None

    @property
    def token_path(self) -> str:
        if self.folder is None:
            raise RuntimeError("no Ray was started")
        return str(self._data_dir / _JOIN_TOKEN if self._listen else self.folder / _TOKEN)

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def clear_predecessor(self) -> None:
        """Remove the folder that a killed host could not remove."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self._note.read_text(encoding="utf-8"), ignore_errors=True)
            self._note.unlink()

    def prepare(self) -> None:
        """Make the folder with its token, before anything that needs the token's path."""
        self.folder = Path(tempfile.mkdtemp(prefix="manta-ray-"))
        self._note.write_text(str(self.folder), encoding="utf-8")
        if self._listen:
            join_token(self._data_dir)
        else:
            write_secret(self.folder / _TOKEN, secrets.token_hex(32))

    async def start(self, settings: RaySettings, port: int, environment: dict[str, str]) -> None:
        """Start the node and wait until it listens on ``port``; MantaError when it does not."""
        self._logs.mkdir(exist_ok=True)
        with (self._logs / "ray.log").open("ab") as output:
            self._process = process = subprocess.Popen(  # noqa: ASYNC220 - from the main thread; it returns at once
                head_command(
                    sys.executable,
                    port=port,
                    agent_port=free_port(),
                    temp_dir=str(self.folder),
                    num_cpus=cpus_for_backtests(settings),
                    object_store_mb=settings.object_store_mb,
                    listen=self._listen,
                ),
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it only makes system calls
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_INET6 if ":" in (self._listen or "") else socket.AF_INET) as probe:
                if probe.connect_ex((self._listen or "127.0.0.1", port)) == 0:
                    return
            if process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise MantaError("Ray did not start.", fix=f"See {self._logs / 'ray.log'}.")

    def shed(self) -> None:
        """End Ray's API server, 75 MB: without the dashboard it only counts usage, which is switched off.

        Ray starts it all the same, and takes an end by SIGTERM for an ordinary one.
        """
        for process in marked(self._session_id):
            with contextlib.suppress(psutil.Error):
                if "--modules-to-load=UsageStatsHead" in process.cmdline():
                    process.terminate()

    def end(self, time_left: Deadline, by_s: float) -> None:
        """Nothing there is worth waiting for by now: it gets until ``by_s`` to end, then the kernel ends it."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(time_left.left(by_s))
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if left := wait_gone(self._session_id, min(_LEAST_S, time_left.left(by_s))):
                kill_all(left, time_left.left(by_s) + _LEAST_S)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._note.unlink(missing_ok=True)
