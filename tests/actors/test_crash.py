"""Where a session may be hurt: a point happens once, to the one it names, from its time on."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.crash import CrashBox, CrashPoint, carry_out


@pytest.fixture
def point(tmp_path: Path) -> CrashPoint:
    return CrashPoint("brain", "before_commit", 1000, "self", str(tmp_path / "marker"))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_point_is_due_to_its_actor_at_its_boundary_from_its_time_on(tmp_path: Path, point: CrashPoint) -> None:
    box = CrashBox(tmp_path / "armed")
    assert box.take("brain", "before_commit", 1000) is None
    box.arm(point)
    assert box.take("recorder", "before_commit", 1000) is None
    assert box.take("brain", "after_commit", 1000) is None
    assert box.take("brain", "before_commit", 999) is None
    assert box.take("brain", "before_commit", 1000) == point


def test_a_point_happens_once_also_to_those_who_come_again(tmp_path: Path, point: CrashPoint) -> None:
    box = CrashBox(tmp_path / "armed")
    box.arm(point)
    assert box.take("brain", "before_commit", 1000) == point
    assert Path(point.marker).exists()
    assert CrashBox(tmp_path / "armed").take("brain", "before_commit", 2000) is None
    box.arm(point)
    assert box.take("brain", "before_commit", 1000) is None


def test_what_is_disarmed_does_not_happen(tmp_path: Path, point: CrashPoint) -> None:
    box = CrashBox(tmp_path / "armed")
    box.arm(point)
    box.disarm()
    assert box.take("brain", "before_commit", 1000) is None
    assert not Path(point.marker).exists()


def test_a_victim_gets_sigkill(point: CrashPoint, sleeper: subprocess.Popen[bytes]) -> None:
    carry_out(replace(point, victim="host"), {"host": sleeper.pid}, lambda: None)
    assert sleeper.wait(60) == -signal.SIGKILL


def test_a_connection_is_cut(point: CrashPoint) -> None:
    cuts: list[int] = []
    carry_out(replace(point, victim="connection"), {}, lambda: cuts.append(1))
    assert cuts == [1]


async def test_in_commit_strikes_after_the_step_that_sends_commit(point: CrashPoint) -> None:
    happened: list[str] = []
    cut = replace(point, boundary="in_commit", victim="connection")
    carry_out(cut, {}, lambda: happened.append("cut"))
    happened.append("commit")
    await asyncio.sleep(0)
    assert happened == ["commit", "cut"]
