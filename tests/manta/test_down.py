"""``manta down`` in the middle of everything: it ends by itself, whatever hangs, and the next start goes on from there.

After each, a second run on the same data directory must have made, with the first, what the reference makes.
"""

import os
import signal
import socket
from typing import Any

import psutil
import pytest

from manta.processes import marked
from manta.run_file import read_run_file
from tests.manta.conftest import Place, Running, nothing_left, popen_replay, start_replay, wait_for

pytestmark = pytest.mark.long(5)


def down(place: Place) -> dict[str, Any]:
    """Its answer; it must not have needed to kill the host, whose own deadlines are what is tested."""
    answer = place.call("down", "--json")
    assert (answer.status, answer.value["stopped"], answer.value["how"]) == (0, True, "by itself"), answer
    result: dict[str, Any] = answer.value
    return result


def goes_on(place: Place, minutes: int, **order: Any) -> None:
    """A second run reaches ``minutes`` and both together equal the reference."""
    with nothing_left(place):
        second = start_replay(place, minutes=minutes, compare=True, **order)
        compared = second.facts["compared"]
        second.stop()
    assert compared["mismatches"] == 0, compared["first_difference"]
    assert compared["explained"] == 0
    assert compared["decisions"] + compared["holds"] > minutes
    assert compared["fills"] > 0


def actor_pid(running: Running, role: str) -> int:
    [pid] = [p.pid for p in marked(running.facts["session_id"]) if p.cmdline()[0].startswith(f"ray::{role}")]
    return pid


def postgres_pid(place: Place) -> int:
    return int((place.data_dir / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])


@pytest.mark.covers("S2-5")
def test_down_flushes_and_the_next_start_goes_on(place: Place) -> None:
    with nothing_left(place):
        first = start_replay(place, minutes=60)
        assert down(place)["flushed"]
        first.process.communicate(timeout=60)
    answer = place.run("status", "--json")
    assert (answer.status, answer.value["running"]) == (1, False)
    goes_on(place, 200)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["Brain", "Execution", "Recorder", "Supervisor"])
def test_down_while_an_actor_hangs(place: Place, role: str) -> None:
    with nothing_left(place):
        first = start_replay(place, minutes=60)
        os.kill(actor_pid(first, role), signal.SIGSTOP)
        assert not down(place)["flushed"]
        first.process.communicate(timeout=60)
    goes_on(place, 200)


@pytest.mark.slow
def test_down_while_postgres_is_away(place: Place) -> None:
    """Stopped, so that it does not answer, and killed; each run goes on from what the one before left."""
    for minutes, number in ((60, signal.SIGSTOP), (120, signal.SIGKILL)):
        with nothing_left(place):
            first = start_replay(place, minutes=minutes)
            server = psutil.Process(postgres_pid(place))
            for process in [server, *server.children()] if number == signal.SIGSTOP else [server]:
                process.send_signal(number)
            down(place)
            first.process.communicate(timeout=60)
    goes_on(place, 200)


@pytest.mark.slow
def test_down_while_a_channel_hangs(place: Place) -> None:
    """Somebody accepts the connection and never answers; the messages wait for the next start."""
    channels = {"log": {"kind": "log"}, "silent": {"kind": "discord", "min_interval_s": 0}}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place.environ["DISCORD_WEBHOOK_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/api/webhooks/1/x"
        with nothing_left(place):
            first = start_replay(place, minutes=60, notify={"channels": channels})
            down(place)
            first.process.communicate(timeout=60)
        second = start_replay(place, minutes=70, notify={"channels": channels})
        waiting = {row["channel"]: row["waiting"] for row in place.run("status", "--json").value["health"]["outbox"]}
        second.stop()
    assert waiting["silent"] > 0
    assert waiting.get("log", 0) == 0


@pytest.mark.slow
def test_down_while_history_is_fetched(place: Place) -> None:
    history = {"min_days": 14}
    with nothing_left(place):
        process, _ = popen_replay(place, history=history)
        wait_for(lambda: read_run_file(place.data_dir), "the start", 120)
        down(place)
        process.communicate(timeout=60)
    goes_on(place, 200, history=history)


@pytest.mark.slow
def test_down_and_up_again_and_again_at_full_speed(place: Place) -> None:
    """At 600 times the speed of life some order waits for its next minute at any moment."""
    for minutes in (60, 150, 240):
        with nothing_left(place):
            running = start_replay(place, minutes=minutes, speed=600)
            assert down(place)["flushed"]
            running.process.communicate(timeout=60)
    goes_on(place, 400, speed=600)
