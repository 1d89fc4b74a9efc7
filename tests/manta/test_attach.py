"""Manta on a Ray that somebody else started: it works there, and leaves that Ray as it found it."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.cluster import head_command, ray_environment
from manta.processes import die_with_parent, free_port
from tests.manta.conftest import Place, finish, nothing_left, popen_replay, start_replay, wait_for
from trading.storage.settings import write_secret

pytestmark = [pytest.mark.slow, pytest.mark.long(3)]

ASK = """
import json, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
actors = ray.util.list_named_actors(all_namespaces=True)
print(json.dumps([actor["namespace"] + " " + actor["name"] for actor in actors]))
"""
ALTER = """
import json, sys
from ray._common.usage import usage_constants, usage_lib
from ray._private import ray_constants
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
facts = usage_lib.get_cluster_metadata(client) | {"ray_version": sys.argv[2]}
client.internal_kv_put(
    usage_constants.CLUSTER_METADATA_KEY, json.dumps(facts).encode(), True, ray_constants.KV_NAMESPACE_CLUSTER
)
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that is not Manta's, guarded by a token."""

    process: "subprocess.Popen[bytes]"
    address: str
    environ: dict[str, str]

    def run(self, code: str, *arguments: str) -> str:
        told = subprocess.run(
            [sys.executable, "-c", code, self.address, *arguments],
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return told.stdout

    def actors(self) -> list[str]:
        found: list[str] = json.loads(self.run(ASK))
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    token = write_secret(tmp_path_factory.mktemp("token") / "token", secrets.token_hex(32))
    full = ray_environment(str(token))
    environ = {name: value for name, value in full.items() if os.environ.get(name) != value}
    port = free_port()
    process = subprocess.Popen(
        head_command(
            sys.executable, port=port, agent_port=free_port(), temp_dir=str(folder), num_cpus=2, object_store_mb=100
        ),
        env=full,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - it only makes system calls
        start_new_session=True,
    )
    found = Cluster(process, f"127.0.0.1:{port}", environ)
    wait_for(lambda: answers(port), "Ray", 60)
    yield found
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def guest(place: Place, cluster: Cluster) -> Place:
    """A place whose environment lets it into the cluster."""
    place.environ |= cluster.environ
    return place


def test_a_cluster_is_used_and_left_as_it_was(guest: Place, cluster: Cluster) -> None:
    before = cluster.actors()
    with nothing_left(guest):
        running = start_replay(guest, serve=True, ray={"address": cluster.address})
        assert running.facts["ray"] == cluster.address
        assert any(f"manta-{running.facts['session_id']} supervisor" in name for name in cluster.actors())
        status = guest.run("status", "--json").value
        assert status["health"]["database"] == "ok"
        down = guest.call("down", "--json")
        assert down.value["stopped"] is True
        running.process.communicate(timeout=60)
    assert cluster.process.poll() is None
    assert cluster.actors() == before


def test_a_failed_start_leaves_no_actor_behind(guest: Place, cluster: Cluster) -> None:
    with nothing_left(guest):
        process, _ = popen_replay(guest, markets=["binance:BTCUSDX"], ray={"address": cluster.address})
        out, _ = finish(process)
    assert (process.returncode, "BTCUSDX" in out) == (2, True)
    assert not [name for name in cluster.actors() if name.startswith("manta-")]


def test_the_next_start_ends_the_actors_of_a_killed_host(guest: Place, cluster: Cluster) -> None:
    with nothing_left(guest):
        first = start_replay(guest, ray={"address": cluster.address})
        first.process.kill()
        first.process.communicate(timeout=120)
        second = start_replay(guest, minutes=60, ray={"address": cluster.address})
        spaces = {name.split(" ")[0] for name in cluster.actors() if name.startswith("manta-")}
        assert spaces == {f"manta-{second.facts['session_id']}"}
        second.stop()
    assert not [name for name in cluster.actors() if name.startswith("manta-")]


def test_without_the_token_the_error_names_it(place: Place, cluster: Cluster) -> None:
    place.environ |= {"RAY_AUTH_MODE": "disabled"}
    with nothing_left(place):
        process, _ = popen_replay(place, ray={"address": cluster.address})
        out, _ = finish(process)
    assert process.returncode == 2
    failed = json.loads(out)["failed"]
    assert failed["field"] == "ray.address"
    assert "RAY_AUTH_TOKEN_PATH" in failed["fix"]


def test_another_version_is_named(guest: Place, cluster: Cluster) -> None:
    """The record of its version, which Ray compares with its own, is altered in the running cluster."""
    import ray

    cluster.run(ALTER, "1.2.3")
    try:
        with nothing_left(guest):
            process, _ = popen_replay(guest, ray={"address": cluster.address})
            out, _ = finish(process)
    finally:
        cluster_version_back(cluster, ray.__version__)
    assert process.returncode == 2
    failed = json.loads(out)["failed"]
    assert (failed["error"], failed["field"]) == ("ConfigError", "ray.address")
    assert "1.2.3" in failed["message"]
    assert f"ray=={ray.__version__}" in failed["fix"]


def cluster_version_back(cluster: Cluster, version: str) -> None:
    cluster.run(ALTER, version)
