"""A session that leaves a process behind fails, names it and ends it."""

import os
from pathlib import Path

import psutil
import pytest

from tests.plugins import leftovers


@pytest.fixture
def own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the inner pytest be a session of its own, without the time Ray is given to stop."""
    monkeypatch.delenv(leftovers.SESSION_VARIABLE)
    monkeypatch.setenv("MANTA_TEST_GRACE_S", "0.1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "tests.plugins.leftovers", "-p", "no:randomly", "-p", "no:asyncio")


@pytest.mark.usefixtures("own_session")
@pytest.mark.parametrize("detached", [False, True])
def test_leftover_fails_the_session_and_is_ended(pytester: pytest.Pytester, detached: bool):
    pytester.makepyfile(f"""
        import shutil, subprocess

        def test_starts_one():
            # A copy of sleep under the name of the real thing; the shell between them ends at once.
            shutil.copy(shutil.which("sleep"), "gcs_server")
            command = ["setsid", "-f", "./gcs_server", "600"] if {detached} else ["./gcs_server", "600"]
            process = subprocess.Popen(command)
            if {detached}:
                process.wait()
    """)

    result = run(pytester)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*processes left behind*", "*gcs_server 600"])
    line = next(line for line in result.outlines if line.endswith("gcs_server 600"))
    assert not psutil.pid_exists(int(line.split()[0]))


@pytest.mark.usefixtures("own_session")
def test_tidy_session_passes(pytester: pytest.Pytester):
    pytester.makepyfile("""
        import subprocess

        def test_cleans_up():
            subprocess.run(["true"], check=True)
    """)

    assert run(pytester).ret == pytest.ExitCode.OK


def test_processes_of_others_are_not_seen():
    assert psutil.Process(os.getppid()) not in leftovers.session_processes("no such session")
