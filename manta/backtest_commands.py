"""``manta backtest list | report | reproduce | compare``. Each verb is thin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manta.options import AsJson, ConfigPath
from manta.output import finish, guarded

__all__ = ["mount"]

RunId = Annotated[str, typer.Argument(help="As `manta backtest list` names it.")]


def mount(app: typer.Typer) -> None:
    """Add the verbs to ``manta backtest``."""
    for name, verb in (("list", listed), ("report", report), ("reproduce", reproduce), ("compare", compare)):
        app.command(name)(verb)


def listed(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List stored backtests, newest first."""
    from manta.reports import list_runs, list_words

    result = guarded(lambda: list_runs(config), as_json=as_json)
    finish(result, as_json=as_json, words=list_words(result))


def report(
    run_id: RunId,
    format: Annotated[str, typer.Option(help="html, json, or csv of the trades.")] = "html",
    out: Annotated[Path | None, typer.Option(help="Where to; default: backtest-ID in this folder.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a backtest: a page that stands alone, JSON, or its trades as csv."""
    from manta.reports import write_report

    result = guarded(lambda: write_report(run_id, format, out, config), as_json=as_json)
    finish(result, as_json=as_json, words=result["path"])


def reproduce(
    run_id: RunId,
    file: Annotated[
        list[str] | None,
        typer.Option(help="Where the candles are now, if their file has moved; of several markets MARKET=PATH."),
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Run a stored backtest again: the same bits, or what has changed since."""
    from manta.reports import reproduce_run, reproduced_words

    result = guarded(lambda: reproduce_run(run_id, file or (), config), as_json=as_json)
    finish(result, as_json=as_json, words=reproduced_words(result))
    if not result["same"]:
        raise SystemExit(1)


def compare(one: RunId, two: RunId, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Put two stored backtests side by side: what they were asked for, made of, and found."""
    from manta.reports import compare_runs, compared_words

    result = guarded(lambda: compare_runs(one, two, config), as_json=as_json)
    finish(result, as_json=as_json, words=compared_words(result))
