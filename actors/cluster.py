"""How Manta starts its own Ray: with a token, no process that it does not use, on loopback unless told otherwise."""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "HEAD_ONLY",
    "LAST_PORT_OFFSET",
    "RAY_ENVIRONMENT",
    "WORKER_PORTS",
    "head_command",
    "node_command",
    "ray_environment",
    "without_client_server",
]

HEAD_ONLY = {"node:__internal_head__": 0.001}
"""Resources of what must run beside Postgres and the data directory: a PC that joined may leave at any time."""

# On a cluster that others may join every port is known, so that a firewall can let them through.
WORKER_PORTS = (10002, 10999)
_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "metrics-export-port",
)
LAST_PORT_OFFSET = len(_PORTS)

RAY_ENVIRONMENT = {
    # Ray would otherwise rewrite 127.0.0.1 to the LAN address and listen on every interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers default to nice 15: right for batch tasks, wrong for actors that trade.
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
    # Idle workers started ahead of need would hold 60 MB each.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Manta takes its actors down before Ray; when it could not, Ray would wait 30 s for actors that never end.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # Each of a dozen processes has dozens of threads; an arena and a BLAS pool for each of them is memory for nothing.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Process titles must not overwrite the environment, by whose mark a session finds its processes.
    "SPT_NOENV": "1",
    # Nobody reads Ray's own metrics, task events and timer statistics here; they cost a tenth of a per cent of a core
    # in each process, and work on every call.
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    # One application that hardly ever changes needs no controller that looks at it ten times a second: 2 % of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    # Nor must the node's free memory be read four times a second.
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_START_HOOK": "actors.cluster.without_client_server",
}


def ray_environment(
    token_path: str | None, environment: dict[str, str] | None = None, *, joinable: bool = False
) -> dict[str, str]:
    """The environment of every process that talks to Manta's Ray; to be set before Ray is imported.

    ``token_path`` None leaves the token where the environment says it is; ``joinable`` is for a cluster of machines.
    """
    base = dict(os.environ) if environment is None else dict(environment)
    base |= RAY_ENVIRONMENT | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": str(int(joinable))}
    return base if token_path is None else base | {"RAY_AUTH_TOKEN_PATH": token_path}


def head_command(
    python: str,
    *,
    port: int,
    agent_port: int,
    temp_dir: str,
    num_cpus: int,
    object_store_mb: int,
    listen: str | None = None,
) -> list[str]:
    """The command line of ``ray start --head`` that stays in the foreground.

    ``listen`` is the address of this machine at which others may join, with the ports after ``port``; without it
    the node keeps to loopback, with any ports but ``port`` and ``agent_port``.
    """
    ports = [f"--dashboard-agent-listen-port={agent_port}"] if listen is None else _fixed_ports(port)
    return [
        *_start(python, temp_dir=temp_dir, num_cpus=num_cpus, object_store_mb=object_store_mb),
        "--head",
        f"--port={port}",
        f"--node-ip-address={listen or '127.0.0.1'}",
        "--include-dashboard=false",
        "--no-monitor",
        *ports,
    ]


def node_command(
    python: str, *, head: str, port: int, address: str, temp_dir: str, num_cpus: int, object_store_mb: int
) -> list[str]:
    """The command line of a node at ``address`` that joins ``head``:``port`` and stays in the foreground."""
    return [
        *_start(python, temp_dir=temp_dir, num_cpus=num_cpus, object_store_mb=object_store_mb),
        f"--address={head}:{port}",
        f"--node-ip-address={address}",
        *_fixed_ports(port),
    ]


def _start(python: str, *, temp_dir: str, num_cpus: int, object_store_mb: int) -> list[str]:
    return [
        python,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        "--include-log-monitor=false",
        f"--temp-dir={temp_dir}",
        f"--num-cpus={num_cpus}",
        f"--object-store-memory={object_store_mb * 1_000_000}",
        "--disable-usage-stats",
    ]


def _fixed_ports(port: int) -> list[str]:
    first, last = WORKER_PORTS
    fixed = [f"--{name}={port + offset}" for offset, name in enumerate(_PORTS, 1)]
    return [*fixed, f"--min-worker-port={first}", f"--max-worker-port={last}"]


def without_client_server(params: Any, head: bool) -> None:
    """Ray's start hook: no Ray Client server, which would cost a process and a port that nobody here uses."""
    params.ray_client_server_port = None
