"""``manta strategies``: what there is to choose from, and help with writing more. Each verb is thin."""

from __future__ import annotations

from typing import Annotated

import typer

from manta.options import AsJson, ConfigPath
from manta.output import finish, guarded

__all__ = ["app"]

app = typer.Typer(help="Strategies: built in, and your own.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name that `manta strategies list` shows.")]


@app.command("list")
def strategies_list(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Every strategy there is; of your own ones that are broken, where and why."""
    from manta.strategies import list_strategies, list_words

    result = guarded(lambda: list_strategies(config), as_json=as_json)
    finish(result, as_json=as_json, words=list_words(result))


@app.command("show")
def strategies_show(name: Name, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """One strategy: its parameters with their ranges, the numbers it looks at, and its text."""
    from manta.strategies import show_strategy, show_words

    result = guarded(lambda: show_strategy(name, config), as_json=as_json)
    finish(result, as_json=as_json, words=show_words(result))


@app.command("new")
def strategies_new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and _, a letter first.")],
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write a documented strategy to start from into your folder; a file that is there is never touched."""
    from manta.strategies import new_strategy, new_words

    result = guarded(lambda: new_strategy(name, config), as_json=as_json)
    finish(result, as_json=as_json, words=new_words(result))


@app.command("check")
def strategies_check(
    strategy: Annotated[str, typer.Argument(help="A name, or the path of a file.")],
    interval: Annotated[str, typer.Option(help="The candles it is tried on.")] = "1h",
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Try to catch it looking ahead, remembering, or listening to more than its candles. Exits with 1 if it does."""
    from manta.strategies import check_strategy, check_words

    result = guarded(lambda: check_strategy(strategy, interval, config), as_json=as_json)
    finish(result, as_json=as_json, words=check_words(result))
    if not result["passed"]:
        raise SystemExit(1)
