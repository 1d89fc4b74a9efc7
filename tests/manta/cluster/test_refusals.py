"""What is refused before anything is started, and what to do about it."""

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manta.conftest import Place


def token_file(folder: Path, text: str = "ab" * 32, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server at another address of this machine that takes connections and closes them at once."""
    with socket.socket() as server:
        server.bind(("127.0.0.2", 0))
        server.listen()
        ended = threading.Event()

        def hang_up() -> None:
            while not ended.is_set():
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield f"127.0.0.2:{server.getsockname()[1]}"
        ended.set()
        socket.create_connection(server.getsockname()).close()
        thread.join(30)


@pytest.mark.parametrize("address", ["", ":6399", "nas:", "nas:0", "nas:65536", "nas:http", "::1", "a:b:1"])
def test_an_address_that_is_none(place: Place, address: str) -> None:
    answer = place.run("cluster", "join", address, "--json")
    assert (answer.status, answer.value["field"], answer.value["value"]) == (2, "address", address)
    assert "192.168.1.10:6399" in answer.value["fix"]


def test_a_head_that_does_not_answer(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        address = f"127.0.0.2:{taken.getsockname()[1]}"
        answer = place.run("cluster", "join", address, "--json")
    assert (answer.status, answer.value["field"], answer.value["value"]) == (2, "address", address)
    assert "refused" in answer.value["message"]
    assert "ray.listen" in answer.value["fix"]


def test_a_name_that_nobody_knows(place: Place) -> None:
    answer = place.run("cluster", "join", "nas.invalid", "--json")
    assert (answer.status, answer.value["field"]) == (2, "address")
    assert "nas.invalid:6399 cannot be reached" in answer.value["message"]


def test_the_head_itself_cannot_join(place: Place) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        answer = place.run("cluster", "join", f"127.0.0.1:{server.getsockname()[1]}", "--json")
    assert answer.status == 2
    assert "this machine itself" in answer.value["message"]


@pytest.mark.parametrize(
    ("text", "mode", "words", "fix"),
    [
        ("ab" * 32, 0o644, "Others can read", "chmod 600"),
        ("ab" * 32, 0o620, "Others can read", "chmod 600"),
        (" \n", 0o600, "is empty", "manta cluster token"),
    ],
)
def test_a_token_file_that_cannot_be_used(place: Place, deaf: str, text: str, mode: int, words: str, fix: str) -> None:
    answer = place.run("cluster", "join", deaf, "--token-file", token_file(place.folder, text, mode), "--json")
    assert (answer.status, answer.value["field"]) == (2, "token_file")
    assert words in answer.value["message"]
    assert fix in answer.value["fix"]
    assert "abab" not in answer.out + answer.err


def test_no_token_at_all(place: Place, deaf: str) -> None:
    place.environ |= {"HOME": str(place.folder), "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": ""}
    answer = place.run("cluster", "join", deaf, "--json")
    assert (answer.status, answer.value["field"]) == (2, "token_file")
    assert "No such file" in answer.value["message"]


def test_what_listens_there_is_no_ray(place: Place, deaf: str) -> None:
    answer = place.run("cluster", "join", deaf, "--token-file", token_file(place.folder), "--json")
    assert (answer.status, answer.value["field"], answer.value["value"]) == (2, "address", deaf)
    assert "no Ray cluster" in answer.value["message"]


def test_without_listen_there_is_no_token(place: Place) -> None:
    answer = place.run("cluster", "token", "--json")
    assert (answer.status, answer.value["field"]) == (2, "ray.listen")
    assert not place.data_dir.exists()


def test_the_token_stays_the_same_and_is_its_owners_alone(place: Place) -> None:
    place.environ["MANTA__RAY__LISTEN"] = "192.168.1.10"
    first, second = (place.run("cluster", "token", "--json").value for _ in range(2))
    assert first == second
    assert (len(first["token"]), first["address"]) == (64, "192.168.1.10:6399")
    assert stat.S_IMODE(Path(first["file"]).stat().st_mode) == 0o600
    assert place.run("cluster", "token").out == first["token"] + "\n"


def test_nothing_to_show_without_a_running_manta(place: Place) -> None:
    answer = place.run("cluster", "show", "--json")
    assert (answer.status, answer.value["field"]) == (2, "data_dir")
    assert "manta up" in answer.value["fix"]


@pytest.mark.parametrize(
    ("ray", "words"),
    [
        ("listen: nas.local", "no IP address"),
        ("listen: 0.0.0.0", "no address that a PC could join at"),
        ("listen: 127.0.0.1", "no address that a PC could join at"),
        ("listen: 8.8.8.8", "public address"),
        ("{listen: 192.168.1.10, address: 192.168.1.11:6399}", "no meaning with address"),
        ("{listen: 192.168.1.10, port: 65530}", "the six ports after"),
    ],
)
def test_where_ray_must_not_listen(place: Place, ray: str, words: str) -> None:
    section = f"ray: {ray}\n" if ray.startswith("{") else f"ray:\n  {ray}\n"
    place.config(section)
    answer = place.run("config", "check", "--json")
    assert answer.status == 2
    assert answer.value["field"].startswith("ray")
    assert words in answer.value["message"]


@pytest.mark.slow
def test_an_address_of_another_machine_is_told_before_anything_starts(place: Place) -> None:
    place.environ["MANTA__RAY__LISTEN"] = "192.0.2.1"
    answer = place.call("up", "--json")
    assert (answer.status, answer.value["field"], answer.value["value"]) == (2, "ray.listen", "192.0.2.1")
    assert "ip address" in answer.value["fix"]
    assert not (place.data_dir / "postgres").exists()
