"""A running Manta as its user sees it: status, logs, who listens, a database beside it, an end that leaves nothing."""

import http.client
import json
import os
import select
import signal
import subprocess
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from manta.processes import marked
from tests.manta.conftest import Place, Running, living, nothing_left, start_replay, wait_for
from trading.venues.simulator.sample import SAMPLE_MARKET


@pytest.fixture(scope="module")
def running(module_place: Place) -> Iterator[Running]:
    """One for all tests of this module; the end itself is a test, too."""
    with nothing_left(module_place):
        running = start_replay(module_place, serve=True)
        yield running
        down = module_place.call("down", "--json")
        running.process.communicate(timeout=60)
        assert (down.status, down.value["stopped"], running.process.returncode) == (0, True, 0)
        assert not living(running.facts["started"])


def test_status_says_what_runs_and_how_well(running: Running) -> None:
    answer = running.place.run("status", "--json")
    assert answer.status == 0
    facts = answer.value
    assert (facts["running"], facts["origin"], facts["url"]) == (True, "simulator", running.url)
    assert facts["pid"] == running.facts["pid"]
    assert 200 < facts["memory_pss_mb"] < 4000
    assert facts["health"]["markets"][0]["market"] == SAMPLE_MARKET
    words = running.place.run("status")
    assert f"at {running.url}" in words.out
    assert "health: " in words.out


def test_status_sees_a_stopped_actor_before_anybody_misses_it(running: Running) -> None:
    [pid] = [p.pid for p in marked(running.facts["session_id"]) if p.cmdline()[0].startswith("ray::Brain")]
    os.kill(pid, signal.SIGSTOP)
    try:
        facts = running.place.run("status", "--json").value
    finally:
        os.kill(pid, signal.SIGCONT)
    assert facts["health"]["status"] != "ok"
    assert any(f"brain: its process {pid} is stopped" in reason for reason in facts["health"]["reasons"])
    assert {actor["actor"] for actor in facts["health"]["actors"]} >= {"recorder", "brain", "notifier"}


def test_status_answers_though_postgres_does_not(running: Running) -> None:
    file = running.place.data_dir / "postgres" / "postmaster.pid"
    server = psutil.Process(int(file.read_text(encoding="utf-8").split()[0]))
    paused = [server, *server.children()]
    for process in paused:
        process.suspend()
    try:
        answer = running.place.run("status")
    finally:
        for process in paused:
            process.resume()
    assert answer.status == 0
    assert "health: down" in answer.out
    assert "! database: cannot be reached: it did not answer" in answer.out


def test_logs_are_merged_in_order_or_chosen_by_actor(running: Running) -> None:
    merged = running.place.run("logs", "-n", "40", "--json").value
    stamps = [record["timestamp"] for record in merged]
    assert stamps == sorted(stamps)
    assert {"recorder", "brain"} <= {
        record["logger"] for record in running.place.run("logs", "--json", "-n", "999").value
    }
    feed = running.place.run("logs", f"feed:{SAMPLE_MARKET}", "--json")
    assert all("feed" in record["logger"] or "binance" in record["logger"] for record in feed.value)
    unknown = running.place.run("logs", "nobody", "--json")
    assert (unknown.status, "brain" in unknown.value["fix"]) == (2, True)
    assert running.place.run("logs", "ray", "-n", "1").status == 0


def test_logs_can_be_followed_until_interrupted(running: Running) -> None:
    follower = running.place.popen("logs", "--follow")
    log = running.place.data_dir / "logs" / "zz.log"
    assert follower.stdout is not None
    shown = b""

    def is_shown() -> bool:
        nonlocal shown
        # Lines written before the follower looked are not shown, so one is written until it is.
        with log.open("a", encoding="utf-8") as stream:
            stream.write('{"event": "a line"}\n')
        if select.select([follower.stdout], [], [], 0.1)[0]:
            shown += os.read(follower.stdout.fileno(), 65536)
        return b'"a line"' in shown

    try:
        wait_for(is_shown, "a line")
    finally:
        follower.terminate()
        follower.communicate(timeout=120)
        log.unlink()
    assert follower.returncode == 143


def listeners(pids: set[int]) -> list[str]:
    """Local addresses of the TCP sockets on which ``pids`` listen, as ``ss`` tells them."""
    told = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    return [line.split()[3] for line in told.splitlines() if any(f"pid={pid}," in line for pid in pids)]


def test_nothing_of_ours_listens_beyond_loopback(running: Running) -> None:
    pids = {running.facts["pid"], *running.facts["started"]}
    pids |= {process.pid for process in marked(running.facts["session_id"])}
    pids |= {child.pid for child in psutil.Process(running.facts["pid"]).children(recursive=True)}
    addresses = listeners(pids)
    assert running.url is not None
    assert running.url.removeprefix("http://") in addresses
    assert f"[::ffff:127.0.0.1]:{running.facts['ray'].rpartition(':')[2]}" in addresses
    beyond = [
        address for address in addresses if not address.startswith(("127.0.0.1:", "[::1]:", "[::ffff:127.0.0.1]:"))
    ]
    assert beyond == []


# Each of them would cost every actor from 3 to 40 MB; only feeds and the notifier speak HTTP themselves.
HEAVY = {"ccxt", "fastapi", "numba", "numpy", "pandas", "pyarrow", "pydantic_settings", "rich", "starlette", "typer"}
HTTP = {"aiohttp", "yarl"}


def test_actors_load_only_what_they_use(running: Running) -> None:
    loaded = {name: set(packages) for name, packages in running.facts["packages"].items()}
    assert set(loaded) == {
        f"feed:{SAMPLE_MARKET}", "recorder", f"timeframe:{SAMPLE_MARKET}", "brain", "execution:paper", "notifier"
    }  # fmt: skip
    assert all({"actors", "asyncpg", "ray", "trading"} <= packages for packages in loaded.values())
    assert {name: packages & HEAVY for name, packages in loaded.items() if packages & HEAVY} == {}
    assert {name.partition(":")[0] for name, packages in loaded.items() if packages & HTTP} == {"feed", "notifier"}
    assert {name.partition(":")[0] for name, packages in loaded.items() if "websockets" in packages} == {"feed"}


def test_the_api_answers_where_status_says(running: Running) -> None:
    with urllib.request.urlopen(
        f"{running.url}/api/v1/candles/latest?symbol=BTCUSDT&interval=1m", timeout=10
    ) as answer:
        assert answer.status == http.client.OK
        assert json.load(answer)


def test_the_running_database_serves_commands_beside_it(running: Running) -> None:
    """Another process finds the bundled server that runs, and leaves it running."""
    answer = running.place.run("db", "migrate", "--json")
    assert (answer.status, answer.value["error"]) == (2, "ConfigError")
    assert "simulat" in answer.value["message"]
    assert running.place.run("status", "--json").value["health"]["database"] == "ok"


def test_no_secret_is_in_a_command_line_or_a_log(running: Running) -> None:
    secrets = [
        path.read_text(encoding="utf-8").strip()
        for path in (running.place.data_dir / "secrets").iterdir()
        if path.name != "secrets.json"
    ]
    assert secrets
    told = "\n".join(" ".join(process.cmdline()) for process in marked(running.facts["session_id"]))
    told += "".join(path.read_text(encoding="utf-8") for path in (running.place.data_dir / "logs").iterdir())
    assert not [secret for secret in secrets if secret in told]
