"""The short-lived driver that puts the actor graph and the Serve application onto a Ray cluster, or takes them off.

It runs as a process of its own (``python -m manta.graph``), so that the host process never imports Ray. It reads one
pickled ``Order`` from stdin and prints one JSON value on stdout; both ends are this same program.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.session import ACTOR_OPTIONS, Session
from manta.cluster_identity import Identity, publish
from manta.cluster_probe import NoCluster, TokenRefused, probe
from manta.output import error_body
from trading.errors import ConfigError, MantaError

__all__ = ["Order", "main"]

_BUILD_S = 120.0
# On two cores a start makes about one actor a second.
_BUILD_MARKET_S = 4.0
_REPORT_S = 60.0
_STOP_S = 4.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to do where. ``address`` is the cluster's ``host:port``; ``serve`` whether the HTTP application is wanted.

    ``stale`` is the namespace of a session whose host was killed, and whose actors may live on in a cluster not ours.
    """

    verb: str
    address: str
    session: Session
    serve: bool
    stale: str | None = None


def main() -> None:
    # Ray and its workers write to stdout as they like: the answer gets a way of its own.
    answers = os.dup(1)
    os.dup2(2, 1)
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the host process, our parent
    try:
        answer = _VERBS[order.verb](order)
    except MantaError as error:
        answer = {"failed": error_body(error)}
    os.write(answers, json.dumps(answer).encode())


def _connect(order: Order) -> Any:
    if order.session.config.ray.address:
        _require_cluster(order.address)
    import ray

    try:
        ray.init(
            address=order.address,
            namespace=order.session.namespace,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise _no_cluster(order.address) from error
    except RuntimeError as error:
        if "ersion" not in str(error):
            raise
        raise ConfigError(
            f"The Ray cluster at {order.address} runs another version than this one ({ray.__version__}): "
            f"{' '.join(str(error).split())[:300]}",
            field="ray.address",
            value=order.address,
            fix=f"Install ray=={ray.__version__} and the same Python there, or use another cluster.",
        ) from error
    return ray


def _require_cluster(address: str) -> None:
    try:
        probe(address)
    except TokenRefused as error:
        raise ConfigError(
            f"The Ray cluster at {address} wants a token that we do not have.",
            field="ray.address",
            value=address,
            fix="Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with that cluster's token.",
        ) from error
    except NoCluster as error:
        raise _no_cluster(address) from error


def _no_cluster(address: str) -> ConfigError:
    return ConfigError(
        f"No Ray cluster answers at {address}.",
        field="ray.address",
        value=address,
        fix="Start it with `ray start --head`, or remove ray.address and Manta starts its own.",
    )


def _deploy(order: Order) -> dict[str, Any]:
    ray = _connect(order)
    from actors.supervisor import Supervisor
    from backtest.nights import launch_check

    session = order.session
    publish(Identity.here())
    if order.stale is not None:
        _end_actors(ray, order.stale)
    supervisor = Supervisor.options(
        name="supervisor", namespace=order.session.namespace, get_if_exists=True, **ACTOR_OPTIONS
    ).remote(session, partial(launch_check, session.target))
    built = supervisor.build.remote()
    if order.serve:
        _deploy_serve(session)
    try:
        return {"actors": ray.get(built, timeout=_BUILD_S + _BUILD_MARKET_S * len(order.session.config.markets))}
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MantaError):
            raise cause from None
        raise


def _serve(order: Order) -> dict[str, Any]:
    """Replace the replicas by some that go by the session's configuration."""
    _connect(order)
    _deploy_serve(order.session)
    return {}


def _deploy_serve(session: Session) -> None:
    from backtest.tasks import launch, launch_sweep, launch_walkforward
    from serve.deployment import deploy

    launches = (partial(start, session.target) for start in (launch, launch_walkforward, launch_sweep))
    deploy(session.config, session.target, session.secrets_path, *launches)


def _report(order: Order) -> dict[str, Any]:
    ray = _connect(order)
    supervisor = ray.get_actor("supervisor", namespace=order.session.namespace)
    return {"actors": ray.get(supervisor.report.remote(), timeout=_REPORT_S)}


def _remove(order: Order) -> dict[str, Any]:
    """Leave nothing of ours on a cluster that is not ours. The host has asked the supervisor to stop the actors; this
    waits for that, at most as long, and ends what is left.
    """
    ray = _connect(order)
    try:
        supervisor = ray.get_actor("supervisor", namespace=order.session.namespace)
        ray.get(supervisor.take_down.remote(_STOP_S), timeout=_STOP_S)
    except (ValueError, ray.exceptions.RayError):
        pass  # It was never made, or does not answer: then it is ended as it is.
    finally:
        _end_actors(ray, order.session.namespace)
    # One after the other: Ray and Serve import modules as they go, which fails at times in two threads.
    _remove_serve(order)
    return {"actors": []}


def _remove_serve(order: Order) -> None:
    if order.serve:
        from serve.deployment import remove

        remove()


def _clear(order: Order) -> dict[str, Any]:
    """After a deployment that failed: there is nothing to flush."""
    ray = _connect(order)
    _remove_serve(order)
    _end_actors(ray, order.session.namespace)
    return {"actors": []}


def _end_actors(ray: Any, namespace: str) -> None:
    for item in ray.util.list_named_actors(all_namespaces=True):
        if item["namespace"] == namespace:
            with contextlib.suppress(ValueError):
                ray.kill(ray.get_actor(item["name"], namespace=namespace), no_restart=True)


_VERBS = {"deploy": _deploy, "serve": _serve, "report": _report, "remove": _remove, "clear": _clear}

if __name__ == "__main__":
    main()
