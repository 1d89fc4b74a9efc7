"""A stopped worker is ended by the kernel; a number that means another process by now is left alone."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.processes import end_worker


@pytest.fixture
def stopped(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["bash", "-c", f"exec -a {request.param} sleep 60"])
    deadline = time.monotonic() + 60
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(request.param.encode()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("stopped", ["ray::ExecutionActor"], indirect=True)
def test_a_stopped_worker_is_ended(stopped: subprocess.Popen[bytes]) -> None:
    assert end_worker(stopped.pid)
    assert stopped.wait(60) == -signal.SIGKILL
    assert not end_worker(stopped.pid)


@pytest.mark.parametrize("stopped", ["editor"], indirect=True)
def test_what_is_no_worker_is_left_alone(stopped: subprocess.Popen[bytes]) -> None:
    assert not end_worker(stopped.pid)
    assert stopped.poll() is None
