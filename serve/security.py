"""The door: which Host and Origin names are answered, who may change things, and what browsers may do with our
pages.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.parameters import WARNING
from serve.problems import problem
from trading.config.model import ServeSettings
from trading.errors import ConfigError

__all__ = ["MAX_BODY_BYTES", "SUBPROTOCOL", "Door", "Guard", "is_loopback", "read_token"]

MAX_BODY_BYTES = 64 * 1024
SUBPROTOCOL = "manta.v1"
_BEARER_PROTOCOL = "bearer."
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Pages without any data of ours: the dashboard must load before it can ask for the token.
_OPEN_PATHS = ("/dashboard", "/docs", "/favicon.ico", "/api/v1/openapi.json")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """True when a server bound to ``host`` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(secrets_path: str | Path | None) -> str | None:
    """MANTA_API_TOKEN from the secrets file (JSON, mode 0600), None when it holds none; ConfigError when it is
    unusable.
    """
    if secrets_path is None:
        return None
    path = Path(secrets_path)
    try:
        mode = path.stat().st_mode
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The secrets file {path} cannot be read: {type(error).__name__}.",
            fix="Write it as a JSON object, mode 0600.",
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"The secrets file {path} can be read by other users.", field="secrets", fix=f"Run: chmod 600 {path}"
        )
    token = values.get("MANTA_API_TOKEN") if isinstance(values, dict) else None
    return str(token) if token else None


@dataclass(frozen=True, slots=True, repr=False)
class Door:
    """Who is let in. Raises ConfigError when a bind beyond loopback has no token."""

    allowed_hosts: frozenset[str]
    token: str | None
    token_for_reads: bool

    @classmethod
    def of(cls, settings: ServeSettings, token: str | None) -> Door:
        loopback = is_loopback(settings.host)
        if not loopback and not token:
            raise ConfigError(
                f"serve.host {settings.host!r} can be reached from other machines, but there is no MANTA_API_TOKEN.",
                field="serve.host",
                value=settings.host,
                fix="Set MANTA_API_TOKEN to a long random text, or bind to 127.0.0.1.",
            )
        names: Iterable[str] = settings.allowed_hosts
        if settings.host not in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            names = (*names, settings.host)
        return cls(frozenset(name.lower().strip("[]") for name in names), token, not loopback)

    def knows_host(self, headers: Headers) -> bool:
        """A page that points its own name at our address (DNS rebinding) fails here."""
        hosts = headers.getlist("host")
        return len(hosts) == 1 and _name(f"//{hosts[0]}") in self.allowed_hosts

    def knows_origin(self, headers: Headers) -> bool:
        """No Origin, ours, or an allowed name. Another port of loopback is another program, so it must be ours
        exactly.
        """
        origin = headers.get("origin")
        if origin is None:
            return True
        place = _place(origin)
        if place is None:
            return False
        scheme = origin.partition(":")[0]
        if place == _place(f"{scheme}://{headers.get('host', '')}"):
            return True
        name = _name(origin)
        return name in self.allowed_hosts and not is_loopback(name)

    def has_token(self, headers: Headers) -> bool:
        """True when the request carries the token, as ``Authorization: Bearer`` or as a WebSocket subprotocol."""
        if self.token is None:
            return False
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = _token_of_protocols(headers.get("sec-websocket-protocol", ""))
        return hmac.compare_digest(given.strip().encode(), self.token.encode())


def _place(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return (parts.hostname, port) if parts.hostname else None
    except ValueError:
        return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _token_of_protocols(header: str) -> str:
    """Browsers cannot set headers on a WebSocket; a subprotocol carries the token without it showing in any URL."""
    for protocol in header.split(","):
        name = protocol.strip()
        if name.startswith(_BEARER_PROTOCOL):
            text = name.removeprefix(_BEARER_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return ""


class Guard:
    """ASGI middleware that applies a Door and sets the security headers of every response."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is not None:
                # Closing before accepting makes the server answer the handshake with 403.
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
                return
            await self._app(scope, receive, send)
            return
        sender = _with_headers(send, headers.get("host", ""), scope)
        if refusal is not None:
            status, detail, field, fix = refusal
            extra = {"WWW-Authenticate": 'Bearer realm="manta"'} if status == 401 else None
            await problem(status, detail, field=field, fix=fix, headers=extra)(scope, receive, sender)
            return
        await self._app(scope, _limited(receive), sender)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str, str] | None:
        door = self._door
        if not door.knows_host(headers):
            return 421, "This Host name is not served.", "Host", "Add the name to serve.allowed_hosts."
        if not door.knows_origin(headers):
            return 403, "Requests from this Origin are refused.", "Origin", "Add the name to serve.allowed_hosts."
        path = scope["path"]
        mutating = scope["type"] == "http" and scope["method"] not in _READS
        private = mutating or (door.token_for_reads and path != "/" and not _is_open(path))
        if private and not door.has_token(headers):
            if door.token is None:
                fix = "Set MANTA_API_TOKEN, start Manta again, and send it as `Authorization: Bearer <token>`."
            else:
                fix = "Send the API token as `Authorization: Bearer <token>`."
            return 401, "This call needs the API token.", "Authorization", fix
        if mutating:
            return _size_refusal(headers)
        return None


def _size_refusal(headers: Headers) -> tuple[int, str, str, str] | None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return 400, "Content-Length is no number.", "Content-Length", "Send the body's length in bytes."
    if int(length) > MAX_BODY_BYTES:
        return 413, f"A request body may hold {MAX_BODY_BYTES} bytes at most.", "body", "Send less."
    return None


def _is_open(path: str) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in _OPEN_PATHS)


def _limited(receive: Receive) -> Receive:
    """Stop reading a body without Content-Length once it is too long: the client is treated as gone."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                return {"type": "http.disconnect"}
        return message

    return limited


def _with_headers(send: Send, host: str, scope: Scope) -> Send:
    # Older browsers do not count a WebSocket to the same host as 'self'. The host was checked before it is echoed here.
    safe_host = host if all(sign.isalnum() or sign in ".-:[]_" for sign in host) else ""
    policy = _POLICY.format(sockets=f"ws://{safe_host} wss://{safe_host}" if safe_host else "")

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            # A page that stands alone brings a stricter policy of its own.
            headers.setdefault("Content-Security-Policy", policy)
            if (warning := scope.get(WARNING)) is not None:
                # 299: a lasting warning, from nobody in particular.
                headers["Warning"] = f'299 - "{warning}"'
            if "cache-control" not in headers:
                headers["Cache-Control"] = "no-store" if scope["path"].startswith("/api/") else "no-cache"
        await send(message)

    return sender
