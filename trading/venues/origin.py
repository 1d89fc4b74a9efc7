"""The guard between real and replayed markets: a simulator lives on loopback, a venue never does."""

from __future__ import annotations

import ipaddress
from typing import Literal
from urllib.parse import urlsplit

from trading.errors import ConfigError

__all__ = ["Origin", "check_origin", "is_loopback"]

Origin = Literal["venue", "simulator"]
_SCHEMES = {"http", "https", "ws", "wss"}


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine only. Names are not resolved: only ``localhost`` is known to be one."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_origin(origin: str, url: str, field: str = "url") -> None:
    """Raise ConfigError unless ``url`` may be used by a database whose candles come from ``origin``.

    Origin ``simulator`` requires a loopback host. Origin ``venue`` refuses one, and plain text over a network.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _SCHEMES or not host:
        raise ConfigError(
            f"{field} {url!r} is no URL of a venue.",
            field=field,
            value=url,
            fix="Use https://host or wss://host, without credentials.",
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{field} holds credentials.", field=field, fix="Remove user and password from the URL.")
    if origin == "simulator" and not is_loopback(host):
        raise ConfigError(
            f"This database holds simulated candles, but {field} {url!r} is not on this machine.",
            field=field,
            value=url,
            fix="Point it at the simulator on 127.0.0.1, or use a fresh data directory for the real venue.",
        )
    if origin == "venue" and is_loopback(host):
        raise ConfigError(
            f"This database holds the venue's candles, but {field} {url!r} is on this machine.",
            field=field,
            value=url,
            fix="Point it at the venue, or use a fresh data directory for the simulator.",
        )
    if origin == "venue" and parts.scheme not in ("https", "wss"):
        raise ConfigError(
            f"{field} {url!r} is not encrypted.", field=field, value=url, fix="Use https:// or wss:// for a venue."
        )
    if origin not in ("venue", "simulator"):
        raise ConfigError(f"Origin {origin!r} is not known.", field="origin", value=origin, fix="venue or simulator")
