"""What the routes share: one object per replica, made with the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.responses import Response

from serve.database import Database
from serve.parameters import Markets
from serve.shelf import Shelf
from serve.stream import Hub
from serve.summaries import Summaries
from trading.config.model import Config

__all__ = ["Launch", "Service", "Services", "json_text"]

Launch = Callable[[UUID, dict[str, Any]], Awaitable[None] | None]
"""Starts a run whose queued row exists already; returns as soon as it is on its way."""


@dataclass(frozen=True, slots=True)
class Services:
    config: Config
    database: Database
    markets: Markets
    summaries: Summaries
    hub: Hub
    shelf: Shelf
    launch: Launch | None
    launch_walkforward: Launch | None = None
    launch_sweep: Launch | None = None


def _services(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


Service = Annotated[Services, Depends(_services)]


def json_text(body: bytes | str) -> Response:
    """A response from JSON that is written already."""
    return Response(body, media_type="application/json")
