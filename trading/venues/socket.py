"""One websocket to a venue, opened within limits, and why it ended.

Venues ping and the websocket library answers; our own pings find a dead path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from trading.errors import VenueRetryable
from trading.venues.origin import Origin

__all__ = ["close_reason", "venue_socket"]

_LARGEST_MESSAGE = 256 * 1024
_HELD_MESSAGES = 256
_PING_S = 20.0


class _ConnectHere(connect):
    """Follows no redirect: a feed talks to the host that its configuration names, or to none."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@asynccontextmanager
async def venue_socket(
    url: str, *, origin: Origin, timeout_s: float, pings: bool = True
) -> AsyncIterator[ClientConnection]:
    """Open the socket for the length of a ``with`` block; raise VenueRetryable that says why it cannot be opened.

    ``pings``: send websocket pings, for a venue that has no ping of its own.
    """
    opening = _ConnectHere(
        url,
        open_timeout=timeout_s,
        close_timeout=1.0,
        compression=None,
        max_size=_LARGEST_MESSAGE,
        max_queue=_HELD_MESSAGES,
        proxy=True if origin == "venue" else None,
        user_agent_header="manta",
        ping_interval=_PING_S if pings else None,
    )
    try:
        socket = await opening
    except InvalidStatus as error:
        after = error.response.headers.get("Retry-After", "")
        wait_s = float(after) if after.isdecimal() else None
        raise VenueRetryable(f"refused with HTTP {error.response.status_code}", retry_after_s=wait_s) from error
    except TimeoutError as error:
        raise VenueRetryable(f"no connection within {timeout_s:g} s") from error
    except (InvalidHandshake, InvalidURI, OSError, EOFError, ConnectionClosed) as error:
        raise VenueRetryable(f"no connection: {error or type(error).__name__}") from error
    try:
        yield socket
    finally:
        await socket.close()


def close_reason(error: ConnectionClosed) -> str:
    """Say in a few words how a connection ended."""
    frame = error.rcvd or error.sent
    if frame is None:
        return "connection broke"
    who = "venue" if error.rcvd is not None else "we"
    return f"{who} closed with {frame.code} {frame.reason}".rstrip()
