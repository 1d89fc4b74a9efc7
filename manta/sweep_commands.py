"""``manta sweep``. Each verb is thin; what it does lives in the module it imports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from manta.options import AsJson, ConfigPath
from manta.output import finish, guarded
from manta.search_options import (
    CandleFile,
    Capital,
    Constraints,
    EndTime,
    Force,
    Grid,
    InstanceName,
    Intervals,
    Leverage,
    MarketKey,
    MinTrades,
    Profile,
    StartTime,
    StrategyName,
    SymbolName,
    Workers,
    arguments_of,
)

__all__ = ["app"]

app = typer.Typer(help="Many sets of parameters on every core, kept as they come.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="As `manta sweep list` names it.")]


@app.command("run")
def sweep_run(  # noqa: PLR0913, PLR0917 - one parameter for each option
    grid: Grid,
    strategy: StrategyName = None,
    instance: InstanceName = None,
    intervals: Intervals = None,
    market: MarketKey = None,
    symbol: SymbolName = None,
    random: Annotated[int | None, typer.Option(min=1, help="Try this many of the grid at random.")] = None,
    optuna: Annotated[int | None, typer.Option(min=1, help="Let Optuna choose this many of the grid.")] = None,
    halving: Annotated[bool, typer.Option("--halving", help="All on a short part, the best third on longer.")] = False,
    objective: Annotated[
        str, typer.Option(help="The metric to be best in, or a FILE.py with a function objective(metrics).")
    ] = "sharpe",
    min_trades: MinTrades = 0,
    constraint: Constraints = None,
    start: StartTime = None,
    end: EndTime = None,
    capital: Capital = "10000",
    profile: Profile = None,
    leverage: Leverage = None,
    holdout: Annotated[
        str, typer.Option(help="The last share of the range, such as 30%, on which only the best are run afterwards.")
    ] = "0",
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    workers: Workers = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large grid.")] = False,
    file: CandleFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Score every combination of the grid, or some of them, and show the best beside how much of it may be luck."""

    def work() -> Any:
        from backtest.honesty.grid import parse_grid
        from manta.searching import Wanted
        from manta.sweeps import run_command

        arguments = arguments_of(
            strategy=strategy,
            instance=instance,
            market=market,
            symbol=symbol,
            intervals=intervals,
            start=start,
            end=end,
            capital=capital,
            profile=profile,
            leverage=leverage,
            file=file,
        )
        wanted = Wanted(parse_grid(grid), random, optuna, halving, objective, min_trades, tuple(constraint or ()), seed)
        return run_command(arguments, wanted, config, holdout=holdout, workers=workers, yes=yes, quiet=as_json)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else _result_words(result))


@app.command("resume")
def sweep_resume(
    run_id: RunId,
    workers: Workers = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a sweep that was stopped, has failed or was interrupted; nothing is done twice."""
    from manta.sweeps import resume_command

    result = guarded(
        lambda: resume_command(run_id, config, workers=workers, force=force, quiet=as_json), as_json=as_json
    )
    finish(result, as_json=as_json, words=None if as_json else _result_words(result))


@app.command("stop")
def sweep_stop(run_id: RunId, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Stop a running sweep. What it has found is kept."""
    from manta.sweeps import stop_run

    result = guarded(lambda: stop_run(run_id, config), as_json=as_json)
    finish(result, as_json=as_json, words=f"{run_id} is {result['status']}")


@app.command("list")
def sweep_list(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List stored sweeps, newest first."""
    from manta.sweep_words import list_words
    from manta.sweeps import list_runs

    result = guarded(lambda: list_runs(config), as_json=as_json)
    finish(result, as_json=as_json, words=list_words(result))


@app.command("show")
def sweep_show(run_id: RunId, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Show how far a sweep is, or what it found and how many it tried for that."""
    from manta.sweep_words import show_words
    from manta.sweeps import show_run

    result = guarded(lambda: show_run(run_id, config), as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else show_words(result))


@app.command("best")
def sweep_best(
    run_id: RunId,
    by: Annotated[str | None, typer.Option(help="The metric; default: the sweep's objective.")] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 10,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the best sets of parameters so far, of those that fulfil the sweep's constraints."""
    from manta.sweep_words import best_words
    from manta.sweeps import best_of

    result = guarded(lambda: best_of(run_id, config, by=by, top=top), as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else best_words(result))


@app.command("export")
def sweep_export(
    run_id: RunId,
    file: Annotated[Path, typer.Argument(help="Where to: NAME.csv or NAME.parquet.")],
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write every score to a file."""
    from manta.sweeps import export_run

    result = guarded(lambda: export_run(run_id, file, config), as_json=as_json)
    finish(result, as_json=as_json, words=f"{result['rows']} scores in {result['path']}")


@app.command("report")
def sweep_report(
    run_id: RunId,
    out: Annotated[Path | None, typer.Option(help="Where to; default: sweep-ID.html in this folder.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a finished sweep: a page that stands alone."""
    from manta.sweeps import write_page

    result = guarded(lambda: write_page(run_id, out, config), as_json=as_json)
    finish(result, as_json=as_json, words=result["path"])


@app.command("delete")
def sweep_delete(
    run_id: RunId,
    force: Annotated[bool, typer.Option("--force", help="Also one that has not finished.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a sweep and all its scores."""
    from manta.sweeps import delete_run

    result = guarded(lambda: delete_run(run_id, config, force=force), as_json=as_json)
    finish(result, as_json=as_json, words=f"{result['deleted']} is deleted")


def _result_words(result: dict[str, Any]) -> str:
    from manta.sweep_words import show_words

    return show_words({"error": "", **result})
