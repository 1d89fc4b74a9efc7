"""What a Ray cluster says about itself, asked by a short-lived process, ``python -m manta.cluster_client``.

So whoever wants to know never imports Ray. The token comes by the environment; the answer is one JSON value on stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from manta.cluster_identity import Identity, read_identity
from manta.cluster_probe import NoCluster, TokenRefused, probe
from manta.output import error_body, error_from
from trading.errors import BadInput, MantaError

__all__ = ["ask_identity", "ask_nodes"]

_ANSWER_S = 10
_PROCESS_S = 60.0


def ask_identity(address: str, environment: Mapping[str, str]) -> Identity:
    """What the head at ``address`` is; BadInput when it refuses our token or runs no Manta."""
    return Identity(**_ask("identity", address, environment))


def ask_nodes(address: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each node that is or was part of the cluster, those alive first; the same errors as ``ask_identity``."""
    nodes: list[dict[str, Any]] = _ask("nodes", address, environment)
    return nodes


def _ask(verb: str, address: str, environment: Mapping[str, str]) -> Any:
    try:
        told = subprocess.run(
            [sys.executable, "-m", "manta.cluster_client", verb, address],
            env=dict(environment),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROCESS_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MantaError(f"The Ray cluster at {address} did not answer within {_PROCESS_S:.0f} s.") from error
    try:
        answer = json.loads(told.stdout)
    except ValueError as error:
        said = told.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise MantaError(f"The Ray cluster at {address} could not be asked: {said[0][:500]}") from error
    if "failed" in answer:
        raise error_from(answer["failed"])
    return answer["answer"]


def _identity(client: Any, address: str) -> dict[str, Any]:
    identity = read_identity(client, _ANSWER_S)
    if identity is None:
        raise BadInput(
            f"The Ray cluster at {address} runs no Manta.",
            field="address",
            value=address,
            fix="Start it there with `manta up` and wait until it says that it is up.",
        )
    return asdict(identity)


def _nodes(client: Any, _address: str) -> list[dict[str, Any]]:
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    nodes = [
        {
            "node": node.node_id.hex(),
            "address": node.node_manager_address,
            "host": node.node_manager_hostname,
            "head": node.is_head_node,
            "alive": node.state == GcsNodeInfo.ALIVE,
            "cpus": node.resources_total.get("CPU", 0.0),
            "folder": node.temp_dir,
            "why_dead": node.death_info.reason_message or None,
        }
        for node in client.get_all_node_info(timeout=_ANSWER_S).values()
    ]
    return sorted(nodes, key=lambda node: (not node["alive"], not node["head"], node["address"], node["node"]))


def _require_cluster(address: str) -> None:
    try:
        probe(address)
    except TokenRefused as error:
        raise BadInput(
            f"The head at {address} refuses the token.",
            field="token",
            fix="Copy what `manta cluster token` prints on the head into the file with the token.",
        ) from error
    except NoCluster as error:
        raise BadInput(
            f"What listens at {address} is no Ray cluster, or does not answer.",
            field="address",
            value=address,
            fix="Give ray.listen and ray.port of the head, such as 192.168.1.10:6399.",
        ) from error


_VERBS = {"identity": _identity, "nodes": _nodes}


def main(verb: str, address: str) -> None:
    # Ray writes to stdout as it likes: the answer gets a way of its own.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        _require_cluster(address)
        from ray._raylet import GcsClient

        answer = {"answer": _VERBS[verb](GcsClient(address=address), address)}
    except MantaError as error:
        answer = {"failed": error_body(error)}
    os.write(answers, json.dumps(answer).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
