"""A NAS that runs Manta and a PC that joins it, as two hosts with a network of their own between them."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.manta.cluster.bed import (
    NAS_ADDRESS,
    PC_ADDRESS,
    ROOT,
    Host,
    connect,
    copy_of_manta,
    end_within,
    inner,
    plug_into_network,
    require_namespaces,
)
from tests.manta.conftest import wait_for
from trading.intervals import HOUR_MS
from trading.venues.simulator.sample import SAMPLE_MARKET, SESSION_START_MS

pytestmark = [pytest.mark.slow, pytest.mark.long(3)]

HEAD = f"{NAS_ADDRESS}:6399"
WORK = Path(__file__).with_name("work.py")
# Ray as such, without Manta's checks, in the environment of a cluster.
RAY_ALONE = """
import json, sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_get(b"identity", b"manta", timeout=10)
    print(json.dumps("let in"))
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""
CALL = """
import json, sys, urllib.request
from pathlib import Path
url, body = "http://127.0.0.1:8000" + sys.argv[1], json.loads(sys.argv[2])
token = Path("/tmp/var/secrets/api_token").read_text().strip()
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
data = None if body is None else json.dumps(body).encode()
with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
    print(json.dumps(json.loads(answer.read() or "null")))
"""
# Two intervals are done by the reference engine, which takes long enough for the PC to get its share.
SWEEP = {
    "strategy": "ma44",
    "market": SAMPLE_MARKET,
    "intervals": ["1m", "5m"],
    "grid": {"period": list(range(4, 1000))},
}
# A hundred thousand sets, each of a few hours.
MANY = {
    "strategy": "sma_cross",
    "market": SAMPLE_MARKET,
    "intervals": ["1m"],
    "start": SESSION_START_MS - 2 * HOUR_MS,
    "grid": {"fast": list(range(2, 202)), "slow": list(range(202, 702))},
}
SETS = 100_000
# Two batches of 96 a worker, of which there are two.
IN_FLIGHT = 2 * 2 * 96
STORED = """
import asyncio, json, sys
import asyncpg
async def main():
    connection = await asyncpg.connect(host="127.0.0.1", port=5432, user="btc_bot", database="btc_data",
                                       password=open(sys.argv[1]).read().strip())
    row = await connection.fetchrow("select count(*), count(distinct number) as distinct, min(number), max(number),"
                                    " count(*) filter (where metrics->>'final_equity' is null) as empty"
                                    " from sweep_results where run_id = $1", sys.argv[2])
    print(json.dumps(dict(row)))
asyncio.run(main())
"""
REACH = """
import json, socket, sys
found = {}
for port in map(int, sys.argv[2:]):
    with socket.socket() as probe:
        probe.settimeout(5)
        found[port] = probe.connect_ex((sys.argv[1], port)) == 0
print(json.dumps(found))
"""


@dataclass(slots=True)
class Bed:
    """``nas`` runs a whole Manta that PCs may join; ``pc`` is on, with the token in a file, and has not joined."""

    nas: Host
    pc: Host
    facts: dict[str, Any]

    def show(self) -> dict[str, Any]:
        answer = self.nas.manta("cluster", "show", "--json")
        assert answer.status == 0, answer.err
        found: dict[str, Any] = answer.value
        return found

    def ask(self, path: str, body: Any = None) -> Any:
        """What the API answers on the NAS."""
        return self.nas.python(CALL, path, json.dumps(body))

    def work(self, verb: str, timeout_s: float = 120) -> Any:
        return self.nas.python(f"import runpy, sys; sys.argv = ['work', *sys.argv[1:]]; {RUN}", verb, HEAD, PC_ADDRESS,
                               timeout_s=timeout_s)  # fmt: skip

    def stored(self, run_id: str) -> dict[str, int]:
        """What the tables hold of a sweep."""
        found: dict[str, int] = self.nas.python(STORED, self.facts["database"]["password_file"], run_id)
        return found

    def ended(self, sweep: str, timeout_s: float = 120) -> dict[str, Any]:
        """The sweep at this path once it is over."""
        wait_for(lambda: self.ask(sweep)["status"] not in ("queued", "running"), f"the end of {sweep}", timeout_s)
        found: dict[str, Any] = self.ask(sweep)
        return found

    def works(self) -> bool:
        """Whether the PC is at a batch of a sweep."""
        return self.pc.call("pgrep", "-f", "ray::_score").status == 0

    @contextmanager
    def joined(self, cwd: str = "/tmp", **environ: str) -> Iterator["subprocess.Popen[str]"]:
        """The PC as part of the cluster."""
        child = self.pc.start_manta("cluster", "join", NAS_ADDRESS, *JOIN, "--json", cwd=cwd, **environ)
        try:
            assert child.stderr is not None
            ready, _, _ = select.select([child.stderr], [], [], 120)
            line = child.stderr.readline() if ready else ""
            assert f"joined {HEAD} as {PC_ADDRESS} with 1 CPUs" in line, line + child.communicate(timeout=30)[1]
            yield child
        finally:
            end_within(child, signal.SIGTERM)
            child.communicate(timeout=60)


JOIN = ("--token-file", "/tmp/token", "--cpus", "1", "--object-store-mb", "100")
RUN = f"runpy.run_path({str(WORK)!r}, run_name='__main__')"


def plug_in(folder: Path, nas: Host) -> Host:
    pc = Host.boot("pc", folder, PC_ADDRESS)
    connect(nas, pc)
    return pc


def give_token(pc: Host, token: str) -> None:
    path = pc.folder / "token"
    path.write_text(token, encoding="utf-8")
    path.chmod(0o600)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    require_namespaces()
    folder = tmp_path_factory.mktemp("bed")
    nas = Host.boot("nas", folder / "nas", NAS_ADDRESS)
    hosts = [nas]
    try:
        plug_into_network(nas)
        pc = plug_in(folder / "pc", nas)
        hosts.append(pc)
        order = {
            "data_dir": "/tmp/var",
            "minutes": 5,
            "serve": True,
            "speed": None,
            "compare": False,
            "config": {
                "ray": {"listen": NAS_ADDRESS, "num_cpus": 1, "object_store_mb": 100},
                "storage": {"port": 5432},
            },
        }
        up = nas.popen(sys.executable, str(ROOT / "tests" / "manta" / "replay_process.py"), json.dumps(order))
        assert up.stdout is not None
        ready, _, _ = select.select([up.stdout], [], [], 180)
        line = up.stdout.readline() if ready else ""
        assert '"pid"' in line, line
        nas.environ = {"MANTA_DATA_DIR": "/tmp/var", "MANTA__RAY__LISTEN": NAS_ADDRESS, "RAY_AUTH_MODE": "token",
                       "RAY_AUTH_TOKEN_PATH": "/tmp/var/secrets/ray_token"}  # fmt: skip
        token = nas.manta("cluster", "token").out
        give_token(pc, token)
        bed = Bed(nas, pc, json.loads(line))
        yield bed
        hosts.append(bed.pc)
        inner(up).terminate()
        up.communicate(timeout=60)
        assert up.returncode == 0
    finally:
        for host in hosts:
            host.power_off()


def test_a_joined_pc_computes_what_the_head_does_and_leaves_nothing_behind(bed: Bed) -> None:
    before = {path.name for path in bed.pc.folder.iterdir()}
    with bed.joined() as child:
        shown = bed.show()
        assert (shown["alive"], shown["cpus"]) == (2, 2.0)
        assert [(node["address"], node["host"], node["head"]) for node in shown["nodes"] if node["alive"]] == [
            (NAS_ADDRESS, "nas", True),
            (PC_ADDRESS, "pc", False),
        ]
        told = bed.work("compare")
        assert (told["pc"].pop("host"), told["here"].pop("host")) == ("pc", "nas")
        assert told["pc"] == told["here"]
        assert told["pc"]["trades"] > 0
        sweep = bed.ask("/api/v1/sweeps", SWEEP)["links"]["self"]
        wait_for(bed.works, "the sweep on the PC", 120)
        wait_for(lambda: bed.ask(sweep)["tried"] > 0, "the first scores", 120)
        bed.ask(f"{sweep}/stop", {})
        stopped = bed.ended(sweep)
        assert (stopped["status"], stopped["error"]) == ("stopped", "")
        # What trades and what serves is on the head alone, and so is the database.
        actors = bed.work("actors")
        assert set(actors) == {NAS_ADDRESS}
        assert {"SupervisorActor", "RecorderActor", "BrainActor", "ExecutionActor", "NotifierActor"} <= set(
            " ".join(actors[NAS_ADDRESS]).replace("BrainPack", "BrainActor").split()
        )
        assert bed.nas.python(REACH, "127.0.0.1", "5432", "8000") == {"5432": True, "8000": True}
        reached = bed.pc.python(REACH, NAS_ADDRESS, "6399", "5432", "8000")
        assert reached == {"6399": True, "5432": False, "8000": False}
        inner(child).terminate()
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert json.loads(out)["left"] is True
    assert {path.name for path in bed.pc.folder.iterdir()} == before
    assert bed.pc.call("pgrep", "-f", "raylet|ray::|ray.scripts").status == 1
    wait_for(lambda: bed.show()["alive"] == 1, "the head to see the PC leave")


def test_a_power_cut_costs_the_tasks_under_way_a_second_try_and_the_pc_may_come_back(bed: Bed) -> None:
    with bed.joined():
        asked = bed.nas.popen(sys.executable, str(WORK), "retry", HEAD, PC_ADDRESS)
        try:
            wait_for((bed.pc.folder / "running").exists, "the task on the PC", 60)
            bed.pc.power_off()
            out, err = asked.communicate(timeout=150)
        finally:
            end_within(asked)
            bed.pc.power_off()
            bed.pc = plug_in(bed.pc.folder, bed.nas)
    # Ray tells on the same stream of what it does about the loss.
    assert out.splitlines()[-1:] == ['{"host": "nas"}'], out[-2000:] + err[-2000:]
    shown = bed.show()
    assert shown["alive"] == 1
    assert any(node["address"] == PC_ADDRESS and node["why_dead"] for node in shown["nodes"])
    (bed.pc.folder / "running").unlink()
    assert list(bed.pc.folder.glob("manta-node-*"))
    with bed.joined():
        assert bed.show()["alive"] == 2
        # What the power cut left was cleared away.
        assert len(list(bed.pc.folder.glob("manta-node-*"))) == 1


def test_a_sweep_of_a_hundred_thousand_sets_outlives_the_pc_and_uses_it_again(bed: Bed) -> None:
    with bed.joined():
        sweep = bed.ask("/api/v1/sweeps", MANY)["links"]["self"]
        wait_for(bed.works, "the sweep on the PC", 120)
        wait_for(lambda: bed.ask(sweep)["tried"] > IN_FLIGHT, "the first scores", 120)
        bed.pc.power_off()
        before = bed.ask(sweep)["tried"]
    bed.pc = plug_in(bed.pc.folder, bed.nas)
    # More than what was given away before: what the PC had is done elsewhere, and the rest goes on.
    wait_for(lambda: bed.ask(sweep)["tried"] > before + IN_FLIGHT, "more scores without the PC", 120)
    with bed.joined():
        wait_for(bed.works, "the sweep on the PC that came back", 120)
        done = bed.ended(sweep, 600)
    assert (done["status"], done["error"]) == ("done", "")
    assert (done["tried"], done["combos"], done["refused"]) == (SETS, SETS, 0)
    assert bed.stored(done["run_id"]) == {"count": SETS, "distinct": SETS, "min": 0, "max": SETS - 1, "empty": 0}


def test_a_sweep_is_never_computed_with_other_code(bed: Bed) -> None:
    copy = copy_of_manta(bed.pc.folder / "edited", {})
    inside = bed.pc.inside(copy)
    with bed.joined(cwd=inside, PYTHONPATH=inside):
        # The join has compared the sources; then one is edited, and processes that start now run it.
        with (copy / "trading" / "fold.py").open("a", encoding="utf-8") as file:
            file.write("# A change.\n")
        sweep = bed.ask("/api/v1/sweeps", MANY)["links"]["self"]
        failed = bed.ended(sweep)
    assert failed["status"] == "failed"
    assert "runs other code" in failed["error"]
    assert "same version of Manta on every machine" in failed["error"]
    # What was kept is the head's own.
    assert bed.stored(failed["run_id"])["count"] == failed["tried"] < SETS


def test_another_token_is_refused(bed: Bed) -> None:
    path = bed.pc.folder / "other"
    path.write_text("0" * 64, encoding="utf-8")
    path.chmod(0o600)
    answer = bed.pc.manta("cluster", "join", NAS_ADDRESS, "--token-file", "/tmp/other", "--json")
    path.unlink()
    assert (answer.status, answer.value["field"]) == (2, "token")
    assert "manta cluster token" in answer.value["fix"]


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_ray_itself_refuses_who_has_no_token_or_another(bed: Bed, mode: str) -> None:
    refused = bed.pc.python(RAY_ALONE, HEAD, RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN="1" * 64)
    assert "auth" in refused.lower(), refused


def test_another_source_is_refused_with_the_fix(bed: Bed) -> None:
    before = set(bed.pc.folder.glob("manta-node-*"))
    copy = copy_of_manta(bed.pc.folder / "changed", {"trading/fold.py": "# A change.\n"})
    answer = bed.pc.manta("cluster", "join", NAS_ADDRESS, *JOIN, "--json", cwd=bed.pc.inside(copy))
    assert (answer.status, answer.value["field"]) == (2, "source")
    assert "Manta is" in answer.value["message"]
    assert "same commit" in answer.value["fix"]
    assert set(bed.pc.folder.glob("manta-node-*")) == before
