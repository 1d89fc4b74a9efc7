"""What must hold before anything is started, said at once and by name."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from trading.errors import ConfigError
from trading.storage.settings import write_secret

__all__ = ["require_answer", "require_free", "require_own", "with_api_token"]

_ANSWER_S = 5.0


def require_free(host: str, port: int, field: str, fix: str) -> None:
    """ConfigError unless a server of ours can listen on ``port`` of ``host``."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {host} cannot be used: {error.strerror}.", field=field, value=port, fix=fix
            ) from error


def require_own(address: str) -> None:
    """ConfigError unless ``address`` is one of this machine's, at which PCs could join."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise ConfigError(
                f"ray.listen is {address}, which is no address of this machine: {error.strerror}.",
                field="ray.listen",
                value=address,
                fix="Set it to one that `ip address` shows, or remove it: then Ray keeps to loopback.",
            ) from error


def require_answer(address: str) -> None:
    """ConfigError unless something listens at ``address`` (``host:port``), where a Ray cluster should be."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Nothing answers at {address}: {error}.",
            field="ray.address",
            value=address,
            fix="Start a cluster there with `ray start --head`, or remove ray.address and Manta starts its own.",
        ) from error


def with_api_token(folder: Path) -> dict[str, str]:
    """The environment with an API token: the user's, or one of our own that stays the same and its owner can read."""
    environment = dict(os.environ)
    if not environment.get("MANTA_API_TOKEN") and not environment.get("MANTA_API_TOKEN_FILE"):
        token = folder / "api_token"
        if not token.exists():
            write_secret(token, secrets.token_urlsafe(32))
        environment["MANTA_API_TOKEN_FILE"] = str(token)
    return environment
