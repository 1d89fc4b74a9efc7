"""Questions to a venue's REST side: within its limits, bounded in time and size, to the host that was configured only.

Every request here is a question, so every failure may be asked again; what the retries do not cure is VenueRetryable.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from trading.clock import HostClock, SystemClock, TimeSample
from trading.errors import ConfigError, MantaError, VenueAuth, VenueRetryable
from trading.venues.adapter import Limiter
from trading.venues.origin import Origin, check_origin

__all__ = ["Answer", "RestClient", "TooManyRequests", "VenueHttp", "status_error"]

_ATTEMPTS = 3
_FIRST_DELAY_S = 0.25
_PATIENCE_S = 2.0
_LARGEST_ANSWER = 64 * 1024 * 1024
_EXCERPT = 200


class TooManyRequests(VenueRetryable):
    """The venue wants no request from this address for ``retry_after_s``."""


class Answer(NamedTuple):
    """What a venue answered to ``path``."""

    path: str
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def retry_after_s(self) -> float | None:
        """What the venue's Retry-After says, in seconds."""
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isdecimal() else None

    def json(self) -> Any:
        """The body; raise VenueRetryable when it is no JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise VenueRetryable(f"{self.path}: the answer is no JSON: {self.text[:100]!r}.") from error


def status_error(
    answer: Answer, field: str, *, said: str = "", pause_s: Callable[[int], float] = lambda _: 10.0
) -> MantaError | None:
    """What HTTP status ``answer`` has asks of us; None for 200.

    ``field`` is the configuration key of the venue's address, ``said`` what else the venue said, ``pause_s`` how long
    it wants to be left alone after a 429 or 418 without Retry-After.
    """
    status = answer.status
    if status == 200:
        return None
    text = f"{answer.path}: HTTP {status}" + (f", {said[:_EXCERPT]}" if said else "")
    if status in (418, 429):
        wait_s = answer.retry_after_s
        return TooManyRequests(
            f"{text}: too many requests.", retry_after_s=pause_s(status) if wait_s is None else wait_s
        )
    if status >= 500 or status in (408, 409, 425):
        return VenueRetryable(text, retry_after_s=answer.retry_after_s)
    if status in (401, 403, 451):
        return VenueAuth(text, field=field, fix="Is this address allowed to use the venue?")
    return ConfigError(text, field=field, fix="Is this the venue's REST base?")


class VenueHttp:
    """A client for the public REST side of one venue; call ``close`` at the end.

    ``judge`` says what an answer asks of us, None when it is good; whatever the venue, TooManyRequests keeps everyone
    who shares ``limiter`` away from it. Redirects are not followed. Raises ConfigError when ``base`` does not fit
    ``origin``; ``field`` is its key in the configuration.
    """

    def __init__(
        self,
        base: str,
        *,
        field: str,
        timeout_s: float,
        origin: Origin,
        limiter: Limiter,
        judge: Callable[[Answer], MantaError | None],
        clock: HostClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_origin(origin, base, field)
        self._base = base.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._judge = judge
        self._trust_env = origin == "venue"
        self._session: aiohttp.ClientSession | None = None
        self.limiter = limiter
        self.requests = 0
        self.retries = 0

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, query: Mapping[str, str], *, weight: int) -> Any:
        """Ask for ``path`` below the base; return the parsed body."""
        return await self._ask("GET", path, {"params": query}, weight)

    async def post(self, path: str, body: object, *, weight: int) -> Any:
        """Ask a question that the venue wants as a posted JSON body; return the parsed answer."""
        return await self._ask("POST", path, {"json": body}, weight)

    async def time(self, ask: Callable[[], Any], read: Callable[[Any], int]) -> TimeSample:
        """The venue's time that ``read`` finds in what ``ask()`` brings, paired with the host's midpoint."""
        asked = self._clock.now()
        body = await ask()
        answered = self._clock.now()
        try:
            venue_ms = read(body)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise VenueRetryable("The venue's answer holds no time.") from error
        half_ns = answered.since(asked) // 2
        return TimeSample(venue_ms, answered._replace(steady_ns=answered.steady_ns - half_ns))

    async def _ask(self, method: str, path: str, what: dict[str, Any], weight: int) -> Any:
        """Ask, again if need be, with full jitter between attempts or as long as the venue wants."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self.limiter.acquire(weight)
                return await self._once(method, path, what)
            except VenueRetryable as error:
                wait = error.retry_after_s
                if attempt == _ATTEMPTS or (wait is not None and wait > _PATIENCE_S):
                    raise
                self.retries += 1
                await asyncio.sleep(wait if wait is not None else self._jitter() * _FIRST_DELAY_S * 2.0**attempt)
        raise VenueRetryable(f"{path} was not answered.")

    async def _once(self, method: str, path: str, what: dict[str, Any]) -> Any:
        answer = await self._answer(method, path, what)
        error = self._judge(answer)
        if isinstance(error, TooManyRequests) and error.retry_after_s is not None:
            self.limiter.block(error.retry_after_s)
        if error is not None:
            raise error
        return answer.json()

    async def _answer(self, method: str, path: str, what: dict[str, Any]) -> Answer:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(
                timeout=timeout, trust_env=self._trust_env, headers={"User-Agent": "manta"}
            )
        self.requests += 1
        url = f"{self._base}/{path}"
        try:
            async with self._session.request(method, url, allow_redirects=False, **what) as response:
                return Answer(path, response.status, response.headers, await _read(response))
        except TimeoutError as error:
            raise VenueRetryable(f"{path} had no answer within {self._timeout_s:g} s.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise VenueRetryable(f"{path} could not be asked: {error or type(error).__name__}.") from error


class RestClient:
    """What the REST clients of all venues share: ``async with`` one, or call ``close``; it counts what it asks.

    Whoever is one makes ``_http`` first of all.
    """

    _http: VenueHttp

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    @property
    def limiter(self) -> Limiter:
        return self._http.limiter

    @property
    def requests(self) -> int:
        return self._http.requests

    @property
    def retries(self) -> int:
        return self._http.retries


async def _read(response: aiohttp.ClientResponse) -> str:
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.read(_LARGEST_ANSWER):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_ANSWER:
            raise ValueError("the answer is too large")
    return b"".join(chunks).decode("utf-8")
