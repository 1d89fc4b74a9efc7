"""How Manta starts its own Ray: one node, loopback only, with a token, and no process that it does not use."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["RAY_ENVIRONMENT", "head_command", "ray_environment", "without_client_server"]

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


def ray_environment(token_path: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of every process that talks to Manta's Ray; to be set before Ray is imported."""
    base = dict(os.environ) if environment is None else dict(environment)
    return base | RAY_ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": token_path}


def head_command(
    python: str, *, port: int, agent_port: int, temp_dir: str, num_cpus: int, object_store_mb: int
) -> list[str]:
    """The command line of ``ray start --head`` that stays in the foreground."""
    return [
        python,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",
        f"--dashboard-agent-listen-port={agent_port}",
        f"--temp-dir={temp_dir}",
        f"--num-cpus={num_cpus}",
        f"--object-store-memory={object_store_mb * 1_000_000}",
        "--disable-usage-stats",
    ]


def without_client_server(params: Any, head: bool) -> None:
    """Ray's start hook: no Ray Client server, which would cost a process and a port that nobody here uses."""
    params.ray_client_server_port = None
