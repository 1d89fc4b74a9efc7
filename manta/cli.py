"""The ``manta`` command. Each verb is thin; what it does lives in the module it imports when called."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from manta import backtest_commands, backup_commands
from manta.check_commands import db_check, verify_data
from manta.cluster_commands import app as cluster_app
from manta.data_commands import app as data_app
from manta.decision_commands import app as decisions_app
from manta.gap_commands import app as gaps_app
from manta.options import AsJson, ConfigPath, parse_seconds, parse_time
from manta.output import Terminated, fail, finish, guarded
from manta.strategy_commands import app as strategies_app
from manta.sweep_commands import app as sweep_app
from manta.walkforward_commands import app as walkforward_app
from trading.errors import BadInput, MantaError

__all__ = ["main"]

app = typer.Typer(
    help="Manta: record, decide, trade on paper, and prove that it is what the backtest said.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Check, show and describe the configuration.", no_args_is_help=True)
sim_app = typer.Typer(help="The venue simulator.", no_args_is_help=True)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
backtest_app = typer.Typer(help="The reference backtest.", no_args_is_help=True)
verify_app = typer.Typer(help="Proofs that live is what was tested.", no_args_is_help=True)
for name, part in (
    ("config", config_app),
    ("sim", sim_app),
    ("db", db_app),
    ("backtest", backtest_app),
    ("verify", verify_app),
    ("data", data_app),
    ("gaps", gaps_app),
    ("decisions", decisions_app),
    ("strategies", strategies_app),
    ("sweep", sweep_app),
    ("walkforward", walkforward_app),
    ("cluster", cluster_app),
):
    app.add_typer(part, name=name)
verify_app.command("data")(verify_data)
backtest_commands.mount(backtest_app)
db_app.command("check")(db_check)
backup_commands.mount(db_app)


def main() -> None:
    """Run the command line. Wrong usage exits with status 2; with ``--json`` that, too, is one JSON value on stdout."""
    signal.signal(signal.SIGTERM, _terminate)
    if "--json" not in sys.argv[1:]:
        app(prog_name="manta")
        return
    try:
        status = app(prog_name="manta", standalone_mode=False)
    except TyperException as error:
        said = " ".join(error.format_message().split()) or "No command was given."
        fail(BadInput(said.rstrip(".") + ".", fix="Add --help to see what there is."), as_json=True)
    except typer.Abort:
        fail(MantaError("Nothing was done: the question was answered with no."), as_json=True)
    except Exception as error:
        traceback.print_exc()
        fail(MantaError(f"{type(error).__name__}: {error}", fix="This is a bug: please report it."), as_json=True)
    raise SystemExit(status or 0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@app.command()
def demo(
    venue: Annotated[str, typer.Option(help="Whose protocol: binance, binance_usdm, hyperliquid, pionex.")] = "binance",
    for_: Annotated[str | None, typer.Option("--for", help="Run this long, such as 60s or 2m, then report.")] = None,
    speed: Annotated[float, typer.Option(min=1, max=3600, help="Simulated seconds a second.")] = 600.0,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the dashboard; default 8000.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay real BTC candles through the whole system and show the dashboard."""
    from manta.demo import DemoOptions, run_demo

    def work() -> Any:
        seconds = parse_seconds(for_) if for_ else None
        options = DemoOptions(venue=venue, seconds=seconds, speed=speed, port=port, quiet=as_json)
        return asyncio.run(run_demo(options))

    result = guarded(work, as_json=as_json)
    if as_json or for_:
        finish(result, as_json=as_json)
    if result["mismatches"]:
        raise SystemExit(1)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Run the system in the foreground until Ctrl-C or `manta down`."""
    from manta.service import run_detached, run_foreground

    run = run_detached if detach else run_foreground
    result = guarded(lambda: run(config), as_json=as_json)
    finish(result, as_json=as_json, words=f"Manta is up at {result['url']}" if detach else "stopped")


@app.command()
def down(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Stop the system that `manta up` started, flushing what is under way."""
    from manta.service import stop_running

    result = guarded(lambda: stop_running(config), as_json=as_json)
    finish(result, as_json=as_json, words="stopped" if result["stopped"] else "Manta was not running")


@app.command()
def reload(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Apply changes of strategies, features, books and notifications to the running system, without touching feeds."""
    from manta.service import reload_running, reload_words

    result = guarded(lambda: reload_running(config), as_json=as_json)
    finish(result, as_json=as_json, words=reload_words(result))


@app.command()
def status(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Say what runs and how well: what is warming, stale, behind, held or unanswered, and why."""
    from manta.status import describe, describe_words

    result = guarded(lambda: describe(config), as_json=as_json)
    finish(result, as_json=as_json, words=describe_words(result))
    if not result["running"]:
        raise SystemExit(1)


@app.command()
def logs(
    actor: Annotated[str | None, typer.Argument(help="host, ray, or an actor such as feed:binance:BTCUSDT.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest log lines of all actors, or of one."""
    from manta.service import follow_logs, log_records, newest_logs

    if follow:
        if as_json:
            fail(
                BadInput(
                    "--follow prints lines for ever, which is no one JSON value.",
                    field="follow",
                    fix="Leave out --follow or --json; the lines are JSON either way.",
                ),
                as_json=True,
            )
        guarded(lambda: follow_logs(config, actor), as_json=as_json)
        return
    result = guarded(lambda: newest_logs(config, actor, lines), as_json=as_json)
    finish(log_records(result) if as_json else None, as_json=as_json, words="\n".join(result))


@config_app.command("check")
def config_check(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Check the configuration without starting anything."""
    from trading.config.commands import check_command

    result = guarded(lambda: check_command(config, os.environ), as_json=as_json)
    finish(result, as_json=as_json, words=f"{result['path']} is valid")


@config_app.command("show")
def config_show(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Print the effective configuration, secrets masked."""
    import yaml

    from trading.config.commands import show_command

    result = guarded(lambda: show_command(config, os.environ), as_json=as_json)
    finish(result, as_json=as_json, words=yaml.safe_dump(result, sort_keys=False).rstrip())


@config_app.command("schema")
def config_schema(as_json: AsJson = False) -> None:
    """Print the JSON schema of the configuration."""
    from trading.config.loading import json_schema

    finish(json_schema(), as_json=as_json)


@sim_app.command("serve")
def sim_serve(  # noqa: PLR0913, PLR0917 - one parameter for each option
    venue: Annotated[str, typer.Option(help="binance, binance_usdm, hyperliquid or pionex.")] = "binance",
    file: Annotated[list[str] | None, typer.Option(help="SYMBOL=PATH of 1m candles; default: the sample.")] = None,
    start: Annotated[str | None, typer.Option(help="Where the replay begins, such as 2025-07-16.")] = None,
    speed: Annotated[float, typer.Option(min=1, max=3600)] = 60.0,
    lockstep: Annotated[bool, typer.Option("--lockstep", help="Wait for watermarks on the control port.")] = False,
    lead: Annotated[int, typer.Option(min=1, max=100_000)] = 500,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    control_port: Annotated[int, typer.Option(min=0, max=65535)] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay candles as a venue would send them; prints one JSON line with its URLs when ready."""
    from trading.venues.simulator.command import ServeOptions, run

    def work() -> None:
        options = ServeOptions(
            venue=venue,
            files=dict(_symbol_file(text) for text in file or []),
            start_ms=parse_time(start, "start") if start else None,
            speed=None if lockstep else speed,
            lead=lead,
            port=port,
            control_port=control_port,
        )
        asyncio.run(run(options))

    guarded(work, as_json=as_json, writes=True)


@db_app.command("migrate")
def db_migrate(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Bring the database to this version."""
    from manta.service import migrate_database

    result = guarded(lambda: migrate_database(config), as_json=as_json)
    finish(result, as_json=as_json, words="\n".join(result["applied"]) or "nothing to do")


@db_app.command("reset")
def db_reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Delete everything in the database: candles, decisions, books. Asks first."""
    from manta.service import reset_database

    if not yes:
        if not sys.stdin.isatty():
            fail(
                BadInput("`db reset` deletes everything and nobody can be asked.", fix="Add --yes if you mean it."),
                as_json=as_json,
            )
        typer.confirm("Delete all candles, decisions, orders and books for ever?", abort=True, err=True)
    result = guarded(lambda: reset_database(config), as_json=as_json)
    finish(result, as_json=as_json, words="the database is empty")


@backtest_app.command("run")
def backtest_run(  # noqa: PLR0913, PLR0917 - one parameter for each option
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="A name that `manta strategies list` shows, repeatable; default: the configured instances."),
    ] = None,
    intervals: Annotated[str | None, typer.Option(help="One or more, such as 37m,148m; default: 37m.")] = None,
    market: Annotated[list[str] | None, typer.Option(help="Such as binance:BTCUSDT, repeatable.")] = None,
    symbol: Annotated[str | None, typer.Option(help="A base such as BTC, if one configured market has it.")] = None,
    start: Annotated[str | None, typer.Option(help="First decision not before this UTC time.")] = None,
    end: Annotated[str | None, typer.Option(help="No candle that closes after this UTC time.")] = None,
    capital: Annotated[
        str | None, typer.Option(help="Quote currency to begin with; default: 10000, or the configured book's.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="perp (long and short, the default) or spot (long only).")] = None,
    leverage: Annotated[str | None, typer.Option(help="Default: 1.")] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(help="Candles from a csv, csv.gz or parquet file; of several markets in order, or MARKET=PATH."),
    ] = None,
    book: Annotated[str | None, typer.Option(help="Without --strategy: whose instances, if several have some.")] = None,
    max_missing: Annotated[float, typer.Option(min=0, max=100, help="Percent of minutes that may be missing.")] = 1.0,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Run strategies over stored candles, or over files, and store the result.

    Several strategies or markets share one book's capital. Without --strategy the configured instances run, with their
    parameters, exits, entries and shares, as they would live.
    """
    from manta.backtests import BacktestArguments, result_words, run_command

    def work() -> Any:
        arguments = BacktestArguments.parse(
            strategies=strategy or (),
            markets=market or (),
            symbol=symbol,
            intervals=intervals,
            start=start,
            end=end,
            capital=capital,
            profile=profile,
            leverage=leverage,
            files=file or (),
            max_missing=max_missing,
            book=book,
        )
        return run_command(arguments, config, quiet=as_json)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else result_words(result))


@verify_app.command("parity")
def verify_parity(  # noqa: PLR0913, PLR0917 - one parameter for each option
    context: typer.Context,
    file: Annotated[Path | None, typer.Option(help="1m candles to replay: csv, csv.gz or parquet.")] = None,
    day: Annotated[str | None, typer.Option(help="Instead: a past UTC day of the live books, like 2026-11-25.")] = None,
    book: Annotated[str | None, typer.Option(help="With --day: only this book; default: all.")] = None,
    venue: Annotated[
        str | None, typer.Option(help="Replay in this venue's protocol, by default the candles that come with Manta.")
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="A built-in one, or all: each an instance of the same session.")
    ] = "ma44",
    interval: Annotated[str | None, typer.Option(help="Default: 37m; with all, what suits each.")] = None,
    days: Annotated[float | None, typer.Option(min=0.01, help="Replay this many days; default: all.")] = None,
    start: Annotated[str | None, typer.Option(help="Where the replay begins; default: after the warm-up.")] = None,
    profile: Annotated[str | None, typer.Option(help="perp or spot. Default: perp; with all, what suits each.")] = None,
    lead: Annotated[int, typer.Option(min=1, max=100_000, help="Candles the replay may run ahead.")] = 500,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Compare with the reference backtest, exactly: a file replayed through the whole live pipeline, or a day lived."""
    from manta.nightly import day_words, verify_day
    from manta.parity import ParityOptions, parity_words, run_parity
    from manta.strategies import own_text
    from trading.venues.simulator.sample import SAMPLE_FILE

    def work() -> Any:
        source = SAMPLE_FILE if file is None and venue is not None else file
        _require_one_parity(context, source, day)
        if day is not None:
            return verify_day(day, book, config)
        options = ParityOptions(
            file=source or Path(),
            instance={} if strategy == "all" else own_text(strategy, config),
            venue=venue or "binance",
            strategy=strategy,
            interval=interval,
            days=days,
            start_ms=parse_time(start, "start") if start else None,
            profile=profile,
            lead=lead,
            quiet=as_json,
        )
        return asyncio.run(run_parity(options))

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else day_words(result) if day else parity_words(result))
    if result["unexplained"] if day else result["mismatches"]:
        raise SystemExit(1)


def _require_one_parity(context: typer.Context, file: Path | None, day: str | None) -> None:
    """BadInput unless exactly one of --file and --day is given, and only options that belong to it."""
    if (file is None) == (day is None):
        raise BadInput(
            "Give --file or --venue to replay candles, or --day to check a day that was lived: one of them.",
            field="day" if file else "file",
            fix="manta verify parity --day 2026-11-25",
        )
    others = ("book",) if file else ("venue", "strategy", "interval", "days", "start", "profile", "lead")
    for name in others:
        # By name: the command line's own class of sources is not part of typer.
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE":
            raise BadInput(
                f"--{name} has no meaning with {'--file' if file else '--day'}.",
                field=name,
                fix=f"Leave it out, or give {'--day' if file else '--file'} instead.",
            )


@verify_app.command("crash")
def verify_crash(
    cells: Annotated[int | None, typer.Option(min=1, help="Run this many, chosen by the seed; default: all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A dozen cells, about a minute.")] = False,
    stretch: Annotated[str | None, typer.Option(help="Of these, only the scripted or the real ones.")] = None,
    soak: Annotated[str | None, typer.Option(help="Random faults for this long, such as 30m, instead.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses cells, moments and the scripted candles.")] = 1,
    file: Annotated[Path | None, typer.Option(help="Real 1m candles of BTCUSDT; default: the sample.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the table to this Markdown file, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Kill every part at every boundary, and prove that nothing is missing and nothing doubled."""
    from manta.crash.command import CrashArguments, crash_words, run_crash

    def work() -> Any:
        arguments = CrashArguments(
            cells=cells,
            quick=quick,
            stretch=stretch,
            soak_s=parse_seconds(soak, "soak") if soak else None,
            seed=seed,
            file=file,
            write=write,
            quiet=as_json,
        )
        return run_crash(arguments)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=crash_words(result))
    if result["failed"]:
        raise SystemExit(1)


def _symbol_file(text: str) -> tuple[str, Path]:
    symbol, sign, path = text.partition("=")
    if not sign:
        raise BadInput(
            f"--file {text!r} names no symbol.", field="file", value=text, fix="Write BTCUSDT=candles.csv.gz."
        )
    return symbol, Path(path)
