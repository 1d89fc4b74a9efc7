"""A Discord webhook. Its URL is the secret: it is in no log line, no error text and no repr."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from trading.config.model import DiscordChannel
from trading.config.secrets import Secret
from trading.notify.messages import discord_body
from trading.notify.outbox import Answer, Verdict
from trading.storage.outbox import OutboxMessage

__all__ = ["DiscordSender"]

_UNTOLD_WAIT_S = 60.0
_REFUSED_WAIT_S = 300.0
_MAX_ANSWER_BYTES = 65_536


class DiscordSender:
    """Sends one message a call, at the pace that Discord's headers allow.

    ``send`` never raises for what the network or Discord does: the Answer says it.
    """

    batch = 1

    def __init__(self, channel: DiscordChannel, url: Secret | None, *, timeout_s: float = 30.0) -> None:
        self.min_interval_s = channel.min_interval_s
        self.max_attempts = channel.max_attempts
        self._username = channel.username
        self._url = url or Secret("")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: OutboxMessage) -> Answer:
        if not self._url:
            return Answer(Verdict.BAD_CHANNEL, "DISCORD_WEBHOOK_URL is not set")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        body = discord_body(
            message.body,
            username=self._username,
            dedupe_key=message.dedupe_key,
            maybe_duplicate=message.maybe_duplicate,
        )
        try:
            # A redirect would carry the message to an address that nobody configured.
            async with self._session.post(
                self._url.reveal(), params={"wait": "true"}, json=body, allow_redirects=False
            ) as response:
                return _answer(response.status, response.headers, await _read(response))
        except aiohttp.InvalidURL:
            return Answer(Verdict.BAD_CHANNEL, "DISCORD_WEBHOOK_URL is no address")
        except aiohttp.ClientConnectorError as error:
            return Answer(Verdict.FAILED, f"no connection: {type(error).__name__}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The texts of these errors hold the URL; their names do not.
            return Answer(Verdict.FAILED, f"no answer: {type(error).__name__}", may_have_arrived=True)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The answer, or as much of it as could matter."""
    found = b""
    async for part in response.content.iter_chunked(8192):
        found += part
        if len(found) >= _MAX_ANSWER_BYTES:
            break
    return found


def _answer(status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
    if 200 <= status < 300:
        used_up = headers.get("X-RateLimit-Remaining") == "0"
        return Answer(
            Verdict.ACCEPTED, wait_s=_seconds(headers.get("X-RateLimit-Reset-After")) or 0.0 if used_up else 0
        )
    if status == 429:
        return Answer(Verdict.FAILED, f"HTTP 429 {_scope(headers)}", wait_s=_retry_after(headers, raw))
    if status == 403 and not _json(raw):
        # Discord answers in JSON; a proxy before it refuses an address only for a while.
        return Answer(Verdict.FAILED, "HTTP 403 from a proxy", wait_s=_REFUSED_WAIT_S)
    if status in (401, 403, 404):
        return Answer(Verdict.BAD_CHANNEL, f"HTTP {status}: the webhook is wrong or was deleted")
    if status >= 500:
        return Answer(
            Verdict.FAILED,
            f"HTTP {status}",
            wait_s=_seconds(headers.get("Retry-After")) or 0.0,
            may_have_arrived=True,
        )
    if status == 408:
        return Answer(Verdict.FAILED, "HTTP 408")
    return Answer(Verdict.BAD_MESSAGE, f"HTTP {status} {_code(raw)}".rstrip())


def _retry_after(headers: Mapping[str, str], raw: bytes) -> float:
    """Seconds: the body's, which are exact, else the header's, else a minute (a proxy in between answers HTML)."""
    told = _seconds(_json(raw).get("retry_after"))
    if told is None:
        told = _seconds(headers.get("Retry-After"))
    return _UNTOLD_WAIT_S if told is None else told


def _scope(headers: Mapping[str, str]) -> str:
    scope = headers.get("X-RateLimit-Scope", "")
    return scope if scope in ("user", "shared", "global") else "without scope"


def _code(raw: bytes) -> str:
    code = _json(raw).get("code")
    return f"code {code}" if isinstance(code, int) else ""


def _json(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(value: object) -> float | None:
    """``value`` as seconds, unless it is none, negative or a date."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
