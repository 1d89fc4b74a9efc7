"""Two hosts on one kernel: each with its own network, processes, temporary folder and home, joined by one cable.

A host ends with its first process, as by a power cut: whatever ran there is gone, its network too, and nobody is told.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.manta.conftest import Answer, wait_for

ROOT = Path(__file__).resolve().parents[3]
NAS_ADDRESS = "10.77.0.1"
PC_ADDRESS = "10.77.0.2"
# The first process of a host. Ignoring the signal makes the kernel reap orphans.
INIT = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
SETUP = """
set -e
# A checkout in /tmp is still to be seen there.
case "$5" in /tmp/*)
    mkdir -p "$1/${5#/tmp/}"
    mount --bind "$5" "$1/${5#/tmp/}"
esac
mount --rbind "$1" /tmp
mount --bind /tmp/passwd /etc/passwd
mount -t tmpfs tmpfs /run
mkdir /run/sshd
hostname "$2"
ip link set lo up
cd /tmp
exec "$3" -c "$4"
"""


def require_namespaces() -> None:
    """Skip the test where the kernel does not let us make hosts."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("two hosts need unshare and ip")
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"two hosts need to be made by root: {tried.stderr.decode().strip()}")


@dataclass(slots=True)
class Host:
    """One machine. ``folder`` is what it sees as /tmp."""

    name: str
    folder: Path
    address: str
    first: "subprocess.Popen[str]"
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def boot(cls, name: str, folder: Path, address: str) -> "Host":
        (folder / "home").mkdir(parents=True, exist_ok=True)
        users = Path("/etc/passwd").read_text(encoding="utf-8").replace(":/root:", ":/tmp/home:")
        (folder / "passwd").write_text(users, encoding="utf-8")
        command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        first = subprocess.Popen(
            [*command, "sh", "-c", SETUP, "sh", str(folder), name, sys.executable, INIT, str(ROOT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert first.stdout is not None
        ready, _, _ = select.select([first.stdout], [], [], 30)
        if not ready or first.stdout.readline() != "ready\n":
            first.kill()
            raise AssertionError(f"{name} did not boot: {first.communicate(timeout=30)[1]}")
        return cls(name, folder, address, first)

    @property
    def pid(self) -> int:
        """Its first process, as the kernel counts outside."""
        return psutil.Process(self.first.pid).children()[0].pid

    def power_off(self) -> None:
        if self.first.poll() is None:
            self.first.kill()
            self.first.communicate(timeout=30)

    def inside(self, path: Path) -> str:
        return str(Path("/tmp") / path.relative_to(self.folder))

    def popen(self, *command: str, cwd: str = "/tmp", **environ: str) -> "subprocess.Popen[str]":
        """Start ``command`` there."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DB_", "MANTA__", "RAY_AUTH"))
        }
        return subprocess.Popen(
            ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "-u", "-i", f"--wdns={cwd}", "--", *command],
            env=kept | {"HOME": "/tmp/home"} | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *command: str, cwd: str = "/tmp", timeout_s: float = 90, **environ: str) -> Answer:
        """Run ``command`` there to its end."""
        child = self.popen(*command, cwd=cwd, **environ)
        try:
            out, err = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_within(child)
            child.kill()
            raise AssertionError(f"{command} did not end: {child.communicate(timeout=30)}") from None
        return Answer(child.returncode, out, err)

    def python(self, code: str, *arguments: str, timeout_s: float = 90, **environ: str) -> Any:
        """The JSON value that ``code`` prints last there."""
        answer = self.call(sys.executable, "-c", code, *arguments, timeout_s=timeout_s, **environ)
        assert answer.status == 0, answer.err[-3000:]
        return json.loads(answer.out.splitlines()[-1])

    def manta(self, *arguments: str, cwd: str = "/tmp", timeout_s: float = 90, **environ: str) -> Answer:
        return self.call(sys.executable, "-m", "manta", *arguments, cwd=cwd, timeout_s=timeout_s, **environ)

    def start_manta(self, *arguments: str, cwd: str = "/tmp", **environ: str) -> "subprocess.Popen[str]":
        return self.popen(sys.executable, "-m", "manta", *arguments, cwd=cwd, **environ)


def inner(process: "subprocess.Popen[str]") -> psutil.Process:
    """What runs within the host for ``process``, which only waits outside."""
    return wait_for(lambda: psutil.Process(process.pid).children(), "the process within")[0]


def end_within(process: "subprocess.Popen[str]", sig: signal.Signals = signal.SIGKILL) -> None:
    """Send ``sig`` to what runs within the host for ``process``; nothing when that has ended."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            child.send_signal(sig)


def plug_into_network(host: Host) -> None:
    """Give ``host`` its address on a switch of its own: it keeps it when whoever is connected loses power."""
    _ip(host, "link", "add", "lan0", "type", "bridge")
    _ip(host, "addr", "add", f"{host.address}/24", "dev", "lan0")
    _ip(host, "link", "set", "lan0", "up")


def connect(nas: Host, pc: Host) -> None:
    """Lay a cable from ``pc`` to the switch of ``nas``."""
    # The kernel takes the end of a cable to a host that went dark away when it gets to it.
    nas.call("ip", "link", "delete", "port0")
    _ip(nas, "link", "add", "port0", "type", "veth", "peer", "name", "up0", "netns", str(pc.pid))
    _ip(nas, "link", "set", "port0", "master", "lan0", "up")
    _ip(pc, "addr", "add", f"{pc.address}/24", "dev", "up0")
    _ip(pc, "link", "set", "up0", "up")


def _ip(host: Host, *words: str) -> None:
    # Of the machine outside, only the program is used: it knows the other host by its process.
    command = ["nsenter", "-t", str(host.pid), "-n", "ip", *words]
    tried = subprocess.run(command, check=False, capture_output=True, text=True)
    assert tried.returncode == 0, f"{' '.join(words)}: {tried.stderr}"


def copy_of_manta(folder: Path, changed: Mapping[str, str]) -> Path:
    """Another checkout, in which what ``changed`` says is added to the end of files."""
    for package in ("actors", "backtest", "manta", "monitoring", "serve", "trading"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in changed.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
    return folder
