"""Of two that would do one job exactly one acts, and the other ends with words that say why. With real processes."""

import asyncio
import contextlib
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.crash import CrashPoint
from actors.session import Session
from backtest.reference import RunRecords
from manta.crash.checks import Delivered, check
from manta.crash.matrix import ask, drained, undisturbed
from manta.crash.stretches import SYMBOL, Stretch, scripted_stretch
from manta.host import HostOptions
from manta.host_process import HostProcess
from manta.replay import Replay, ReplayOptions
from trading.errors import Halt
from trading.intervals import MINUTE_MS
from trading.storage.database import Connection

SUCCESSOR = Path(__file__).with_name("successor.py")
EXECUTION = "execution:paper"

pytestmark = [pytest.mark.slow, pytest.mark.long(2)]


@dataclass
class World:
    """A running replay that stands still at ``at_ms``, and what an undisturbed run would store."""

    folder: Path
    replay: Replay
    stretch: Stretch
    reference: RunRecords
    delivered: Delivered
    at_ms: int

    @property
    def logs(self) -> Path:
        return self.folder / "data" / "logs"

    def after(self, minutes: int) -> int:
        return self.stretch.checkpoint(self.at_ms + minutes * MINUTE_MS)

    async def run(self, minutes: int) -> None:
        """Go on to a checkpoint, where everything must be as if nothing had happened."""
        begin_ms, self.at_ms = self.at_ms, self.after(minutes)
        await self.replay.run_to(self.at_ms, exactly=True)
        await drained(self.replay)
        found = await ask(
            self.replay,
            lambda conn: check(conn, self.stretch, self.reference, self.delivered, begin_ms, self.at_ms),
        )
        assert found.wrong == []
        assert found.ok

    async def owner(self) -> str:
        return str(await ask(self.replay, lambda conn: conn.fetchval(
            "select owner from leases where name = $1", EXECUTION
        )))  # fmt: skip

    def halts(self, log: str) -> list[str]:
        """What actors that ended for good reason said into ``log``."""
        lines = [json.loads(line) for line in (self.logs / log).read_text(encoding="utf-8").splitlines()]
        return [line["error"] for line in lines if line["event"] == "actor failed" and line["kind"] == "Halt"]

    def session(self, log_dir: Path) -> Session:
        host = self.replay.host
        return Session(
            session_id="successor",
            namespace="nowhere",
            origin="simulator",
            time_rate=0.0,
            start_ms=self.stretch.start_ms,
            config=host.config,
            target=host.target,
            secrets_path=str(self.folder / "data" / "secrets" / "secrets.json"),
            log_dir=str(log_dir),
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    stretch = scripted_stretch(tmp_path, seed=5, minutes=400)
    options = ReplayOptions(
        config=stretch.config,
        symbol=SYMBOL,
        file=stretch.file,
        start_ms=stretch.start_ms,
        lead=10,
        data_dir=tmp_path / "data",
        apart=True,
        hurt=True,
    )
    async with Replay(options) as replay:
        reference = await undisturbed(replay, stretch)
        delivered = Delivered(tmp_path / "data" / "logs")
        world = World(tmp_path, replay, stretch, reference, delivered, stretch.start_ms)
        await world.run(30)
        yield world


@contextlib.asynccontextmanager
async def successor(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    logs = world.folder / "successor"
    logs.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SUCCESSOR), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(world.session(logs)))
    process.stdin.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"still waiting for {what}"
        await asyncio.sleep(0.05)


async def cut_backends(conn: Connection) -> None:
    await conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", EXECUTION)


@pytest.mark.parametrize("boundary", ["before_send", "before_commit"])
async def test_a_paused_execution_that_wakes_after_its_successor_acted_may_not_act(world: World, boundary: str) -> None:
    """It sleeps with an order in its hands: decided and committed but not sent, or decided and not committed."""
    marker = world.folder / "paused"
    world.replay.crashes.arm(CrashPoint(EXECUTION, boundary, world.at_ms + 3 * MINUTE_MS, "pause", str(marker)))
    going_on = asyncio.ensure_future(world.replay.run_to(world.after(15), exactly=True))
    await until(marker.exists, "the pause")
    asleep = await world.owner()
    await world.replay.query(cut_backends)
    async with successor(world) as heir:
        assert heir.stdout is not None
        await asyncio.wait_for(heir.stdout.readline(), 120)
        assert await world.owner() == f"successor/{heir.pid}"
        heir.terminate()
        assert await heir.wait() == 0
    os.kill(int(asleep.rpartition("/")[2]), signal.SIGCONT)
    told = await until(lambda: world.halts("execution_paper.log"), "the end of the one that slept")
    assert told == [
        f"{EXECUTION} was taken over by successor/{heir.pid}; {asleep} must not write any more. Nothing is to be done: "
        "the new owner goes on from the last commit."
    ]
    await going_on
    await until(lambda: owned_again(world, asleep, heir.pid), "a new execution actor")
    await world.run(30)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "restarted"])
async def test_over_a_restart_of_postgres_one_acts_and_the_other_says_why_it_ends(
    world: World, how: signal.Signals
) -> None:
    """Locks are forgotten while an heir waits for one: whoever is quicker goes on."""
    before = await world.owner()
    async with successor(world) as heir:
        await until(lambda: two_connections(world), "the heir's connection")
        server = int((world.folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(server, how)
        going_on = asyncio.ensure_future(world.replay.run_to(world.after(15), exactly=True))
        await until(lambda: ended(world), "the end of one of the two")
        one = await world.owner()
        told = world.halts("execution_paper.log") + successor_halts(world)
        assert told
        assert all("is already run by" in text or "was taken over by" in text for text in told)
        if one != before and heir.returncode is None:
            heir.terminate()
            await heir.wait()
        await going_on
    await world.run(30)


async def owned_again(world: World, asleep: str, heir: int) -> bool:
    return await world.owner() not in (asleep, f"successor/{heir}")


async def two_connections(world: World) -> bool:
    count = await ask(
        world.replay,
        lambda conn: conn.fetchval("select count(*) from pg_stat_activity where application_name = $1", EXECUTION),
    )
    return bool(count >= 2)


def successor_halts(world: World) -> list[str]:
    log = world.folder / "successor" / "execution_paper.log"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    return [line["error"] for line in lines if line["event"] == "actor failed" and line["kind"] == "Halt"]


def ended(world: World) -> bool:
    return bool(world.halts("execution_paper.log") or successor_halts(world))


async def test_a_second_host_on_the_same_database_ends_and_the_first_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.replay.host.target
    assert target.password_file is not None
    for name, value in {
        "DB_HOST": target.host,
        "DB_PORT": str(target.port),
        "DB_NAME": target.database,
        "DB_USER": target.user,
        "DB_PASSWORD": Path(target.password_file).read_text(encoding="utf-8").strip(),
    }.items():
        monkeypatch.setenv(name, value)
    second = HostProcess(
        HostOptions(
            config=world.replay.host.config,
            data_dir=world.folder / "second",
            origin="simulator",
            time_rate=0.0,
            start_ms=world.stretch.start_ms,
            serve=False,
        )
    )
    with pytest.raises(Halt, match=r"Another Manta works on the database .*: host is already run by"):
        await second.start()
    await world.run(30)
