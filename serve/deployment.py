"""The application on Ray Serve: stateless replicas behind one proxy on the head node."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve as ray_serve
from ray._common.tls_utils import add_port_to_grpc_server
from ray.serve.config import HTTPOptions
from starlette.types import ASGIApp

from serve.app import build_app
from serve.security import Door, read_token
from serve.services import Launch
from trading.config.model import Config
from trading.storage.settings import DatabaseTarget

__all__ = ["APP_NAME", "Api", "deploy", "remove"]

APP_NAME = "manta"


@ray_serve.ingress()
class Api:
    """One replica. It holds no state that a client could miss; any replica can answer any request or resume any stream.

    The API token arrives as the path of its 0600 file, never as an argument: arguments show in Ray's dashboard.
    """

    def __init__(
        self,
        config: dict[str, Any],
        target: DatabaseTarget,
        secrets_path: str | None,
        launch: Launch | None,
        launch_walkforward: Launch | None,
        launch_sweep: Launch | None,
    ) -> None:
        _keep_to_loopback()
        self._config = Config.model_validate(config)
        self._target = target
        self._secrets_path = secrets_path
        self._launch = launch
        self._launch_walkforward = launch_walkforward
        self._launch_sweep = launch_sweep

    def __serve_build_asgi_app__(self) -> ASGIApp:
        app: FastAPI = build_app(
            self._config,
            self._target,
            token=read_token(self._secrets_path),
            launch=self._launch,
            launch_walkforward=self._launch_walkforward,
            launch_sweep=self._launch_sweep,
        )
        return app


def _keep_to_loopback() -> None:
    """Let the gRPC server that Ray gives every replica listen on loopback only.

    Measured on Ray 2.60: right after the constructor each replica binds ``[::]:0`` for pickled calls between
    deployments, without a token, and no setting turns it off. Such calls go through Ray here, so nobody uses that port.
    """
    from ray.serve._private import replica

    replica.add_port_to_grpc_server = _add_loopback_port


def _add_loopback_port(server: Any, address: str) -> int:
    return add_port_to_grpc_server(server, f"127.0.0.1:{address.rpartition(':')[2]}")


def deploy(
    config: Config,
    target: DatabaseTarget,
    secrets_path: str | None,
    launch: Launch | None = None,
    launch_walkforward: Launch | None = None,
    launch_sweep: Launch | None = None,
) -> str:
    """Serve on the Ray that this process is connected to; return the URL. Blocks until the replicas answer.

    The launches must be functions of a module (they travel by name). Raises ConfigError before
    anything starts when the bind is not safe. A second call replaces the replicas; host and port stay those of the
    first until ``remove``.
    """
    settings = config.serve
    Door.of(settings, read_token(secrets_path))
    ray_serve.start(
        proxy_location="HeadOnly",
        http_options=HTTPOptions(host=settings.host, port=settings.port, keep_alive_timeout_s=75),
        logging_config={"enable_access_log": False},
    )
    deployment = ray_serve.deployment(
        Api,
        name="api",
        num_replicas=settings.replicas,
        # The head's own resource keeps replicas beside Postgres; a PC that joins for a sweep may leave again.
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
        max_ongoing_requests=256,
        health_check_period_s=10,
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.2,
    )
    launches = (launch, launch_walkforward, launch_sweep)
    application = deployment.bind(config.model_dump(mode="json"), target, secrets_path, *launches)
    ray_serve.run(application, name=APP_NAME, route_prefix="/")
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{shown}:{settings.port}"


def remove() -> None:
    """Take our application away, and Serve with it when nothing else runs there. Does nothing when none is there.

    The port closes a moment after this returns.
    """
    applications = ray_serve.status().applications
    if APP_NAME in applications:
        ray_serve.delete(APP_NAME)
    if not set(applications) - {APP_NAME}:
        ray_serve.shutdown()
