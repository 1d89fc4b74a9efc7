"""A host in a process of its own, which may be killed as the kernel or a power cut would.

The process (``python -m manta.host_process``) reads pickled ``HostOptions`` from stdin, prints one JSON line when
everything is up, runs until SIGTERM, and prints the actors' last health. Both ends are this same program.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from manta.host import Host, HostOptions
from manta.output import error_body, error_from
from manta.processes import die_with_parent
from trading.errors import MantaError
from trading.logs import configure_logging
from trading.storage.settings import DatabaseTarget

__all__ = ["HostProcess"]

_UP_S = 240.0
_DOWN_S = 90.0


class HostProcess:
    """Like ``Host``, but apart: ``start`` returns when everything is up, ``ended`` says that it died or gave up.

    A host that ended is not started again by itself: make a new one on the same data directory.
    """

    def __init__(self, options: HostOptions) -> None:
        self.options = options
        self.config = options.config
        self.data_dir = options.data_dir.absolute()
        self.target: DatabaseTarget
        self.session_id = ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The host's process; RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError("the host was not started")
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    async def start(self) -> None:
        """Bring everything up; raises the host's own MantaError when it could not."""
        (self.data_dir / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.data_dir / "logs" / "host_process.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "manta.host_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env=dict(os.environ),
                preexec_fn=die_with_parent(signal.SIGTERM),
                start_new_session=True,
            )
        try:
            facts = await asyncio.wait_for(
                self._told(pickle.dumps(replace(self.options, progress=_silent, warn=_silent))), _UP_S
            )
        except BaseException:
            await self.stop()
            raise
        if "database" not in facts:
            await self._process.wait()
            raise (
                error_from(facts["failed"])
                if "failed" in facts
                else MantaError(
                    f"The host ended with status {self._process.returncode} while it started.",
                    fix=f"See {self.data_dir / 'logs'}.",
                )
            )
        self.target = DatabaseTarget(**facts["database"])
        self.session_id = facts["session_id"]

    async def stop(self) -> list[dict[str, Any]]:
        """Flush and end everything; returns the actors' last health. Nothing happens when it has ended already."""
        if self._process is None or self.ended:
            return []
        self._process.terminate()
        try:
            last = await asyncio.wait_for(self._line(), _DOWN_S)
            await asyncio.wait_for(self._process.wait(), _DOWN_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            return []
        return list(last.get("actors", []))

    async def wait_ended(self) -> int:
        """Wait until the process is gone; returns its status, negative for the signal that killed it."""
        return -1 if self._process is None else await self._process.wait()

    async def _told(self, order: bytes) -> dict[str, Any]:
        """Give the host its order; returns what it says when it is up."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(order)
            self._process.stdin.close()
        return await self._line()

    async def _line(self) -> dict[str, Any]:
        told = self._process.stdout if self._process is not None else None
        line = b"" if told is None else await told.readline()
        answer: dict[str, Any] = json.loads(line or b"{}")
        return answer


def _silent(_text: str) -> None:
    """Steps are told to nobody: the process apart has no terminal."""


async def _run(options: HostOptions) -> int:
    host = Host(options)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stop = asyncio.create_task(stopping.wait())
    status = 0
    try:
        await _first(stop, host.start())
        if not stopping.is_set():
            _say({"database": asdict(host.target), "session_id": host.session_id, "pid": os.getpid()})
            await _first(stop, host.watch())
    except MantaError as error:
        status = error.exit_code
        _say({"failed": error_body(error)})
    last = await host.stop()
    _say({"actors": last})
    return status


async def _first(stop: asyncio.Task[bool], work: Any) -> None:
    """Run ``work`` until it ends or ``stop`` does; it is cancelled, and has cleaned up, then."""
    working = asyncio.ensure_future(work)
    await asyncio.wait([stop, working], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
        return
    working.result()


def _say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts, default=str) + "\n")
    sys.stdout.flush()


def main() -> int:
    options: HostOptions = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our parent
    configure_logging(Path(options.data_dir) / "logs" / "host.log")
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main())
