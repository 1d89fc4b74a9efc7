"""A whole Manta on recorded candles: the venue simulator beside a host process with a fresh data directory.

Demo, parity, benches and end-to-end tests all run on this; nothing in the system knows that its venue is a replay, but
that the database says ``origin=simulator``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actors.crash import CrashBox, CrashPoint
from actors.session import SlowPoint
from manta.host import Host, HostOptions
from manta.host_process import HostProcess
from manta.processes import die_with_parent
from trading.config.model import Config
from trading.errors import BadInput, MantaError, OutcomeUnknown, StorageRetryable
from trading.intervals import MINUTE_MS
from trading.storage.cursors import read_cursors
from trading.storage.database import Connection, Database
from trading.venues.paper.faults import BrokerFault
from trading.venues.simulator.control import SimulatorControl

__all__ = ["PATIENT_S", "Replay", "ReplayOptions", "simulated"]

_SIMULATOR_S = 60.0
_POLL_S = 0.02
# An actor, or a host, that is killed on purpose has to be started again meanwhile, perhaps on a busy machine.
_STALL_S = 180.0
# How long a read waits for a Postgres that may be away because its host has ended.
PATIENT_S = 2.0
_START_TRIES = 3
# The host's pauses that a replay at speed takes without calling its decisions late; a start takes some of them.
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """``speed`` None is lockstep. ``config`` needs no venue URLs. ``data_dir`` None is a folder that goes with the
    replay.

    ``venue`` is whose protocol the candles are replayed in; ``symbol`` is that venue's. ``others`` are further symbols
    with their candle files. ``hurt`` lets ``crash_points``, and those armed later in ``Replay.crashes``, happen.
    ``apart`` runs the host in a process of its own; when that ends it is started again on the same data directory,
    while the simulator goes on.
    """

    config: Config
    symbol: str
    file: Path
    start_ms: int
    venue: str = "binance"
    from_ms: int | None = None
    until_ms: int | None = None
    speed: float | None = None
    lead: int = 500
    serve: bool = False
    data_dir: Path | None = None
    apart: bool = False
    hurt: bool = False
    crash_points: tuple[CrashPoint, ...] = ()
    slow_points: tuple[SlowPoint, ...] = ()
    broker_faults: tuple[BrokerFault, ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    others: Mapping[str, Path] = field(default_factory=dict)
    progress: Callable[[str], None] = field(default=lambda _text: None)


class Replay:
    """``async with Replay(options) as replay``: everything runs inside the block and nothing is left after it."""

    def __init__(self, options: ReplayOptions) -> None:
        self.options = options
        self.host: Host | HostProcess
        self.crashes: CrashBox
        self.restarts = 0
        self.control: SimulatorControl
        self.facts: dict[str, Any] = {}
        self.last_health: list[dict[str, Any]] = []
        self._stack = contextlib.AsyncExitStack()
        self._database: Database | None = None
        self._folder: Path
        self._keep = False

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What an error message points to must still be there when it is read.
        self._keep = error is not None and isinstance(error, MantaError)
        await self._stack.aclose()

    @property
    def market(self) -> str:
        return f"{self.options.venue}:{self.options.symbol}"

    async def query(self, function: Callable[[Connection], Any], *, deadline_s: float = 30.0) -> Any:
        """Run a read on the session's database; StorageRetryable when that is away for longer than ``deadline_s``."""
        if self._database is None:
            raise RuntimeError("the replay is not running")
        try:
            return await self._database.run(function, deadline_s=deadline_s)
        except OutcomeUnknown as error:
            # Whether a read's COMMIT was carried out makes no difference.
            raise StorageRetryable(error.message) from error

    async def positions(self) -> dict[str, int]:
        """All committed cursors."""
        found: dict[str, int] = await self.query(read_cursors, deadline_s=PATIENT_S if self.options.apart else 30.0)
        return found

    async def run_to(
        self, end_ms: int, on_position: Callable[[int], None] | None = None, *, exactly: bool = False
    ) -> None:
        """In lockstep: let the replay run until every actor has committed ``end_ms``; MantaError if it stands still.

        ``exactly`` keeps the simulator from playing any candle that closes later; it must be ``lead`` minutes away.
        """
        latest_ms = end_ms - self.options.lead * MINUTE_MS if exactly else None
        last, moved_at = 0, time.monotonic()
        while True:
            try:
                if await self.revive():
                    moved_at = time.monotonic()
                positions = await self.positions()
            except StorageRetryable:
                if not self.options.apart:
                    raise
                # The host is ending, or its Postgres is: either is back soon, or the replay stands still.
                positions = {}
            watermark = self._watermark(positions)
            if watermark is not None:
                await self.control.watermark(min(watermark, latest_ms or watermark))
                if on_position is not None:
                    on_position(watermark)
                if watermark >= end_ms:
                    return
            furthest = sum(positions.values()) or last
            if furthest != last:
                last, moved_at = furthest, time.monotonic()
            elif time.monotonic() - moved_at > _STALL_S:
                raise MantaError(f"The replay stands still at {positions}.", fix=f"See {self.host.data_dir / 'logs'}.")
            await asyncio.sleep(_POLL_S)

    async def revive(self) -> bool:
        """Start a host that ended again; whether that was necessary. Only for a host apart."""
        if not isinstance(self.host, HostProcess) or not self.host.ended:
            return False
        self.restarts += 1
        await self._forget_database()
        for left in reversed(range(_START_TRIES)):
            try:
                await self._start_host()
                break
            except MantaError:
                # On a busy machine what the last host left behind may take its time to go.
                if not left:
                    raise
        return True

    async def settle(self) -> int:
        """At speed: hold the replay and wait until every book has caught up; returns the last close time handled."""
        await self.control.pause()
        deadline = time.monotonic() + _STALL_S
        stable_since, before = time.monotonic(), {}
        while time.monotonic() < deadline:
            positions = await self.positions()
            if positions != before:
                stable_since, before = time.monotonic(), positions
            recorded = positions.get(f"recorder:{self.market}")
            if self._watermark(positions) == recorded and time.monotonic() - stable_since > 0.5:
                return recorded or 0
            await asyncio.sleep(_POLL_S)
        raise MantaError(f"The pipeline did not settle: {before}.", fix=f"See {self.host.data_dir / 'logs'}.")

    async def stop_host(self) -> list[dict[str, Any]]:
        """Take everything but the simulator down now; returns the actors' last health."""
        await self._forget_database()
        self.last_health = await self.host.stop()
        return self.last_health

    async def _forget_database(self) -> None:
        if self._database is not None:
            await self._database.close()
            self._database = None

    def _remove(self, folder: Path) -> None:
        if self._keep:
            for part in folder.iterdir():
                if part.name != "logs":
                    shutil.rmtree(part, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _watermark(self, positions: dict[str, int]) -> int | None:
        """The lowest committed cursor: a timeframe or a brain may have pushed on what it has yet to commit itself."""
        config = self.host.config
        books = sorted({item.book for item in config.strategies})
        writers = ["recorder", "timeframe", "brain", *(f"execution:{book}" for book in books)]
        found = [positions.get(f"{writer}:{market}") for writer in writers for market in config.markets]
        return None if None in found else min(position for position in found if position is not None)

    async def _start(self) -> None:
        options = self.options
        folder = options.data_dir
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="manta-"))
            self._stack.callback(self._remove, folder)
        self._folder = folder
        self.crashes = CrashBox(folder / "crashes")
        for point in options.crash_points:
            self.crashes.arm(point)
        await self._start_simulator()
        for fault in options.faults:
            await self.control.fault(**fault)
        await self._start_host()
        self._stack.push_async_callback(self.stop_host)

    async def _start_host(self) -> None:
        options = self.options
        self.host = (HostProcess if options.apart else Host)(
            HostOptions(
                config=simulated(options.config, options.venue, self.facts, options.speed),
                data_dir=self._folder,
                origin="simulator",
                time_rate=options.speed or 0.0,
                start_ms=options.start_ms if options.speed is None else None,
                serve=options.serve,
                crash_dir=self.crashes.folder if options.hurt or options.crash_points else None,
                slow_points=options.slow_points,
                broker_faults=options.broker_faults,
                progress=options.progress,
            )
        )
        await self.host.start()
        self._database = Database(self.host.target, application_name="manta replay")

    async def _start_simulator(self) -> None:
        options = self.options
        order = {
            "venue": options.venue,
            # The limits are of the venue's time, which passes much faster here than the clock that they are kept by.
            "limited": False,
            "files": {symbol: str(file) for symbol, file in {options.symbol: options.file, **options.others}.items()},
            "start_ms": options.start_ms,
            "from_ms": options.from_ms,
            "until_ms": options.until_ms,
            "speed": options.speed,
            "lead": options.lead,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "manta.simulator",
            json.dumps(order),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=dict(os.environ),
            preexec_fn=die_with_parent(signal.SIGTERM),
            start_new_session=True,
        )
        self._stack.push_async_callback(_end, process)
        told = process.stdout or asyncio.StreamReader()
        line = await asyncio.wait_for(told.readline(), _SIMULATOR_S)
        facts = json.loads(line or b"{}")
        if "rest_url" not in facts:
            raise BadInput(
                facts.get("message", "The simulator did not start."),
                field=facts.get("field"),
                value=facts.get("value"),
                fix=facts.get("fix"),
            )
        self.facts = facts
        self.control = SimulatorControl(facts["control_url"])
        self._stack.push_async_callback(self.control.close)


def simulated(config: Config, venue: str, facts: Mapping[str, Any], speed: float | None) -> Config:
    """``config`` with the simulator, that told ``facts``, as its ``venue``.

    At N times the speed a pause of the host is N times as long for the venue, so what counts as late grows along.
    """
    data = config.model_dump()
    place = data["venues"][venue]
    place |= {"rest_url": facts["rest_url"], "stream_url": facts["stream_url"]}
    if "weight_per_minute" in place:
        place["weight_per_minute"] = 1_000_000
    if speed is not None:
        for book in data["books"].values():
            book["late_after_s"] = max(float(book["late_after_s"]), _PATIENCE_S * speed)
    return Config.model_validate(data)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()
