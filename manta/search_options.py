"""Options that sweeps and walk-forwards share, and what they mean for the backtests that are tried."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manta.backtests import BacktestArguments

__all__ = [
    "CandleFile", "Capital", "Constraints", "EndTime", "Force", "Grid", "InstanceName", "Intervals", "Leverage",
    "MarketKey", "MinTrades", "Profile", "StartTime", "StrategyName", "SymbolName", "Workers", "arguments_of",
]  # fmt: skip

Grid = Annotated[list[str], typer.Option(help="Values to try: period=20:60:10 or period=20,44,125. Repeatable.")]
StrategyName = Annotated[
    str | None,
    typer.Option(help="Its name, such as ma44: exits, entries and all else of the configuration are not used."),
]
InstanceName = Annotated[
    str | None,
    typer.Option(help="Instead: a configured instance, with its params, exits, entries, profile and costs."),
]
Intervals = Annotated[
    str | None,
    typer.Option(
        "--intervals", "--interval", help="One or more, such as 37m,148m; default: 37m, or the instance's own."
    ),
]
MarketKey = Annotated[str | None, typer.Option(help="Such as binance:BTCUSDT.")]
SymbolName = Annotated[str | None, typer.Option(help="A base such as BTC, if one configured market has it.")]
MinTrades = Annotated[int, typer.Option(min=0, help="Closed trades a set needs to count.")]
Constraints = Annotated[list[str] | None, typer.Option(help="Such as max_drawdown<=0.3. Repeatable.")]
StartTime = Annotated[str | None, typer.Option(help="First decision not before this UTC time.")]
EndTime = Annotated[str | None, typer.Option(help="No candle that closes after this UTC time.")]
Capital = Annotated[str, typer.Option(help="Quote currency to begin with.")]
Profile = Annotated[
    str | None,
    typer.Option(
        help="With --strategy: perp (long and short), the default here, or spot (long only). An instance has its own,"
        " which is spot where it says none."
    ),
]
Leverage = Annotated[str | None, typer.Option(help="With --strategy; default: 1.")]
CandleFile = Annotated[Path | None, typer.Option(help="Candles from a csv, csv.gz or parquet file.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=4096, help="Cores to use; default: all. 1: this process alone, without Ray.")
]
Force = Annotated[bool, typer.Option("--force", help="Also one that another process seems to run.")]


def arguments_of(  # noqa: PLR0913 - one for each option
    *,
    strategy: str | None,
    instance: str | None,
    market: str | None,
    symbol: str | None,
    intervals: str | None,
    start: str | None,
    end: str | None,
    capital: str,
    profile: str | None,
    leverage: str | None,
    file: Path | None,
) -> BacktestArguments:
    """What every set of parameters has in common; BadInput names the option that cannot be read."""
    from manta.backtests import BacktestArguments

    return BacktestArguments.parse(
        strategies=[strategy] if strategy is not None else [],
        instance=instance,
        markets=[market] if market is not None else [],
        symbol=symbol,
        intervals=intervals,
        start=start,
        end=end,
        capital=capital,
        profile=profile,
        leverage=leverage,
        files=[str(file)] if file is not None else [],
    )
