"""From what a client asks for to a request that can be run: every default filled in, and what cannot be refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backtest.configured import book_named
from backtest.refusals import explained
from backtest.requests import BookRequest
from serve import schemas
from serve.parameters import Naming, interval_name, span
from serve.services import Services
from trading.config.model import StrategyInstance
from trading.errors import BadInput
from trading.strategies.catalogue import own_text
from trading.strategies.folder import own_names
from trading.strategies.registry import load_strategy

__all__ = ["book_request_of", "request_of", "title_of"]

_MA44 = StrategyInstance(name="ma44", strategy="ma44")


async def request_of(service: Services, body: schemas.BacktestRequest) -> dict[str, Any]:
    """The request with every default filled in; BadInput or NotFound names the field."""
    market, _ = await service.markets.find(Naming(body.market, body.symbol))
    instance = _configured(service, body.strategy)
    strategy = body.strategy or (instance.strategy if instance else "ma44")
    params = {**(instance.params if instance else {}), **body.params}
    # A strategy of the user's own is one that an instance runs, or that lies in the folder: nobody can send code.
    source = instance.source if instance is not None and instance.strategy == strategy else ""
    source = await service.shelf.ask(partial(_checked, strategy, params, source))
    wanted = body.intervals or list(instance.intervals if instance else service.config.intervals)
    within = span(_text(body.start), _text(body.end), names=("start", "end"))
    return {
        "strategy": strategy,
        "market": market,
        "intervals": list(dict.fromkeys(_interval(name) for name in wanted)),
        "start_ms": within.start_ms,
        "end_ms": within.end_ms,
        "capital": str(body.capital),
        "profile": body.profile or (instance.profile if instance else "spot"),
        "params": params,
        **({"source": source} if source else {}),
    }


async def book_request_of(service: Services, body: schemas.BookBacktestRequest) -> dict[str, Any]:
    """As ``request_of``, for several strategies, several markets, or both, which share a book, or for one that is
    configured.
    """
    _check_one_of_each(body)
    if body.book is not None:
        return await _configured_book(service, body)
    names = body.strategies or [body.strategy or (service.config.strategies or [_MA44])[0].strategy]
    if body.params and len(names) > 1:
        raise BadInput("Whose params?", field="params", fix="Configure instances with params of their own.")
    wanted = [Naming(name, None) for name in body.markets or ()] or [Naming(body.market, body.symbol)]
    within = span(_text(body.start), _text(body.end), names=("start", "end"))
    request = {
        "markets": [(await service.markets.find(naming))[0] for naming in wanted],
        "start_ms": within.start_ms,
        "end_ms": within.end_ms,
        "capital": body.capital,
    }
    books = {next((item.book for item in service.config.strategies if item.name == name), None) for name in names}
    if len(books) == 1 and (book := books.pop()) is not None:
        request["costs"] = service.config.books[book].costs

    def whole(folder: Path) -> dict[str, Any]:
        return _made({**request, "strategies": [_instance(service, body, name, folder) for name in names]})

    return await service.shelf.ask(whole)


def title_of(request: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Strategies, markets and intervals of a request, as its row names them."""
    if "strategies" not in request:
        return request["strategy"], request["market"], request["intervals"]
    instances = request["strategies"]
    intervals = list(dict.fromkeys(name for item in instances for name in item["intervals"]))
    return ", ".join(item["name"] for item in instances), ", ".join(request["markets"]), intervals


async def _configured_book(service: Services, body: schemas.BookBacktestRequest) -> dict[str, Any]:
    """The request for a configured book, with all that it says."""
    book = book_named(service.config, body.book)
    within = span(_text(body.start), _text(body.end), names=("start", "end"))
    named = [Naming(name, None) for name in body.markets or ()]
    named += [Naming(body.market, body.symbol)] if body.market or body.symbol else []
    wanted = book.request([(await service.markets.find(naming))[0] for naming in named])
    capital = {"capital": body.capital} if "capital" in body.model_fields_set else {}
    return _made({**wanted, **capital, "start_ms": within.start_ms, "end_ms": within.end_ms})


def _check_one_of_each(body: schemas.BookBacktestRequest) -> None:
    """Raise BadInput where the same thing is said twice."""
    pairs = [("strategy", "strategies"), ("market", "markets"), ("symbol", "markets")]
    pairs += [(name, "book") for name in ("strategy", "strategies", "intervals", "profile")]
    for one, other in pairs:
        if getattr(body, one) is not None and getattr(body, other) is not None:
            raise BadInput(f"Give {one} or {other}, not both.", field=other, fix=f"Leave out {one}.")
    if body.book is not None and body.params:
        raise BadInput("Give params or book, not both.", field="params", fix="Its instances have their own.")


def _made(request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return BookRequest.model_validate(request).model_dump(mode="json")
    except ValidationError as error:
        raise explained(error) from None


def _instance(service: Services, body: schemas.BookBacktestRequest, name: str, folder: Path) -> dict[str, Any]:
    """The configured instance ``name`` on the run's markets, or the strategy of that name as an instance."""
    asked = {
        **({"intervals": [_interval(text) for text in body.intervals]} if body.intervals else {}),
        **({"profile": body.profile} if body.profile else {}),
    }
    found = next((item for item in service.config.strategies if item.name == name), None)
    if found is not None:
        return {**found.model_dump(mode="json"), "markets": [], **asked, "params": {**found.params, **body.params}}
    source = _checked(name, dict(body.params), "", folder)
    told = {"name": name, "strategy": name, "source": source, "params": body.params, **asked}
    return {"intervals": service.config.intervals, **told}


def _checked(strategy: str, params: dict[str, Any], source: str, folder: Path) -> str:
    """The text of the strategy, empty for a built-in one; BadInput when it or its parameters cannot be used."""
    source = source or own_text(strategy, folder)
    load_strategy(strategy, params, source, own_names(folder))
    return source


def _configured(service: Services, strategy: str | None) -> StrategyInstance | None:
    return next((item for item in service.config.strategies if strategy in (None, item.strategy)), None)


def _interval(name: str) -> str:
    try:
        return interval_name(name)
    except BadInput as error:
        error.field = "intervals"
        raise


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
