"""The short-lived driver that puts the actor graph and the Serve application onto a Ray cluster, or takes them off.

It runs as a process of its own (``python -m manta.graph VERB``), so that the host process never imports Ray. It reads one
pickled ``Order`` from stdin and prints one JSON value on stdout; both ends are this same program.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.session import ACTOR_OPTIONS, Session
from trading.errors import ConfigError, MantaError

__all__ = ["Order", "main"]

_BUILD_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to do where. ``address`` is the cluster's ``host:port``; ``serve`` whether the HTTP application is wanted."""

    verb: str
    address: str
    session: Session
    serve: bool


def main() -> None:
    # Ray and its workers write to stdout as they like: the answer gets a way of its own.
    answers = os.dup(1)
    os.dup2(2, 1)
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the host process, our parent
    try:
        answer = _VERBS[order.verb](order)
    except MantaError as error:
        answer = {"error": error.message, "fix": error.fix, "field": error.field, "kind": type(error).__name__}
    os.write(answers, json.dumps(answer).encode())


def _connect(order: Order) -> Any:
    import ray

    try:
        ray.init(
            address=order.address,
            namespace=order.session.namespace,
            log_to_driver=False,
            logging_level="error",
        )
    except ConnectionError as error:
        raise ConfigError(
            f"No Ray cluster answers at {order.address}.",
            field="ray.address",
            value=order.address,
            fix="Start it with `ray start --head`, or remove ray.address and Manta starts its own.",
        ) from error
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


def _deploy(order: Order) -> dict[str, Any]:
    ray = _connect(order)
    from actors.supervisor import Supervisor

    supervisor = Supervisor.options(
        name="supervisor", namespace=order.session.namespace, get_if_exists=True, **ACTOR_OPTIONS
    ).remote(order.session)
    built = supervisor.build.remote()
    if order.serve:
        from backtest.tasks import launch
        from serve.deployment import deploy

        session = order.session
        deploy(session.config, session.target, session.secrets_path, partial(launch, session.target))
    try:
        return {"actors": ray.get(built, timeout=_BUILD_S)}
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MantaError):
            raise cause from None
        raise


def _report(order: Order) -> dict[str, Any]:
    ray = _connect(order)
    supervisor = ray.get_actor("supervisor", namespace=order.session.namespace)
    return {"actors": ray.get(supervisor.report.remote(), timeout=_STOP_S)}


def _remove(order: Order) -> dict[str, Any]:
    ray = _connect(order)
    if order.serve:
        from serve.deployment import remove

        remove()
    try:
        supervisor = ray.get_actor("supervisor", namespace=order.session.namespace)
    except ValueError:
        return {"actors": []}
    last = ray.get(supervisor.take_down.remote(), timeout=_STOP_S)
    ray.kill(supervisor, no_restart=True)
    return {"actors": last}


_VERBS = {"deploy": _deploy, "report": _report, "remove": _remove}

if __name__ == "__main__":
    main()
