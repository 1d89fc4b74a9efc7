"""``manta backtest run``: one run with a progress bar, its result stored like one that the API started."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

from pydantic import ValidationError

from backtest.configured import book_named
from backtest.refusals import explained
from backtest.run import BacktestRequest, BookRequest, book_of, resolve_symbol, run_stored
from manta.options import parse_amount, parse_time
from manta.progress import bar
from manta.service import database_target
from manta.tables import amount, money, percent, ratio, signed_percent, table
from trading.config.loading import config_path as find_config
from trading.config.loading import load_config, strategies_folder
from trading.config.model import Config, StrategyInstance
from trading.errors import BadInput
from trading.storage import backtests
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.strategies.folder import own_names, own_source
from trading.strategies.registry import STRATEGIES, load_strategy

__all__ = [
    "BacktestArguments",
    "files_of",
    "left_out",
    "paths_of",
    "readable_files_of",
    "request_of",
    "result_words",
    "run_command",
    "single_request_of",
]

_OF_MARKET = re.compile(r"([a-z][a-z0-9_]*:[^=/]+)=(.+)")
Made = TypeVar("Made")

_INTERVALS, _CAPITAL, _PROFILE, _LEVERAGE = "37m", Decimal(10_000), "perp", Decimal(1)
_OF_INSTANCE = ("profile", "leverage", "size", "exits", "entries")


@dataclass(frozen=True, slots=True)
class BacktestArguments:
    """What the command line says; None and empty: nothing. No ``strategies``: the configured instances."""

    strategies: tuple[str, ...]
    markets: tuple[str, ...]
    symbol: str | None
    intervals: tuple[str, ...] | None
    start_ms: int | None
    end_ms: int | None
    capital: Decimal | None
    profile: str | None
    leverage: Decimal | None
    files: tuple[str, ...]
    max_missing: Decimal = Decimal(1)
    book: str | None = None
    instance: str | None = None

    @classmethod
    def parse(  # noqa: PLR0913 - one for each option
        cls,
        *,
        strategies: Sequence[str],
        markets: Sequence[str],
        symbol: str | None,
        intervals: str | None,
        start: str | None,
        end: str | None,
        capital: str | None,
        profile: str | None,
        leverage: str | None,
        files: Sequence[str],
        max_missing: float | None = None,
        book: str | None = None,
        instance: str | None = None,
    ) -> Self:
        """The arguments as a user writes them; BadInput names the one that cannot be read."""
        listed = None if intervals is None else [text.strip() for text in intervals.split(",") if text.strip()]
        return cls(
            strategies=tuple(strategies),
            markets=tuple(markets),
            symbol=symbol,
            intervals=None if listed is None else tuple(listed),
            start_ms=parse_time(start, "start") if start else None,
            end_ms=parse_time(end, "end") if end else None,
            capital=None if capital is None else parse_amount(capital, "capital"),
            profile=profile,
            leverage=None if leverage is None else parse_amount(leverage, "leverage"),
            files=tuple(files),
            max_missing=Decimal(1) if max_missing is None else Decimal(str(max_missing)),
            book=book,
            instance=instance,
        )


def run_command(arguments: BacktestArguments, config_path: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Check the request, run it, store it; raises MantaError, having stored at most the reason."""
    request = request_of(arguments, config_path)
    files = readable_files_of(arguments.files, request.traded)
    return asyncio.run(_run(request, files, config_path, quiet=quiet))


def result_words(result: dict[str, Any]) -> str:
    twin = result["pessimistic"]
    figures: list[tuple[str, str, Callable[[Any], str]]] = [
        ("total return", "total_return", signed_percent),
        ("max drawdown", "max_drawdown", percent),
        ("Sharpe", "sharpe", ratio),
        ("Sortino", "sortino", ratio),
        ("win rate", "win_rate", percent),
        ("profit factor", "profit_factor", ratio),
        ("trades", "trades", amount),
        ("fees", "fees", money),
        ("final equity", "final_equity", money),
    ]
    rows = [[title, shown(result[key]), shown(twin[key])] for title, key, shown in figures]
    lines = [f"run {result['run_id']}", *table(["", "as assumed", "twice the costs"], rows)]
    if len(result["parts"]) > 1:
        parts = [
            [
                f"{part['instance']} {part['market']} {part['interval']}",
                signed_percent(part["total_return"]),
                percent(part["max_drawdown"]),
                ratio(part["sharpe"]),
                amount(part["trades"]),
            ]
            for part in result["parts"]
        ]
        lines += ["", *table(["part", "return", "drawdown", "Sharpe", "trades"], parts)]
    return "\n".join([*lines, "", *(f"- {text}" for text in result["assumptions"])])


def request_of(arguments: BacktestArguments, config_path: Path | None) -> BacktestRequest | BookRequest:
    """The checked request; BadInput names what is wrong."""
    config = load_config(config_path, os.environ)
    if not arguments.strategies:
        return _of_the_configuration(arguments, config)
    if arguments.book is not None:
        raise BadInput(
            "--book is for the configured instances, and --strategy says what to run instead.",
            field="book",
            value=arguments.book,
            fix="Give one of them.",
        )
    _once(arguments.strategies, "strategy", "Configure two instances of it, each with a name, to run both.")
    markets = _markets(arguments, config.markets)
    if len(arguments.strategies) == len(markets) == 1:
        return _single(arguments, markets[0], config_path)
    made = []
    for name in arguments.strategies:
        source = _source(name, config_path)
        made.append(
            _made(
                StrategyInstance,
                name=name,
                strategy=name,
                source=source,
                intervals=arguments.intervals if arguments.intervals is not None else (_INTERVALS,),
                profile=arguments.profile or _PROFILE,
                leverage=arguments.leverage or _LEVERAGE,
            )
        )
    capital = arguments.capital or _CAPITAL
    return _made(BookRequest, strategies=made, markets=markets, capital=capital, **_common(arguments))


def single_request_of(arguments: BacktestArguments, config_path: Path | None) -> BacktestRequest:
    """As ``request_of``, for one market, and one strategy as it is or one configured instance."""
    config = load_config(config_path, os.environ)
    if arguments.instance is not None:
        return _of_an_instance(arguments, arguments.instance, config)
    if not arguments.strategies:
        raise BadInput(
            "Which strategy?",
            field="strategy",
            fix="Give --strategy NAME, or --instance NAME for one as it is configured.",
        )
    return _single(arguments, _markets(arguments, config.markets)[0], config_path)


def left_out(request: BacktestRequest, grid: Collection[str], config_path: Path | None) -> dict[str, list[str]]:
    """By name the configured instances of the strategy of ``request``, with what they have that it does not use.

    Parameters of ``grid`` are not counted: the search chooses them. Nor are the defaults: nobody has chosen them.
    """
    if find_config(config_path, os.environ) is None:
        return {}
    config = load_config(config_path, os.environ)
    found = {}
    for item in config.strategies:
        if item.strategy != request.strategy:
            continue
        params = {name: value for name, value in item.params.items() if name not in grid}
        differs = [name for name in _OF_INSTANCE if getattr(item, name) != getattr(request, name)]
        differs += ["params"] if params != request.params else []
        differs += ["costs"] if config.books[item.book].costs != request.costs else []
        if differs:
            found[item.name] = differs
    return found


def files_of(given: Sequence[str], markets: Sequence[str], *, of_all: bool = True) -> dict[str, Path]:
    """The file of each of ``markets``: PATHs in their order, or MARKET=PATH in any. None given: none, so all from the
    database; BadInput for a file too many, and ``of_all`` for one that is missing.
    """
    named = [match for text in given if (match := _OF_MARKET.fullmatch(text)) and not Path(text).is_file()]
    if not named:
        if given and len(given) != len(markets):
            raise BadInput(
                f"There are {len(given)} files for {len(markets)} markets.",
                field="file",
                value=", ".join(given),
                fix=f"Give one --file for each of {', '.join(markets)}, in this order or as MARKET=PATH.",
            )
        return {market: Path(text) for market, text in zip(markets, given, strict=False)}
    for text in given:
        if text not in {match[0] for match in named}:
            raise BadInput(
                f"Which market is {text} of?", field="file", value=text, fix="Write it like binance:BTCUSDT=PATH."
            )
    _once([match[1] for match in named], "file", "Give one file for each market.")
    found = {match[1]: Path(match[2]) for match in named}
    for market in found:
        if market not in markets:
            raise BadInput(
                f"There is a file of {market}, which is not asked for.",
                field="file",
                value=market,
                fix=f"Add --market {market}, or leave the file out; asked for: {', '.join(markets)}.",
            )
    for market in markets if of_all else ():
        if market not in found:
            raise BadInput(
                f"There is no file of {market}, and one of others.",
                field="file",
                value=market,
                fix=f"Add --file {market}=PATH, or give none to read all from the database.",
            )
    return found


def readable_files_of(given: Sequence[str], markets: Sequence[str]) -> dict[str, Path]:
    """As ``files_of``; BadInput, too, for a file that is not there or cannot be read, before anything is begun."""
    found = files_of(given, markets)
    for path in found.values():
        try:
            path.open("rb").close()
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read: {error.strerror}.", field="file", value=str(path), fix="Check the path."
            ) from error
    return found


def paths_of(files: Mapping[str, Path]) -> dict[str, str]:
    """As a row keeps them: whole, since whoever resumes it may stand in another folder."""
    return {market: str(path.resolve()) for market, path in files.items()}


def _of_the_configuration(arguments: BacktestArguments, config: Config) -> BookRequest:
    """The instances of one configured book with its costs, as they would run live."""
    for option in ("intervals", "profile", "leverage"):
        if getattr(arguments, option) is not None:
            raise BadInput(
                f"--{option} needs --strategy: configured instances have their own.",
                field=option,
                value=getattr(arguments, option),
                fix="Give --strategy, or leave it out.",
            )
    book = book_named(config, arguments.book)
    wanted = book.request(_asked_markets(arguments, list(book.traded)))
    wanted["capital"] = arguments.capital or wanted["capital"]
    return _made(BookRequest, **wanted, **_common(arguments))


def _of_an_instance(arguments: BacktestArguments, name: str, config: Config) -> BacktestRequest:
    """A configured instance with the costs of its book; on other intervals, range and capital if they are given."""
    for option, value in (
        ("strategy", ", ".join(arguments.strategies) or None),
        ("profile", arguments.profile),
        ("leverage", arguments.leverage),
    ):
        if value is not None:
            raise BadInput(
                f"--instance and --{option} both say what to run: a configured instance has its own.",
                field=option,
                value=value,
                fix="Give one of them.",
            )
    item = next((item for item in config.strategies if item.name == name), None)
    if item is None:
        names = ", ".join(item.name for item in config.strategies)
        raise BadInput(
            f"The configuration has no instance {name}.",
            field="instance",
            value=name,
            fix=f"Use one of: {names}." if names else "Configure `strategies`, or give --strategy NAME.",
        )
    return _made(
        BacktestRequest,
        strategy=item.strategy,
        market=_markets(arguments, config.markets_of(item))[0],
        source=item.source,
        intervals=arguments.intervals if arguments.intervals is not None else item.intervals,
        capital=arguments.capital or _CAPITAL,
        costs=config.books[item.book].costs,
        params=item.params,
        **{field: getattr(item, field) for field in _OF_INSTANCE},
        **_common(arguments),
    )


def _single(arguments: BacktestArguments, market: str, config_path: Path | None) -> BacktestRequest:
    return _made(
        BacktestRequest,
        strategy=arguments.strategies[0],
        market=market,
        source=_source(arguments.strategies[0], config_path),
        intervals=arguments.intervals if arguments.intervals is not None else (_INTERVALS,),
        capital=arguments.capital or _CAPITAL,
        profile=arguments.profile or _PROFILE,
        leverage=arguments.leverage or _LEVERAGE,
        **_common(arguments),
    )


def _common(arguments: BacktestArguments) -> dict[str, Any]:
    return {
        "start_ms": arguments.start_ms,
        "end_ms": arguments.end_ms,
        "max_missing_percent": arguments.max_missing,
    }


def _made(kind: Callable[..., Made], **values: Any) -> Made:
    try:
        return kind(**values)
    except ValidationError as error:
        raise explained(error) from error


def _source(strategy: str, config_path: Path | None) -> str:
    """The text of an own strategy, empty for a built-in one; BadInput when there is none of this name."""
    folder = strategies_folder(config_path, os.environ)
    source = own_source(folder, strategy, STRATEGIES)
    load_strategy(strategy, None, source, own_names(folder))
    return source


def _markets(arguments: BacktestArguments, configured: Sequence[str]) -> list[str]:
    found = _asked_markets(arguments, configured)
    if not found and len(configured) != 1:
        raise BadInput("Which market?", field="market", fix=f"Give --market, one of: {', '.join(configured)}.")
    return found or list(configured)


def _asked_markets(arguments: BacktestArguments, configured: Sequence[str]) -> list[str]:
    if arguments.markets and arguments.symbol is not None:
        raise BadInput(
            "--market and --symbol both say what to trade.",
            field="symbol",
            value=arguments.symbol,
            fix="Give one of them.",
        )
    _once(arguments.markets, "market", "Give each market once.")
    return [resolve_symbol(configured, arguments.symbol)] if arguments.symbol else list(arguments.markets)


def _once(names: Sequence[str], field: str, fix: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise BadInput(f"{name} is there twice.", field=field, value=name, fix=fix)


async def _run(
    request: BacktestRequest | BookRequest, files: Mapping[str, Path], config_path: Path | None, *, quiet: bool
) -> dict[str, Any]:
    run_id = uuid4()
    strategy, market, intervals = request.title()
    async with database_target(config_path) as target:
        await migrate(target, "venue")
        async with Database(target, application_name="manta backtest") as database:
            await database.run(
                lambda connection: backtests.queue(
                    connection,
                    run_id,
                    book=book_of(run_id),
                    strategy=strategy,
                    market=market,
                    intervals=intervals,
                    config=request.model_dump(mode="json"),
                )
            )
            with bar("backtest", 100, quiet=quiet) as tell:
                return await run_stored(database, run_id, request, files, lambda share: tell(round(share * 100)))
