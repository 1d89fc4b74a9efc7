"""A client of the simulator's control port."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import aiohttp

from trading.errors import BadInput, VenueRetryable

__all__ = ["SimulatorControl"]


class SimulatorControl:
    """Orders to a running simulator; each returns its state afterwards.

    Raises BadInput when the simulator refuses an order, VenueRetryable when it cannot be reached.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def state(self) -> dict[str, Any]:
        return await self._call("GET", "/state")

    async def watermark(self, position_ms: int, market: str | None = None) -> dict[str, Any]:
        """Say that ``market``, or every market, is handled up to this close time."""
        return await self._call("POST", "/watermark", {"position_ms": position_ms, "market": market})

    async def fault(self, kind: str, **arguments: Any) -> dict[str, Any]:
        """Order a fault; ``faults`` lists kinds and arguments, and ``at_ms`` schedules it."""
        return await self._call("POST", "/faults", {"kind": kind, **arguments})

    async def pause(self) -> dict[str, Any]:
        return await self._call("POST", "/pause")

    async def resume(self) -> dict[str, Any]:
        return await self._call("POST", "/resume")

    async def advance(self, minutes: int) -> dict[str, Any]:
        """Play this many minutes at once, whatever the watermark; for a paused replay."""
        return await self._call("POST", "/advance", {"minutes": minutes})

    async def stop(self) -> dict[str, Any]:
        return await self._call("POST", "/stop")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._http.request(method, self._url + path, json=body) as response:
                answer: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VenueRetryable(f"The simulator at {self._url} does not answer: {error}.") from error
        if response.status >= 400:
            raise BadInput(answer["message"], field=answer["field"], value=answer["value"], fix=answer["fix"])
        return answer
