"""``manta cluster show`` and ``token``: the machines of the cluster that runs here, and what lets one in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from actors.cluster import ray_environment
from manta.cluster_client import ask_nodes
from manta.ray_head import join_token, session_token
from manta.run_file import read_run_file
from trading.config.loading import data_dir, load_config
from trading.errors import BadInput, ConfigError

__all__ = ["nodes_words", "show_nodes", "show_token"]


def show_nodes(path: Path | None) -> dict[str, Any]:
    """The machines of the Ray that Manta runs on; BadInput when it does not run."""
    config, folder = load_config(path, os.environ), data_dir(path, os.environ)
    facts = read_run_file(folder)
    if facts is None:
        raise BadInput(f"No Manta runs on {folder}.", field="data_dir", value=str(folder), fix="Start it: `manta up`.")
    environment = dict(os.environ)
    if not facts["attached"]:
        listen = config.ray.listen is not None and not facts["ray"].startswith("127.0.0.1:")
        token = session_token(folder, joinable=listen)
        environment = ray_environment(str(token), environment, joinable=listen)
    nodes = ask_nodes(facts["ray"], environment)
    alive = [node for node in nodes if node["alive"]]
    return {"address": facts["ray"], "cpus": sum(node["cpus"] for node in alive), "alive": len(alive), "nodes": nodes}


def nodes_words(facts: dict[str, Any]) -> str:
    lines = [f"{facts['alive']} alive with {facts['cpus']:g} CPUs at {facts['address']}"]
    for node in facts["nodes"]:
        what = "head" if node["head"] else "joined"
        state = what if node["alive"] else f"gone: {node['why_dead'] or 'it left'}"
        lines.append(f"  {node['address']:<15}  {node['cpus']:>3g} CPUs  {node['host']}  {state}")
    return "\n".join(lines)


def show_token(path: Path | None) -> dict[str, Any]:
    """The token that a PC joins by; ConfigError unless the configuration lets PCs join."""
    config, folder = load_config(path, os.environ), data_dir(path, os.environ)
    if config.ray.listen is None:
        raise ConfigError(
            "No PC can join: ray.listen is not set, so Ray keeps to loopback.",
            field="ray.listen",
            fix="Set ray.listen to this machine's address in your network, such as 192.168.1.10, and run `manta up`.",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = join_token(folder)
    return {
        "token": file.read_text(encoding="utf-8").strip(),
        "file": str(file),
        "address": f"{config.ray.listen}:{config.ray.port}",
    }
