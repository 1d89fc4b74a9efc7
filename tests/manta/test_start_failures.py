"""A start that cannot succeed says why in bounded time, and nothing of it is left."""

import http.server
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manta.processes import free_port
from tests.manta.conftest import (
    Answer,
    Place,
    Running,
    finish,
    nothing_left,
    of_place,
    popen_replay,
    start_replay,
    wait_for,
)

pytestmark = pytest.mark.long(2)

NOWHERE = "https://localhost.invalid"


@pytest.fixture
def place(place: Place) -> Place:
    """Ports of its own, and a venue that no test may reach."""
    place.environ |= {
        "MANTA__SERVE__PORT": str(free_port()),
        "MANTA__RAY__PORT": str(free_port()),
        "MANTA__VENUES__BINANCE__REST_URL": NOWHERE,
    }
    return place


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def up(place: Place, *arguments: str) -> Answer:
    with nothing_left(place):
        answer = place.call("up", *arguments, "--json")
    assert answer.status != 0
    assert answer.value["fix"]
    assert "Traceback" not in answer.err
    return answer


@pytest.mark.parametrize("arguments", [(), pytest.param(("-d",), marks=pytest.mark.slow)])
def test_a_venue_out_of_reach_ends_the_start(place: Place, arguments: tuple[str, ...]) -> None:
    answer = up(place, *arguments)
    assert (answer.status, answer.value["error"]) == (3, "VenueRetryable")
    assert answer.value["field"] == "venues.binance.rest_url"
    assert NOWHERE in answer.value["message"]


def test_a_venue_on_this_machine_is_refused(place: Place) -> None:
    place.environ["MANTA__VENUES__BINANCE__REST_URL"] = "https://127.0.0.1:1"
    answer = up(place)
    assert (answer.status, answer.value["field"]) == (2, "venues.binance.rest_url")


@pytest.mark.parametrize(("variable", "field"), [("SERVE__PORT", "serve.port"), ("RAY__PORT", "ray.port")])
def test_a_taken_port_is_named(place: Place, variable: str, field: str) -> None:
    with taken_port() as port:
        place.environ[f"MANTA__{variable}"] = str(port)
        answer = up(place)
    assert (answer.status, answer.value["error"], answer.value["field"]) == (2, "ConfigError", field)
    assert str(port) in answer.value["message"]


def test_a_taken_database_port_is_named(place: Place) -> None:
    with taken_port() as port:
        place.environ["MANTA__STORAGE__PORT"] = str(port)
        answer = up(place)
    assert (answer.status, answer.value["field"]) == (2, "storage.port")


def test_missing_postgres_programs_are_named(place: Place) -> None:
    place.environ["MANTA__STORAGE__BINARIES"] = str(place.folder)
    answer = up(place)
    assert (answer.status, answer.value["field"]) == (2, "storage.binaries")
    assert str(place.folder) in answer.value["message"]


def test_a_ray_address_where_nothing_listens_is_named(place: Place) -> None:
    place.environ["MANTA__RAY__ADDRESS"] = f"127.0.0.1:{free_port()}"
    answer = up(place)
    assert (answer.status, answer.value["field"]) == (2, "ray.address")


def test_a_ray_address_where_something_else_listens_is_named(place: Place) -> None:
    """The driver finds out, before Ray itself would have looked for minutes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        with nothing_left(place):
            process, _ = popen_replay(place, ray={"address": f"127.0.0.1:{server.server_port}"})
            out, _ = finish(process)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert process.returncode == 2
    assert '"field": "ray.address"' in out
    assert "ray start --head" in out


def test_a_symbol_that_the_venue_does_not_know_is_named(place: Place) -> None:
    with nothing_left(place):
        process, _ = popen_replay(place, markets=["binance:BTCUSDX"])
        out, _ = finish(process)
    assert process.returncode == 2
    assert "BTCUSDX" in out
    assert "BTCUSDT" in out


@pytest.mark.slow
def test_a_book_in_another_currency_than_its_markets_is_named(place: Place) -> None:
    with nothing_left(place):
        process, _ = popen_replay(place, books={"paper": {"currency": "EUR"}})
        out, _ = finish(process)
    assert process.returncode == 2
    assert '"field": "books.paper.currency"' in out
    assert "Set it to USDT" in out


@pytest.mark.parametrize(("step", "number"), [("starting Ray", signal.SIGINT), ("starting the actors", signal.SIGTERM)])
def test_a_signal_during_the_start_leaves_nothing(place: Place, step: str, number: signal.Signals) -> None:
    with nothing_left(place):
        process, _ = popen_replay(place, serve=True)
        assert process.stderr is not None
        while step not in (line := process.stderr.readline()):
            assert line, "it ended before"
        time_of_signal(place, step)
        process.send_signal(number)
        out, _ = finish(process)
    assert (process.returncode, out) == (0, "")


def time_of_signal(place: Place, step: str) -> None:
    """Wait until the step has really begun: processes of its own are there."""
    sign = "ray" if step == "starting Ray" else "manta.graph"
    wait_for(lambda: any(sign in line for line in of_place(place)), sign)


def test_a_signal_to_up_itself_ends_its_start(place: Place) -> None:
    with nothing_left(place):
        process = place.popen("up", "--json")
        wait_for(lambda: of_place(place), "the first process")
        process.terminate()
        out, err = finish(process)
    answer = Answer(process.returncode, out, err)
    # The venue may have been given up before the signal arrived.
    assert (answer.status, answer.value.get("stopped", False)) in ((0, True), (3, False))


def test_whoever_ends_the_wait_for_a_detached_start_ends_the_start(place: Place) -> None:
    with nothing_left(place):
        process = place.popen("up", "-d", "--json")
        wait_for(lambda: of_place(place), "the first process")
        process.terminate()
        out, err = finish(process)
    assert Answer(process.returncode, out, err).value["error"] in ("Interrupted", "VenueRetryable")
    assert process.returncode in (143, 3)


def test_database_settings_that_point_nowhere_end_the_start(place: Place) -> None:
    place.environ |= {"DB_HOST": "127.0.0.1", "DB_PORT": str(free_port())}
    answer = up(place)
    assert (answer.status, answer.value["error"]) == (8, "StorageRetryable")


@pytest.fixture(scope="module")
def running(module_place: Place) -> Iterator[Running]:
    """A Manta that the second one must not disturb."""
    running = start_replay(module_place)
    yield running
    running.stop()


def test_a_folder_that_is_in_use_is_refused_and_its_owner_is_not_disturbed(running: Running) -> None:
    for arguments in ((), ("-d",)):
        second = running.place.call("up", *arguments, "--json")
        assert (second.status, second.value["error"]) == (7, "Halt")
        assert "manta down" in second.value["fix"]
    reset = running.place.run("db", "reset", "--yes", "--json")
    assert (reset.status, reset.value["error"]) == (7, "Halt")
    assert running.place.run("status", "--json").value["pid"] == running.facts["pid"]


def test_a_database_that_is_in_use_is_refused(place: Place, running: Running) -> None:
    password = Path(running.facts["database"]["password_file"]).read_text(encoding="utf-8").strip()
    place.environ |= {"DB_HOST": running.facts["database"]["host"], "DB_PASSWORD": password}
    with nothing_left(place):
        process, _ = popen_replay(place)
        out, err = finish(process)
    assert process.returncode == 7, err
    assert '"error": "Halt"' in out
    reset = place.run("db", "reset", "--yes", "--json")
    assert (reset.status, reset.value["error"]) == (7, "Halt")
    venue = place.run("db", "migrate", "--json")
    assert (venue.status, "simulat" in venue.value["message"]) == (2, True)
    assert password not in out + err + reset.out + venue.out
    assert running.place.run("status", "--json").value["running"] is True
