"""The dashboard and the API's documentation: our own files, and two libraries' files straight from their wheels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serve.routes.system import root
from trading.errors import ConfigError

__all__ = ["install"]

_OURS = Path(__file__).parent / "dashboard"
_SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")


def install(app: FastAPI) -> None:
    """Add ``/``, ``/dashboard`` and ``/docs``. Only named files of a wheel are served, never its folder."""
    chart = _wheel("lightweight_charts") / "js" / "lightweight-charts.js"
    vendor = {"dashboard/vendor/lightweight-charts.js": _there(chart)}
    swagger = sorted((_wheel("swagger_ui_bundle") / "vendor").glob("swagger-ui-*"))
    for name in _SWAGGER_FILES:
        vendor[f"docs/vendor/{name}"] = _there(swagger[-1] / name) if swagger else _there(Path(name))
    for path, file in vendor.items():
        app.router.routes.append(Route(f"/{path}", _file(file, "public, max-age=86400"), include_in_schema=False))
    app.router.routes.extend(
        [
            Route("/", _root, include_in_schema=False),
            Route("/favicon.ico", _file(_OURS / "icon.svg", "public, max-age=86400"), include_in_schema=False),
            Route("/dashboard", _file(_OURS / "index.html"), include_in_schema=False),
            Route("/dashboard/market", _file(_OURS / "market.html"), include_in_schema=False),
            Route("/dashboard/data", _file(_OURS / "data.html"), include_in_schema=False),
            Route("/dashboard/strategies", _file(_OURS / "strategies.html"), include_in_schema=False),
            Route("/dashboard/backtests", _file(_OURS / "backtests.html"), include_in_schema=False),
            Route("/dashboard/sweeps", _file(_OURS / "sweeps.html"), include_in_schema=False),
            Route("/dashboard/report", _file(_OURS / "report.html"), include_in_schema=False),
            Route("/docs", _file(_OURS / "docs.html"), include_in_schema=False),
            Mount("/dashboard", StaticFiles(directory=_OURS, html=True)),
        ]
    )


def _root(request: Request) -> Response:
    """People go to the dashboard, programs get JSON."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/dashboard")
    return root(request)


def _file(path: Path, cache: str = "no-cache") -> object:
    async def answer(request: Request) -> Response:
        return FileResponse(path, headers={"Cache-Control": cache})

    return answer


def _wheel(package: str) -> Path:
    # Importing the charting package would pull in a desktop window toolkit; its place on disk is all that is needed.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(f"The package {package} is not installed.", fix="Install Manta again: ./run help")
    return Path(spec.origin).parent


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path.name} is missing from its package.", fix="Install Manta again from its lock file.")
    return path
