"""The HTTP application, made by a factory: the same under Ray Serve and under any ASGI server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from serve import pages, problems, schemas
from serve.database import Database
from serve.parameters import Markets
from serve.routes import account, backtests, data, gaps, market_data, parity, strategies, sweeps, system, walkforwards
from serve.security import Door, Guard
from serve.services import Launch, Services
from serve.shelf import Shelf
from serve.stream import Hub
from serve.summaries import Summaries
from trading import __version__
from trading.config.model import Config
from trading.storage.settings import DatabaseTarget

__all__ = ["build_app"]

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "content": {problems.MEDIA_TYPE: {}}, "description": text}
    for status, text in {
        400: "The request is malformed.",
        401: "The API token is missing or wrong.",
        404: "No such thing.",
        409: "Not possible now.",
        422: "A field is wrong; `field` names it.",
        503: "The database cannot be reached.",
    }.items()
}


def build_app(
    config: Config,
    target: DatabaseTarget,
    *,
    token: str | None = None,
    launch: Launch | None = None,
    launch_walkforward: Launch | None = None,
    launch_sweep: Launch | None = None,
) -> FastAPI:
    """The application for one configuration and database. Raises ConfigError when the bind is not safe without a token.

    It connects when first asked, so it starts and answers /health while Postgres is away.
    ``launch(run_id, request)`` starts a backtest whose row is queued; ``request`` has strategy, market, intervals,
    start_ms, end_ms, capital, profile and params. ``launch_walkforward`` does the same for a walk-forward, whose
    request has such a ``backtest``, its grid and its windows, and ``launch_sweep`` for a sweep.
    """
    door = Door.of(config.serve, token)
    database = Database(target)
    markets = Markets(database, config.markets)
    hub = Hub(database)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        yield
        await hub.stop()
        await database.close()

    app = FastAPI(
        title="Manta",
        version=__version__,
        description="Candles, decisions and books of a Manta system. Times are epoch milliseconds UTC; money is"
        " decimal text.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    summaries = Summaries(database, markets, config)
    shelf = Shelf(config.strategies_folder)
    app.state.services = Services(
        config, database, markets, summaries, hub, shelf, launch, launch_walkforward, launch_sweep
    )
    api = APIRouter(prefix="/api/v1", responses=_PROBLEMS)
    routers = (
        market_data.router, data.router, gaps.router, account.router, system.router, strategies.router,
        backtests.router, walkforwards.router, sweeps.router, parity.router,
    )  # fmt: skip
    for part in routers:
        api.include_router(part)
    app.include_router(api)
    pages.install(app)
    problems.install(app)
    _describe_token(app, for_reads=door.token_for_reads)
    app.add_middleware(Guard, door=door)
    return app


def _describe_token(app: FastAPI, *, for_reads: bool) -> None:
    """Say in the OpenAPI document which calls need the token; the Guard is what enforces it."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path in document["paths"].values():
                for method, operation in path.items():
                    if for_reads or method not in ("get", "head"):
                        operation["security"] = [{"token": []}]
                    for status, answer in operation["responses"].items():
                        if answer.get("content", {}).get(problems.MEDIA_TYPE) == {}:
                            answer["content"] = {problems.MEDIA_TYPE: answer["content"].get("application/json", {})}
                        elif status == "422":
                            answer["content"] = {
                                problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}
                            }
        return made()

    app.openapi = openapi  # type: ignore[method-assign]
