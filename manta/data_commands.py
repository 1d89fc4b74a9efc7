"""``manta data``: the candle store by hand. Each verb is thin; what it does lives in the module it imports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from manta import download_schedule
from manta.options import AsJson, ConfigPath, parse_time
from manta.output import finish, guarded
from trading.errors import BadInput

__all__ = ["app"]

app = typer.Typer(help="Candles: download, import, export, look at, repair.", no_args_is_help=True)
download_schedule.mount(app)


@app.command("list")
def data_list(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List what is stored: markets, intervals, first and last candle, rows, holes, sources and size."""
    from manta.data_view import list_series, series_words

    result = guarded(lambda: list_series(config), as_json=as_json)
    finish(result, as_json=as_json, words=series_words(result))


@app.command("import")
def data_import(  # noqa: PLR0913, PLR0917 - one parameter for each option
    file: Annotated[Path, typer.Option(help="A csv, csv.gz, parquet, or a zip of Binance's archive.")],
    market: Annotated[str, typer.Option(help="Such as bitfinex:BTCUSD; any venue's name will do.")],
    interval: Annotated[str, typer.Option(help="Of the file's candles, such as 1m or 4h.")],
    source: Annotated[str, typer.Option(help="What the candles are marked with: import, native or rest.")] = "import",
    holes: Annotated[
        str, typer.Option(help="Minutes that the file passes over: absent (nothing traded) or missing (unknown).")
    ] = "absent",
    replace: Annotated[
        bool, typer.Option("--replace", help="Let stored candles that differ give way, as a revision.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Store nothing if one row is unusable.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Store the candles of a file. What is stored already is never changed unless you say so."""
    from manta.data_import import ImportOptions, import_file, import_words

    options = ImportOptions(file, market, interval, source, holes, replace, strict, as_json)
    result = guarded(lambda: import_file(options, config), as_json=as_json)
    finish(result, as_json=as_json, words=import_words(result))


@app.command("holes")
def data_holes(
    market: Annotated[str, typer.Option(help="Such as bitfinex:BTCUSD.")],
    interval: Annotated[str, typer.Option(help="Of the stored candles.")] = "1m",
    from_: Annotated[str | None, typer.Option("--from", help="Only holes that end after this UTC time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Only holes that begin before this UTC time.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """List where a series has no candles, and why: absent (the venue has none) or missing (unknown)."""
    from manta.data_holes import hole_words, list_holes

    def work() -> list[dict[str, Any]]:
        from_ms = parse_time(from_, "from") if from_ else None
        to_ms = parse_time(to, "to") if to else None
        return list_holes(market, interval, from_ms, to_ms, config)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=hole_words(result, market, interval))


@app.command("export")
def data_export(
    market: Annotated[str, typer.Option(help="Such as binance:BTCUSDT.")],
    file: Annotated[Path, typer.Option(help="A .csv, .csv.gz or .parquet to write; a folder with --format pionex.")],
    interval: Annotated[str, typer.Option(help="Of the stored candles.")] = "1m",
    format: Annotated[
        str | None, typer.Option(help="csv, csv.gz, parquet, or pionex: btc_usdt_60m_pionex.csv, appended to.")
    ] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Candles that open at or after this UTC time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Candles that open before this UTC time.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write a stored series to a file. The file is replaced as a whole, or not at all."""
    from manta.data_export import ExportOptions, export_series, export_words

    def work() -> dict[str, Any]:
        from_ms = parse_time(from_, "from") if from_ else None
        to_ms = parse_time(to, "to") if to else None
        return export_series(ExportOptions(market, interval, file, format, from_ms, to_ms, as_json), config)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=export_words(result))


@app.command("download")
def data_download(  # noqa: PLR0913, PLR0917 - one parameter for each option
    market: Annotated[
        list[str] | None, typer.Option(help="Such as binance:BTCUSDT; may be given several times.")
    ] = None,
    venue: Annotated[str | None, typer.Option(help="With --symbol, instead of --market.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Such as BTCUSDT; may be given several times.")] = None,
    interval: Annotated[str, typer.Option(help="A candle that the venue has, such as 1m, 4h or 1w.")] = "1m",
    days: Annotated[float | None, typer.Option(min=0.01, max=10_000, help="How far back; default 30.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Instead of --days: candles from this UTC time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Candles that open before it; default: now.")] = None,
    to_file: Annotated[
        Path | None, typer.Option(help="Also append to btc_usdt_60m_pionex.csv and the like in this folder.")
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Fetch past candles from a venue, resuming where the last download ended and filling holes."""
    from manta.data_download import DownloadOptions, download, download_words

    def work() -> list[dict[str, Any]]:
        if (venue is None) != (not symbol):
            raise BadInput("--venue and --symbol go together.", field="symbol", fix="Give both, or --market.")
        options = DownloadOptions(
            markets=[*(market or ()), *(f"{venue}:{name}" for name in symbol or ())],
            interval=interval,
            days=days,
            from_ms=parse_time(from_, "from") if from_ else None,
            to_ms=parse_time(to, "to") if to else None,
            to_file=to_file,
            quiet=as_json,
        )
        return download(options, config)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=download_words(result))


@app.command("verify")
def data_verify(
    market: Annotated[str | None, typer.Option(help="Only this one, such as binance:BTCUSDT.")] = None,
    interval: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    file: Annotated[Path | None, typer.Option(help="Compare the series with this file, too.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Check stored series: sane, in their places, over, and every minute a candle or a hole. `verify data` refolds."""
    from manta.data_verify import verify_store, verify_words

    result = guarded(lambda: verify_store(market, interval, file, config), as_json=as_json)
    finish(result, as_json=as_json, words=verify_words(result))
    if not all(series["ok"] for series in result):
        raise SystemExit(1)


@app.command("repair")
def data_repair(
    file: Annotated[Path | None, typer.Option(help="A csv or csv.gz of candles.")] = None,
    market: Annotated[str | None, typer.Option(help="Instead: a stored series.")] = None,
    interval: Annotated[str | None, typer.Option(help="Of the stored series; default 1m.")] = None,
    min_price: Annotated[float | None, typer.Option(min=0, help="Least price; default 1000 for BTC, else 0.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Drop the rows; without it they are only shown.")] = False,
    backup: Annotated[Path | None, typer.Option(help="Where the dropped rows are saved first.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show rows that cannot be true, each with its rule, and drop them on demand after saving them."""
    from manta.data_verify import RepairOptions, repair, repair_words

    options = RepairOptions(file, market, interval, min_price, apply, backup)
    result = guarded(lambda: repair(options, config), as_json=as_json)
    finish(result, as_json=as_json, words=repair_words(result))
