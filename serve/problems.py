"""Every error an API client can see, as RFC 9457 problem details that name the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from trading.errors import MantaError

__all__ = ["MEDIA_TYPE", "NotFound", "Refused", "install", "problem"]

MEDIA_TYPE = "application/problem+json"
DATABASE_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
)
_log = structlog.get_logger(__name__)


class NotFound(MantaError):
    """What the request names does not exist."""

    http_status = 404
    title = "Not found"


class Refused(MantaError):
    """The request is understood but cannot be done in the present state."""

    http_status = 409
    title = "Conflict"


def problem(
    status: int,
    detail: str,
    *,
    title: str | None = None,
    field: str | None = None,
    fix: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem-details response; ``field`` and ``fix`` are left out when there is none."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    body |= {name: value for name, value in (("field", field), ("fix", fix), ("errors", errors)) if value}
    return Response(json.dumps(body), status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""
    app.add_exception_handler(MantaError, _manta)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in DATABASE_DOWN:
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, _bug)


async def _manta(request: Request, error: Exception) -> Response:
    error = cast("MantaError", error)
    return problem(error.http_status, error.message, title=error.title, field=error.field, fix=error.fix)


async def _invalid(request: Request, error: Exception) -> Response:
    error = cast("RequestValidationError", error)
    found = [{"field": _field(item["loc"]), "detail": str(item["msg"])} for item in error.errors()]
    first = found[0] if found else {"field": "body", "detail": "The request is not valid."}
    return problem(422, f"{first['field']}: {first['detail']}", title="Bad input", field=first["field"], errors=found)


def _field(location: tuple[Any, ...]) -> str:
    """``("query", "limit")`` is ``limit``; a body that is no JSON is ``body``."""
    named = [str(part) for part in location[1:] if not isinstance(part, int)]
    return ".".join(named) or str(location[0])


async def _http(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}."
    elif error.status_code == 405:
        detail = f"{request.method} is not possible at {request.url.path}."
    return problem(error.status_code, detail, headers=error.headers)


async def _database(request: Request, error: Exception) -> Response:
    _log.warning("database_unreachable", path=request.url.path, error=type(error).__name__)
    return problem(
        503,
        "The database cannot be reached.",
        fix="Wait a few seconds; if it stays so, look at `manta status`.",
        headers={"Retry-After": "2"},
    )


async def _bug(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(500, "This is a bug in Manta; the log has the details.")
