"""``manta walkforward``. Each verb is thin; what it does lives in the module it imports."""

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

app = typer.Typer(help="Parameters chosen on the past, judged on what follows.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="As `manta walkforward list` names it.")]


@app.command("run")
def walkforward_run(  # noqa: PLR0913, PLR0917 - one parameter for each option
    grid: Grid,
    strategy: StrategyName = None,
    instance: InstanceName = None,
    intervals: Intervals = None,
    market: MarketKey = None,
    symbol: SymbolName = None,
    random: Annotated[int | None, typer.Option(min=2, help="Try this many of the grid at random.")] = None,
    optuna: Annotated[int | None, typer.Option(min=2, help="Let Optuna choose this many in each training.")] = None,
    halving: Annotated[bool, typer.Option("--halving", help="In each training all on its last part first.")] = False,
    objective: Annotated[
        str, typer.Option(help="The metric to choose by, or a FILE.py with a function objective(metrics).")
    ] = "sharpe",
    min_trades: MinTrades = 0,
    constraint: Constraints = None,
    start: StartTime = None,
    end: EndTime = None,
    mode: Annotated[str, typer.Option(help="rolling: train on the last days; anchored: on all before.")] = "rolling",
    train: Annotated[int, typer.Option(help="Days to choose on.")] = 90,
    test: Annotated[int, typer.Option(help="Days to judge on.")] = 30,
    purge: Annotated[int, typer.Option(help="Days before a test that are not trained on.")] = 1,
    embargo: Annotated[int, typer.Option(help="Days after a test that later trainings leave out.")] = 0,
    capital: Capital = "10000",
    profile: Profile = None,
    leverage: Leverage = None,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    workers: Workers = None,
    file: CandleFile = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Try every combination, choose on each training window, and report only the windows after them."""

    def work() -> Any:
        from backtest.honesty.grid import parse_grid
        from manta.searching import Wanted
        from manta.walkforwards import Windows, run_command

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
        windows = Windows(mode, train, test, purge, embargo)
        return run_command(arguments, wanted, windows, config, workers=workers, quiet=as_json)

    from manta.walkforward_words import result_words

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else result_words(result))


@app.command("resume")
def walkforward_resume(
    run_id: RunId,
    workers: Workers = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a walk-forward that was stopped, has failed or was interrupted; no set is scored twice."""
    from manta.walkforward_words import result_words
    from manta.walkforwards import resume_command

    result = guarded(
        lambda: resume_command(run_id, config, workers=workers, force=force, quiet=as_json), as_json=as_json
    )
    finish(result, as_json=as_json, words=None if as_json else result_words(result))


@app.command("stop")
def walkforward_stop(run_id: RunId, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Stop a running walk-forward. What it has found is kept."""
    from manta.walkforwards import stop_run

    result = guarded(lambda: stop_run(run_id, config), as_json=as_json)
    finish(result, as_json=as_json, words=f"{run_id} is {result['status']}")


@app.command("list")
def walkforward_list(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List stored walk-forwards, newest first."""
    from manta.walkforward_words import list_words
    from manta.walkforwards import list_runs

    result = guarded(lambda: list_runs(config), as_json=as_json)
    finish(result, as_json=as_json, words=list_words(result))


@app.command("show")
def walkforward_show(
    run_id: RunId,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the result of a stored walk-forward."""
    from manta.walkforward_words import result_words
    from manta.walkforwards import show_run

    result = guarded(lambda: show_run(run_id, config), as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else result_words(result))


@app.command("report")
def walkforward_report(
    run_id: RunId,
    out: Annotated[Path | None, typer.Option(help="Where to; default: walkforward-ID.html in this folder.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a walk-forward: a page that stands alone."""
    from manta.walkforwards import write_page

    result = guarded(lambda: write_page(run_id, out, config), as_json=as_json)
    finish(result, as_json=as_json, words=result["path"])


@app.command("delete")
def walkforward_delete(
    run_id: RunId,
    force: Annotated[bool, typer.Option("--force", help="Also one that has not finished, as after a crash.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete a stored walk-forward."""
    from manta.walkforwards import delete_run

    result = guarded(lambda: delete_run(run_id, config, force=force), as_json=as_json)
    finish(result, as_json=as_json, words=f"{result['deleted']} is deleted")
