"""``manta verify data`` and ``manta db check``: what is stored, checked against itself and against the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manta.options import AsJson, ConfigPath, parse_time
from manta.output import finish, guarded

__all__ = ["db_check", "verify_data"]


def verify_data(
    market: Annotated[list[str] | None, typer.Option(help="Such as binance:BTCUSDT, repeatable; default: all.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Candles from this UTC time on.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Candles before this UTC time.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help="Instead of the database: files, or folders of them, named VENUE_SYMBOL_INTERVAL.csv.gz."),
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every derived candle and compare; compare the venue's own longer candles, too."""
    from manta.verify_data import verify_data as verify
    from manta.verify_data import verify_data_words

    def work() -> dict[str, object]:
        span = parse_time(from_, "from") if from_ else None, parse_time(to, "to") if to else None
        return verify(config, file or (), market or (), *span)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else verify_data_words(result))
    if result["differences"]:
        raise SystemExit(1)


def db_check(
    timescale: Annotated[
        bool, typer.Option("--timescale", help="Try all that is asked of TimescaleDB, in a database made for it.")
    ] = False,
    dsn: Annotated[
        str | None,
        typer.Option(help="Of another server, such as postgresql://USER@HOST:5432/NAME; DB_PASSWORD is its password."),
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Say which server, migrations and extension there are; with --timescale, prove that the extension works."""
    from manta.database_check import check_database, database_words, timescale_words, try_timescale

    if not timescale:
        result = guarded(lambda: check_database(config, dsn), as_json=as_json)
        finish(result, as_json=as_json, words=database_words(result))
        return
    result = guarded(lambda: try_timescale(config, dsn), as_json=as_json)
    finish(result, as_json=as_json, words=timescale_words(result))
    if not result["ok"]:
        raise SystemExit(1)
