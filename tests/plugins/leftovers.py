"""Fails the session when a process it started outlives it, and ends that process.

Every process started by a test inherits ``MANTA_TEST_SESSION``, so one that detached itself is found too. Ray workers
and Postgres backends overwrite the memory that shows their environment when they set their title; they are found
through their parent.
"""

import os
import re
import uuid

import psutil
import pytest

SESSION_VARIABLE = "MANTA_TEST_SESSION"
# What pytest itself keeps for its lifetime, such as multiprocessing's resource tracker, is not in here.
OURS = re.compile(r"\bray\b|raylet|gcs_server|ray::|postgres|-m (?:manta|bench)\b|bin/manta\b|chrom(?:e|ium)")
# Ray and Postgres take some seconds to stop after they were told to.
GRACE_S = float(os.environ.get("MANTA_TEST_GRACE_S", "15"))


def pytest_configure(config: pytest.Config) -> None:
    # A pytest started by a test of pytest plugins shares the outer session, whose processes are not its own.
    if SESSION_VARIABLE not in os.environ:
        config.pluginmanager.register(LeftoverGuard(str(uuid.uuid4())), "leftover-guard")


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:160] or process.name()}"
    except psutil.Error:
        return str(process.pid)


def session_processes(session_id: str) -> set[psutil.Process]:
    """Return the live processes this pytest process started, directly or not, including those that detached."""
    me = psutil.Process()
    found = set(me.children(recursive=True))
    for process in psutil.process_iter():
        if process != me and process not in found and _environment(process).get(SESSION_VARIABLE) == session_id:
            found.add(process)
            try:
                found.update(process.children(recursive=True))
            except psutil.NoSuchProcess:
                continue
    return found - {me}


def _is_ours(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return OURS.search(f"{process.name()} {' '.join(process.cmdline())}") is not None
    except psutil.NoSuchProcess:
        return False


class LeftoverGuard:
    """Marks the session's children at the start and looks for them at the end."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._left: list[str] = []
        os.environ[SESSION_VARIABLE] = session_id

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        suspects = [process for process in session_processes(self._session_id) if _is_ours(process)]
        _, alive = psutil.wait_procs(suspects, timeout=GRACE_S)
        self._left = sorted(_describe(process) for process in alive)
        for process in alive:
            process.terminate()
        for process in psutil.wait_procs(alive, timeout=5)[1]:
            process.kill()
        if self._left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left:
            terminalreporter.section("processes left behind", red=True)
            for line in self._left:
                terminalreporter.write_line(line, red=True)

    def pytest_unconfigure(self) -> None:
        os.environ.pop(SESSION_VARIABLE, None)
