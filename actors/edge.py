"""The one-way road from an actor to the next: ordered, one call in flight, repeated until it arrives."""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import ray
import structlog
from ray.exceptions import RayError

from actors.crash import Boundary, no_boundary
from trading.clock import TimeSample
from trading.events import Batch, StreamItem
from trading.recording import weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["MAX_ITEMS", "Edge", "Neighbour", "flush", "pack", "unpack"]

MAX_ITEMS = 1000
_MAX_PENDING = 5 * MAX_ITEMS
_RETRY_S = 0.2

log = structlog.get_logger(__name__)


def pack(batch: Batch) -> bytes:
    """A batch as bytes: Ray hands bytes over as they are, and takes a millisecond to serialise anything else."""
    return pickle.dumps(batch, protocol=5)


def unpack(packed: bytes) -> Batch:
    """The batch that the actor before us packed."""
    batch: Batch = pickle.loads(packed)  # noqa: S301 - from an actor of our own session
    return batch


def _weight(items: Sequence[StreamItem]) -> int:
    return sum(map(weight, items))


class Neighbour(Protocol):
    """An actor in this process."""

    async def put(self, message: Any) -> None:
        """As a ``push`` would: wait until it is in the inbox."""


class Edge:
    """Carries one market's items to the actor named ``receiver``.

    What it carries is already in storage, so nothing here is durable: pushes are wake-ups with a payload. When the
    receiver is away the push is repeated; when too much waits, the oldest items are dropped and the receiver, seeing
    that ``prev_ms`` is ahead of it, pulls them from storage. A receiver among the ``near`` ones, which share this
    process, is handed the batch as it is.
    """

    def __init__(
        self,
        namespace: str,
        receiver: str,
        market: str,
        boundary: Boundary = no_boundary,
        near: Mapping[str, Neighbour] | None = None,
    ) -> None:
        self._near = {} if near is None else near
        self._namespace = namespace
        self._receiver = receiver
        self._market = market
        self._boundary = boundary
        self._pending: deque[tuple[int, int, Sequence[StreamItem], TimeSample | None]] = deque()
        self._count = self._most = self._dropped = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._handle: Any = None
        self._down = False

    def send(self, prev_ms: int, upto_ms: int, items: Sequence[StreamItem], clock: TimeSample | None) -> None:
        """Queue what moves the receiver from ``prev_ms`` to ``upto_ms``; returns at once."""
        self._pending.append((prev_ms, upto_ms, items, clock))
        self._count += _weight(items)
        self._most = max(self._most, self._count)
        while (self._count > _MAX_PENDING or len(self._pending) > _MAX_PENDING) and len(self._pending) > 1:
            self._count -= _weight(self._pending.popleft()[2])
            self._dropped += 1
        self._idle.clear()
        self._wake.set()

    def nudge(self, upto_ms: int) -> None:
        """Say how far the sender has committed: after a restart the receiver may have missed the push."""
        self.send(upto_ms, upto_ms, (), None)

    def stats(self) -> dict[str, int]:
        """Weight of what waits, now and at most, and how many sends were dropped, for the receiver to pull."""
        return {"waiting": self._count, "waiting_most": self._most, "dropped": self._dropped}

    async def flush(self) -> None:
        """Wait until everything queued has been handed over."""
        await self._idle.wait()

    async def run(self) -> None:
        """Hand batches over for ever; the caller keeps this as a background task."""
        while True:
            await self._wake.wait()
            while self._pending:
                batch = self._take()
                await self._deliver(batch)
            self._wake.clear()
            self._idle.set()

    def _take(self) -> Batch:
        prev_ms, upto_ms, first, clock = self._pending.popleft()
        items = list(first)
        while self._pending and self._pending[0][0] == upto_ms and len(items) + len(self._pending[0][2]) <= MAX_ITEMS:
            _, upto_ms, more, clock = self._pending.popleft()
            items.extend(more)
        self._count -= _weight(items)
        return Batch(self._market, prev_ms, upto_ms, tuple(items), clock)

    async def _deliver(self, batch: Batch) -> None:
        if (neighbour := self._near.get(self._receiver)) is not None:
            self._boundary("before_send", batch.upto_ms)
            await neighbour.put(batch)
            self._boundary("after_send", batch.upto_ms)
            self._boundary("after_ack", batch.upto_ms)
            return
        while True:
            try:
                if self._handle is None:
                    self._handle = ray.get_actor(self._receiver, namespace=self._namespace)
                self._boundary("before_send", batch.upto_ms)
                answer = self._handle.push.remote(pack(batch))
                self._boundary("after_send", batch.upto_ms)
                await answer
                self._boundary("after_ack", batch.upto_ms)
            except (RayError, ValueError) as error:
                # ValueError: the receiver is not there yet. Both end when Ray has restarted it.
                if not self._down:
                    log.warning("edge down", receiver=self._receiver, error=type(error).__name__)
                self._down, self._handle = True, None
                await asyncio.sleep(_RETRY_S)
            else:
                if self._down:
                    log.info("edge up", receiver=self._receiver)
                self._down = False
                return


async def flush(edges: Iterable[Edge], within_s: float) -> bool:
    """Wait until ``edges`` have handed over what is queued; whether all did within the time."""
    waits = [asyncio.ensure_future(edge.flush()) for edge in edges]
    if not waits:
        return True
    _, late = await asyncio.wait(waits, timeout=within_s)
    for wait in late:
        wait.cancel()
    return not late
