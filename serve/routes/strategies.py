"""Strategies there are to choose from: built in, and the user's own. Nobody can send code: files are read by name."""

from __future__ import annotations

from pathlib import Path as Folder
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.responses import JSONResponse, Response

from serve import run_schemas
from serve.problems import NotFound
from serve.services import Service
from trading.parameters import nearest
from trading.strategies.catalogue import catalogue, describe
from trading.strategies.folder import own_names
from trading.strategies.registry import STRATEGIES

__all__ = ["router"]

router = APIRouter(prefix="/strategies", tags=["strategies"])


@router.get("", response_model=run_schemas.Strategies)
async def strategies(service: Service) -> Response:
    """Every strategy with its parameters, features and warm-up; of own files that cannot be used, where and why."""
    found, broken = await service.shelf.ask(catalogue)
    return JSONResponse({"items": found, "next_cursor": None, "broken": broken})


@router.get("/{name}", response_model=run_schemas.StrategyText)
async def strategy(service: Service, name: Annotated[str, Path(max_length=40)]) -> Response:
    """One strategy with its text. A file of that name that is broken is a bad input, which names its line."""

    def look(folder: Folder) -> dict[str, Any]:
        known = (*STRATEGIES, *own_names(folder))
        if name not in known:
            raise NotFound(f"There is no strategy {name!r}.", field="name", value=name, fix=nearest(name, known))
        return describe(name, folder)

    return JSONResponse(await service.shelf.ask(look))
