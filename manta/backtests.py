"""``manta backtest run``: one run with a progress bar, its result stored like one that the API started."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from pydantic import ValidationError

from backtest.refusals import explained
from backtest.run import BacktestRequest, book_of, resolve_symbol, run_stored
from manta.options import parse_amount, parse_time
from manta.progress import bar
from manta.service import database_target
from trading.config.loading import load_config, strategies_folder
from trading.errors import BadInput
from trading.storage import backtests
from trading.storage.database import Database
from trading.storage.migrate import migrate
from trading.strategies.folder import own_names, own_source
from trading.strategies.registry import STRATEGIES, load_strategy

__all__ = ["BacktestArguments", "request_of", "result_words", "run_command"]


@dataclass(frozen=True, slots=True)
class BacktestArguments:
    strategy: str
    market: str | None
    symbol: str | None
    intervals: tuple[str, ...]
    start_ms: int | None
    end_ms: int | None
    capital: Decimal
    profile: str
    leverage: Decimal
    file: Path | None
    max_missing: Decimal = Decimal(1)

    @classmethod
    def parse(  # noqa: PLR0913 - one for each option
        cls,
        *,
        strategy: str,
        market: str | None,
        symbol: str | None,
        intervals: str,
        start: str | None,
        end: str | None,
        capital: str,
        profile: str,
        leverage: str,
        file: Path | None,
        max_missing: float | None = None,
    ) -> Self:
        """The arguments as a user writes them; BadInput names the one that cannot be read."""
        return cls(
            strategy=strategy,
            market=market,
            symbol=symbol,
            intervals=tuple(text.strip() for text in intervals.split(",") if text.strip()),
            start_ms=parse_time(start, "start") if start else None,
            end_ms=parse_time(end, "end") if end else None,
            capital=parse_amount(capital, "capital"),
            profile=profile,
            leverage=parse_amount(leverage, "leverage"),
            file=file,
            max_missing=Decimal(1) if max_missing is None else Decimal(str(max_missing)),
        )


def run_command(arguments: BacktestArguments, config_path: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Check the request, run it, store it; raises MantaError, having stored at most the reason."""
    request = request_of(arguments, config_path)
    return asyncio.run(_run(request, arguments.file, config_path, quiet=quiet))


def result_words(result: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:+.2%}"

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    twin = result["pessimistic"]
    lines = [
        f"run {result['run_id']}",
        f"{'':24}{'as assumed':>14}{'twice the costs':>18}",
    ]
    for title, key, shown in (
        ("total return", "total_return", percent),
        ("max drawdown", "max_drawdown", percent),
        ("Sharpe", "sharpe", number),
        ("Sortino", "sortino", number),
        ("win rate", "win_rate", percent),
        ("profit factor", "profit_factor", number),
    ):
        lines.append(f"{title:24}{shown(result[key]):>14}{shown(twin[key]):>18}")
    for key in ("trades", "fees", "final_equity"):
        left, right = (f"{float(value[key]):,.2f}" if key != "trades" else value[key] for value in (result, twin))
        lines.append(f"{key.replace('_', ' '):24}{left:>14}{right:>18}")
    lines += ["", *(f"- {text}" for text in result["assumptions"])]
    return "\n".join(lines)


def request_of(arguments: BacktestArguments, config_path: Path | None) -> BacktestRequest:
    """The checked request; BadInput names what is wrong."""
    config = load_config(config_path, os.environ)
    folder = strategies_folder(config_path, os.environ)
    source = own_source(folder, arguments.strategy, STRATEGIES)
    load_strategy(arguments.strategy, None, source, own_names(folder))
    market = arguments.market
    if market is not None and arguments.symbol is not None:
        raise BadInput(
            "--market and --symbol both say what to trade.",
            field="symbol",
            value=arguments.symbol,
            fix="Give one of them.",
        )
    if market is None:
        configured = config.markets
        market = resolve_symbol(configured, arguments.symbol) if arguments.symbol else None
        if market is None:
            if len(configured) != 1:
                raise BadInput("Which market?", field="market", fix=f"Give --market, one of: {', '.join(configured)}.")
            market = configured[0]
    try:
        return BacktestRequest(
            strategy=arguments.strategy,
            market=market,
            intervals=arguments.intervals,
            start_ms=arguments.start_ms,
            end_ms=arguments.end_ms,
            capital=arguments.capital,
            profile=arguments.profile,
            leverage=arguments.leverage,
            max_missing_percent=arguments.max_missing,
            source=source,
        )
    except ValidationError as error:
        raise explained(error) from error


async def _run(request: BacktestRequest, file: Path | None, config_path: Path | None, *, quiet: bool) -> dict[str, Any]:
    run_id = uuid4()
    async with database_target(config_path) as target:
        await migrate(target, "venue")
        async with Database(target, application_name="manta backtest") as database:
            await database.run(
                lambda connection: backtests.queue(
                    connection,
                    run_id,
                    book=book_of(run_id),
                    strategy=request.strategy,
                    market=request.market,
                    intervals=request.intervals,
                    config=request.model_dump(mode="json"),
                )
            )
            with bar("backtest", 100, quiet=quiet) as tell:
                return await run_stored(database, run_id, request, file, lambda share: tell(round(share * 100)))
