"""``manta cluster join``: this machine works for a head for as long as the command runs, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.cluster import LAST_PORT_OFFSET, WORKER_PORTS, node_command, ray_environment
from manta.cluster_client import ask_identity, ask_nodes
from manta.cluster_identity import Identity, require_same
from manta.output import console
from manta.processes import MARK, birth_mark, die_with_parent, kill_all, new_session_id, wait_gone
from trading.config.secrets import SECRET_NAMES
from trading.errors import BadInput, MantaError

__all__ = ["JoinOptions", "join", "token_environment"]

DEFAULT_PORT = 6399
_REACH_S = 5.0
_JOINED_S = 120.0
_LEAVE_S = 15.0
_LEAST_S = 2.0
_PREFIX = "manta-node-"
_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """``address`` is the head's, with or without port; ``token_file`` None: the environment names the token."""

    address: str
    token_file: Path | None
    cpus: int | None
    object_store_mb: int


def join(options: JoinOptions) -> dict[str, Any]:
    """Check, join, and stay until Ctrl-C or SIGTERM.

    Raises BadInput, having started nothing, when the head cannot be reached, refuses the token or is another Manta;
    MantaError when the head ends or loses this machine.
    """
    began = time.monotonic()
    head, port, own = _reach(options.address)
    shown = f"{head}:{port}"
    environment = token_environment(options.token_file, dict(os.environ))
    require_same(ask_identity(shown, environment), Identity.here())
    _clear_predecessors()
    node = _Node(environment)
    cpus = options.cpus or os.cpu_count() or 1
    try:
        node.start(head, port, own, cpus, options.object_store_mb)
        node.wait_joined(shown)
        console.print(f"joined {shown} as {own} with {cpus} CPUs  (Ctrl-C leaves)", markup=False)
        node.wait_end(shown)
    except KeyboardInterrupt:
        console.print("[dim]leaving …[/]")
    finally:
        node.end()
    return {"left": True, "head": shown, "address": own, "cpus": cpus, "seconds": round(time.monotonic() - began, 1)}


def token_environment(token_file: Path | None, base: dict[str, str]) -> dict[str, str]:
    """The environment of all that talks to the head; BadInput when there is no token, or others can read its file."""
    for name in SECRET_NAMES:
        base.pop(name, None)
    if token_file is None and base.get("RAY_AUTH_TOKEN"):
        return ray_environment(None, base, joinable=True)
    path = token_file or Path(base.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    base.pop("RAY_AUTH_TOKEN", None)
    try:
        mode, empty = path.stat().st_mode, not path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_token(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if empty:
        raise _bad_token(path, "is empty")
    if mode & 0o077:
        raise BadInput(
            f"Others can read the token in {path}.", field="token_file", value=str(path), fix=f"chmod 600 {path}"
        )
    return ray_environment(str(path.absolute()), base, joinable=True)


def _bad_token(path: Path, why: str) -> BadInput:
    return BadInput(
        f"The token file {path} {why}.",
        field="token_file",
        value=str(path),
        fix="Put what `manta cluster token` prints on the head into a file of mode 0600 and name it with --token-file.",
    )


def _reach(text: str) -> tuple[str, int, str]:
    """The head's address and port, and this machine's address as the head will see it; BadInput says what is wrong."""
    host, port = _split(text)
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as connection:
            head, own = connection.getpeername()[0], connection.getsockname()[0]
    except OSError as error:
        raise BadInput(
            f"The head at {host}:{port} cannot be reached: {error.strerror or error}.",
            field="address",
            value=text,
            fix="On the head set ray.listen to its address and run `manta up`; let the port through its firewall.",
        ) from error
    if head == own:
        raise BadInput(
            f"{host} is this machine itself.", field="address", value=text, fix="Run this on the PC that is to join."
        )
    return head, port, own


def _split(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not host or ":" in host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise BadInput(
            f"{text!r} is no address of a head.", field="address", value=text, fix="Write it like 192.168.1.10:6399."
        )
    return host, int(port)


def _clear_predecessors() -> None:
    """Remove the folders of joins that were killed and could not do it themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            pid, _, birth = (folder / _OWNER).read_text(encoding="utf-8").partition(" ")
            if birth_mark(int(pid)) != birth:
                shutil.rmtree(folder, ignore_errors=True)


class _Node:
    """Ray's node on this machine: a child of the main thread, known by its mark, with a folder of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._session_id = new_session_id()
        # A patch of Python changes nothing of what is sent; Ray would refuse it unless told so.
        own = {MARK: self._session_id, "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor"}
        self._environment = environment | own
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._log = self._folder / "join.log"
        (self._folder / _OWNER).write_text(f"{os.getpid()} {birth_mark(os.getpid())}", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self._first_port = 0

    def start(self, head: str, port: int, own: str, cpus: int, object_store_mb: int) -> None:
        self._first_port = port + 1
        command = node_command(
            sys.executable,
            head=head,
            port=port,
            address=own,
            temp_dir=str(self._folder),
            num_cpus=cpus,
            object_store_mb=object_store_mb,
        )
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it only makes system calls
                start_new_session=True,
            )

    def wait_joined(self, head: str) -> None:
        """Return once the head counts this node among those alive; MantaError when it does not."""
        deadline = time.monotonic() + _JOINED_S
        while time.monotonic() < deadline:
            self._require_alive(f"Ray could not join {head}")
            nodes = ask_nodes(head, self._environment)
            if any(node["alive"] and node["folder"] == str(self._folder) for node in nodes):
                return
            time.sleep(0.2)
        raise MantaError(f"{head} did not take this machine within {_JOINED_S:.0f} s.", fix=self._firewall())

    def wait_end(self, head: str) -> None:
        while True:
            self._require_alive(f"This machine is no longer part of {head}: the head has ended, or lost it")
            time.sleep(0.5)

    def _require_alive(self, trouble: str) -> None:
        if self._process is not None and self._process.poll() is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise MantaError(f"{trouble}. Ray's last words: {''.join(said)[:300]}", fix=self._firewall())

    def _firewall(self) -> str:
        last = self._first_port + LAST_PORT_OFFSET - 1
        return (
            "Run it again once the head is up; the firewalls of both machines must let TCP ports "
            f"{self._first_port}-{last} and {WORKER_PORTS[0]}-{WORKER_PORTS[1]} through."
        )

    def end(self) -> None:
        """End everything that was started; a second Ctrl-C does not interrupt it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LEAVE_S)
            if left := wait_gone(self._session_id, _LEAST_S):
                kill_all(left, _LEAST_S)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
