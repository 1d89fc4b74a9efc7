"""``deploy/ray-cluster.yaml`` as it is written, but for addresses and paths: ``ray up`` over real sshd's."""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manta.cluster.bed import NAS_ADDRESS, PC_ADDRESS, ROOT, Host, connect, plug_into_network, require_namespaces
from tests.manta.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.long(1)]

HEAD = f"{NAS_ADDRESS}:6399"
RAY = str(Path(sys.executable).with_name("ray"))
SSHD = """
ListenAddress {address}
HostKey /tmp/host_key
AuthorizedKeysFile /tmp/home/.ssh/id.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
"""


def sshd() -> str:
    return shutil.which("sshd", path="/usr/sbin:/usr/bin") or ""


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, capture_output=True)


def ssh_host(host: Host, identity: Path, token: str) -> Host:
    """Give ``host`` an sshd that lets ``identity`` in, and Ray's token in its usual file."""
    home = host.folder / "home"
    for name in (".ssh", ".ray"):
        (home / name).mkdir(mode=0o700)
    for name in ("id", "id.pub"):
        shutil.copy(identity.with_name(name), home / ".ssh" / name)
    (home / ".ray" / "auth_token").write_text(token, encoding="utf-8")
    (home / ".ray" / "auth_token").chmod(0o600)
    keygen(host.folder / "host_key")
    (host.folder / "sshd_config").write_text(SSHD.format(address=host.address), encoding="utf-8")
    started = host.call(sshd(), "-f", "/tmp/sshd_config", "-E", "/tmp/ssh.log")
    assert started.status == 0, started.err
    return host


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    require_namespaces()
    if not sshd() or not shutil.which("rsync"):
        pytest.skip("ray up needs sshd and rsync")
    keygen(tmp_path / "id")
    nas = Host.boot("nas", tmp_path / "nas", NAS_ADDRESS)
    try:
        plug_into_network(nas)
        pc = Host.boot("pc", tmp_path / "pc", PC_ADDRESS)
        try:
            connect(nas, pc)
            token = secrets.token_hex(32)
            yield ssh_host(nas, tmp_path / "id", token), ssh_host(pc, tmp_path / "id", token)
        finally:
            pc.power_off()
    finally:
        nas.power_off()


def here(text: str) -> str:
    """The file of the repository, for the machines of this bed."""
    for before, after in (
        ("192.168.1.10", NAS_ADDRESS),
        ("192.168.1.20", PC_ADDRESS),
        ("ssh_user: manta", "ssh_user: root"),
        ("~/.ssh/id_ed25519", "/tmp/home/.ssh/id"),
        ("~/manta/.venv/bin/ray", RAY),
        ("--object-store-memory=500000000", "--object-store-memory=100000000 --num-cpus=1"),
    ):
        assert before in text
        text = text.replace(before, after)
    return text


def nodes(nas: Host) -> list[dict[str, Any]]:
    answer = nas.call(sys.executable, "-m", "manta.cluster_client", "nodes", HEAD, RAY_AUTH_MODE="token")
    found: list[dict[str, Any]] = json.loads(answer.out).get("answer", [])
    return [node for node in found if node["alive"]]


def test_ray_up_starts_head_and_worker_and_ray_stop_ends_them(hosts: tuple[Host, Host]) -> None:
    nas, pc = hosts
    text = (ROOT / "deploy" / "ray-cluster.yaml").read_text(encoding="utf-8")
    (nas.folder / "cluster.yaml").write_text(here(text), encoding="utf-8")
    setting = {"RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    assert "RAY_UP_enable_autoscaler_v2=0" in text
    up = nas.call(RAY, "up", "-y", "--no-config-cache", "/tmp/cluster.yaml", timeout_s=120, **setting)
    assert up.status == 0, up.out[-3000:] + up.err[-3000:]
    found = wait_for(lambda: [node for node in [nodes(nas)] if len(node) == 2], "the worker", 120)[0]
    assert [(node["address"], node["host"], node["head"]) for node in found] == [
        (NAS_ADDRESS, "nas", True),
        (PC_ADDRESS, "pc", False),
    ]
    for host in (nas, pc):
        assert host.call(RAY, "stop").status == 0
        assert host.call("pgrep", "raylet").status == 1
