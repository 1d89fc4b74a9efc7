"""A node's JSON-RPC, for questions only. Its address is a secret: it stands in no message, repr or log line."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from trading.config.secrets import Secret
from trading.errors import ConfigError, VenueRetryable
from trading.venues.origin import Origin, is_loopback

__all__ = ["NAME", "BaseRpc"]

NAME = "BASE_RPC_URL"
"""The environment variable that holds the node's address."""

_ATTEMPTS = 3
_FIRST_DELAY_S = 0.25
_LARGEST_ANSWER = 1024 * 1024
_EXCERPT = 120


class BaseRpc:
    """A client for one node; call ``close`` at the end.

    Raises ConfigError when the address is none, or not on this machine while candles are simulated, and VenueRetryable
    for whatever keeps the node from answering.
    """

    def __init__(
        self,
        url: Secret,
        *,
        origin: Origin,
        timeout_s: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        parts = urlsplit(url.reveal())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{NAME} is no http or https address.", field=NAME, fix="Use your provider's https URL.")
        if origin == "simulator" and not is_loopback(parts.hostname):
            raise ConfigError(
                f"This database holds simulated candles, but {NAME} is not on this machine.",
                field=NAME,
                fix="Unset it, or use a fresh data directory for the real venue.",
            )
        self._url = url
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._session: aiohttp.ClientSession | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, method: str, parameters: Sequence[object]) -> Any:
        """The ``result`` of one question, asked again with full jitter while the node does not answer."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._once(method, parameters)
            except VenueRetryable:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(self._jitter() * _FIRST_DELAY_S * 2.0**attempt)
        raise VenueRetryable(f"{method} was not answered.")

    async def call(self, to: str, data: bytes) -> bytes:
        """What the contract at ``to`` returns to a read-only call."""
        return read_bytes("eth_call", await self.ask("eth_call", [{"to": to, "data": "0x" + data.hex()}, "latest"]))

    async def _once(self, method: str, parameters: Sequence[object]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s), headers={"User-Agent": "manta"}
            )
        self._number += 1
        question = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": list(parameters)}
        try:
            async with self._session.post(self._url.reveal(), json=question, allow_redirects=False) as response:
                body = await response.content.read(_LARGEST_ANSWER)
                while chunk := await response.content.read(_LARGEST_ANSWER):
                    body += chunk
                    if len(body) > _LARGEST_ANSWER:
                        raise VenueRetryable(f"{method}: the node's answer is too large.")
                status = response.status
        except TimeoutError:
            raise VenueRetryable(f"{method}: the node did not answer within {self._timeout_s:g} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The error's own text may hold the address, and so may its cause.
            raise VenueRetryable(f"{method}: the node could not be asked: {type(error).__name__}.") from None
        return self._result(method, status, body)

    def _result(self, method: str, status: int, body: bytes) -> Any:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise VenueRetryable(f"{method}: HTTP {status}, and the answer is no JSON.") from None
        if isinstance(answer, dict) and answer.get("error") is not None:
            error = answer["error"]
            said = error.get("message") if isinstance(error, dict) else error
            raise VenueRetryable(f"{method}: the node refuses: {str(said)[:_EXCERPT]}")
        if status != 200:
            raise VenueRetryable(f"{method}: HTTP {status}.")
        if not isinstance(answer, dict) or answer.get("id") != self._number or "result" not in answer:
            raise VenueRetryable(f"{method}: the answer does not belong to the question.")
        return answer["result"]


def read_bytes(what: str, value: object) -> bytes:
    """The bytes of a 0x text; VenueRetryable when it is none."""
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise VenueRetryable(f"{what}: {str(value)[:_EXCERPT]!r} is no hexadecimal text.")
