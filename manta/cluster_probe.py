"""Whether a Ray cluster answers and takes our token, asked without Ray's client, which would try for two minutes."""

from __future__ import annotations

import os
from pathlib import Path

from trading.errors import ConfigError

__all__ = ["NoCluster", "TokenRefused", "probe"]

_PROBE_S = 5.0


class NoCluster(Exception):
    """What listens there, if anything, does not speak as a Ray cluster does."""


class TokenRefused(Exception):
    """The cluster wants a token, and not the one that we sent."""


def probe(address: str) -> None:
    """Raise NoCluster or TokenRefused unless a Ray at ``address`` (``host:port``) answers our token.

    With TLS, which has credentials of its own, nothing is asked. ConfigError when our token cannot be read.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
        return
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=_PROBE_S, metadata=_credentials())
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise TokenRefused(address) from error
            raise NoCluster(address) from error


def _credentials() -> list[tuple[str, str]]:
    """What Ray's client would send: the token of RAY_AUTH_TOKEN, of RAY_AUTH_TOKEN_PATH, or of its usual file."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return []
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        try:
            token = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"The token of the Ray cluster in {path} cannot be read: {error.strerror}.",
                field="RAY_AUTH_TOKEN_PATH",
                value=str(path),
                fix="Set RAY_AUTH_TOKEN_PATH to the file with that cluster's token.",
            ) from error
    return [("authorization", f"Bearer {token.strip()}")]
