"""A sweep of the command beside a running Manta: on its Ray, into its database; and one whose coordinator is killed."""

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from backtest.background import NICENESS, grouped_by_session
from tests.manta.conftest import Place, Running, finish, nothing_left, start_replay, wait_for
from trading.intervals import HOUR_MS
from trading.venues.simulator.sample import SAMPLE_MARKET, SESSION_START_MS

pytestmark = [pytest.mark.slow, pytest.mark.long(2)]

SETS = 150
# Two intervals, so that the reference engine does it, slowly enough to be killed amid the work.
GRID = ("--grid", f"period=3:{SETS + 2}:1", "--interval", "1m,5m", "--objective", "total_return")
SWEEP = {
    "strategy": "ma44",
    "market": SAMPLE_MARKET,
    "intervals": ["1m", "5m"],
    "start": SESSION_START_MS - 24 * HOUR_MS,
    "end": SESSION_START_MS,
    "objective": "total_return",
    "grid": {"period": list(range(3, SETS + 3))},
}
RUN = ("sweep", "run", "--strategy", "ma44", "--market", SAMPLE_MARKET, *GRID, "--start", "2025-07-15", "--end")


@pytest.fixture(scope="module")
def running(module_place: Place) -> Iterator[Running]:
    with nothing_left(module_place):
        running = start_replay(module_place, minutes=5, serve=True, ray={"num_cpus": 2})
        yield running
        running.stop()


def ask(running: Running, path: str, body: Any = None) -> Any:
    token = (running.place.data_dir / "secrets" / "api_token").read_text("utf-8").strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{running.url}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def workers_of(running: Running, title: str) -> list[psutil.Process]:
    """Processes of Ray below the running Manta whose task has this name."""
    return [
        process
        for process in psutil.Process(running.facts["pid"]).children(recursive=True)
        if process.is_running() and title in " ".join(process.cmdline())
    ]


def below_live_actors(running: Running, process: psutil.Process) -> bool:
    """Whether it is lower than an actor, and where sessions come first in a session of its own."""
    [recorder] = workers_of(running, "ray::Recorder")
    assert recorder.nice() == 0
    apart = os.getsid(process.pid) == process.pid != os.getsid(recorder.pid)
    return process.nice() == NICENESS and (apart or not grouped_by_session())


def test_the_command_sweeps_on_the_ray_of_the_running_manta(running: Running) -> None:
    place = running.place
    sweep = place.popen(*RUN, "2025-07-16", "--json")
    try:
        wait_for(
            lambda: any(below_live_actors(running, worker) for worker in workers_of(running, "ray::_score")),
            "a batch on Manta's own Ray, below its actors",
            120,
        )
        # It begins no Ray of its own.
        assert not any("raylet" in child.name() for child in psutil.Process(sweep.pid).children(recursive=True))
    finally:
        out, err = finish(sweep, 240)
    assert sweep.returncode == 0, err
    result = json.loads(out)
    assert (result["status"], result["tried"], result["engine"]) == ("done", SETS, "reference")
    assert not (place.data_dir / "sweeps").exists()
    # The API tells of it as of its own.
    shown = ask(running, f"/api/v1/sweeps/{result['run_id']}")
    assert (shown["status"], shown["tried"]) == ("done", SETS)
    # Live actors are as before.
    assert place.call("status", "--json").status == 0


def test_a_killed_coordinator_leaves_a_sweep_that_the_command_finishes(running: Running) -> None:
    path = ask(running, "/api/v1/sweeps", SWEEP)["links"]["self"]
    wait_for(lambda: ask(running, path)["tried"] > 0, "the first scores", 120)
    [coordinator] = workers_of(running, "ray::_sweep")
    assert coordinator.nice() == NICENESS
    coordinator.kill()
    wait_for(lambda: ask(running, path)["status"] == "interrupted", "the sweep to be missed", 60)
    kept = ask(running, path)["tried"]
    assert 0 < kept < SETS

    answer = running.place.call("sweep", "resume", path.rsplit("/", 1)[1], "--json", timeout_s=240)
    assert answer.status == 0, answer.err
    result = answer.value
    assert (result["status"], result["scored"], result["scored_before"]) == ("done", SETS, kept)
    numbers = [item["number"] for item in ask(running, f"{path}/results?limit=5000")["items"]]
    assert sorted(numbers) == list(range(SETS))
