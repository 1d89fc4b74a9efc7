"""``manta gaps``: price gaps by hand, from cron, and as files. Each verb is thin."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from manta.options import AsJson, ConfigPath, parse_time
from manta.output import finish, guarded
from trading.errors import BadInput

if TYPE_CHECKING:
    from manta.gap_scan import ScanOptions
    from trading.config.model import Gaps
    from trading.gaps.passes import Rules

__all__ = ["app"]

app = typer.Typer(help="Price gaps: zones of prices that three candles left behind.", no_args_is_help=True)

Market = Annotated[str | None, typer.Option(help="Such as pionex:BTC_USDT; default: the configured one.")]
Timeframes = Annotated[
    str, typer.Option("--timeframes", "-t", help="One or more, such as 60M,4H,1D or 1h; with commas.")
]
Mode = Annotated[str | None, typer.Option("--mode", "-m", help="strict, body, open or b2dir; default: gaps.mode.")]


@app.command("scan")
def gaps_scan(  # noqa: PLR0913, PLR0917 - one parameter for each option
    timeframes: Timeframes = "60M",
    mode: Mode = None,
    download: Annotated[
        bool, typer.Option("--download-latest", "-d", help="Fetch the newest candles from the venue first.")
    ] = False,
    download_limit: Annotated[int, typer.Option(min=1, max=5000, help="How many of them.")] = 48,
    recent_bars: Annotated[
        int | None, typer.Option(min=3, max=5000, help="Scan at least this many; default: gaps.recent_bars.")
    ] = None,
    type: Annotated[str | None, typer.Option(help="up, down or both; default: gaps.type.")] = None,
    min_size: Annotated[str | None, typer.Option(help="Least height of a zone; default: gaps.min_size.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what there is; record nothing, send nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each window of three candles and its verdict.")
    ] = False,
    output_file: Annotated[
        Path | None, typer.Option(help="Append what --verbose and --dry-run print to this file.")
    ] = None,
    market: Market = None,
    file: Annotated[Path | None, typer.Option(help="Scan this candle file; no database is used.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--data-dir", help="Scan the files such as btc_usdt_60m_pionex.csv in this folder.")
    ] = None,
    gaps_file: Annotated[Path | None, typer.Option(help="The CSV of all gaps; default: gaps.file.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Look for gaps in the last candles; record and tell those that are new, and the ends of known ones.

    Scans the larger of --download-limit and --recent-bars. Fit for cron: run twice, it tells once.
    """
    from manta.gap_scan import scan, scan_words

    lines: list[str] = []

    written = _Written(
        timeframes, mode, download, download_limit, recent_bars, type, min_size, dry_run, verbose, market, file, folder,
        gaps_file,
    )  # fmt: skip

    def work() -> dict[str, Any]:
        options = _scan_options(written, config)
        result = scan(options, config, lines.append)
        words = scan_words(result, options.timezone)
        if output_file is not None and (dry_run or verbose):
            _append(output_file, [*lines, words])
        return result | {"words": words}

    result = guarded(work, as_json=as_json)
    words = result.pop("words")
    finish(result | ({"windows": lines} if verbose else {}), as_json=as_json, words="\n".join([*lines, words]))
    if result["unsent"]:
        raise SystemExit(1)


@app.command("list")
def gaps_list(  # noqa: PLR0913, PLR0917 - one parameter for each option
    market: Annotated[str | None, typer.Option(help="Only of this market.")] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", "-t", help="Only of these candles.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", "-m", help="Only of this mode.")] = None,
    status: Annotated[str | None, typer.Option(help="open, touched, filled, or unfilled.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Gaps that start at or after this UTC time.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Gaps that start before this UTC time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 100,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """List recorded gaps, oldest first."""
    from manta.gap_view import Filter, gap_words, list_gaps

    def work() -> list[dict[str, Any]]:
        from_ms = parse_time(from_, "from") if from_ else None
        to_ms = parse_time(to, "to") if to else None
        return list_gaps(Filter(market, timeframe, mode, status, from_ms, to_ms, limit), config)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=gap_words(result))


@app.command("export")
def gaps_export(
    file: Annotated[Path | None, typer.Option(help="The CSV to bring up to date; default: gaps.file.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Write all recorded gaps to gaps.csv. Rows of gaps that only the file knows stay."""
    from manta.gap_view import export_gaps

    result = guarded(lambda: export_gaps(file, config), as_json=as_json)
    finish(result, as_json=as_json, words=f"{result['rows']} gaps in {result['file']}")


@app.command("rebuild")
def gaps_rebuild(
    market: Market = None,
    timeframes: Timeframes = "1h,4h,1d",
    mode: Mode = None,
    from_: Annotated[str | None, typer.Option("--from", help="Only gaps that start at or after this time.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without it, only show what would change.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Find all gaps of the stored candles anew and show what differs from the record; --apply makes it so."""
    from manta.gap_view import rebuild, rebuild_words

    def work() -> dict[str, Any]:
        from_ms = parse_time(from_, "from") if from_ else None
        return rebuild(market, _intervals(timeframes), mode, from_ms, config, apply=apply)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=rebuild_words(result))


class _Written(NamedTuple):
    """The options of a scan as they were written; None where the configuration says it."""

    timeframes: str
    mode: str | None
    download: bool
    download_limit: int
    recent_bars: int | None
    type: str | None
    min_size: str | None
    dry_run: bool
    verbose: bool
    market: str | None
    file: Path | None
    folder: Path | None
    gaps_file: Path | None


def _scan_options(written: _Written, config_path: Path | None) -> ScanOptions:
    """What is meant, with the configuration behind it; BadInput for what cannot be."""
    from manta.gap_scan import ScanOptions
    from trading.config.loading import data_dir, load_config
    from trading.gaps.detector import parse_mode

    config = load_config(config_path, os.environ)
    chosen = config.gaps
    intervals = _intervals(written.timeframes)
    _require_one_source(written, intervals)
    csv = written.gaps_file or (None if chosen.file is None else data_dir(config_path, os.environ) / chosen.file)
    from_files = written.file is not None or written.folder is not None
    return ScanOptions(
        market=_market(written.market, config.markets, from_files=from_files),
        intervals=intervals,
        mode=parse_mode(written.mode or chosen.mode),
        rules=_rules(written, chosen),
        download=written.download,
        bars=max(written.download_limit, written.recent_bars or chosen.recent_bars),
        dry_run=written.dry_run,
        verbose=written.verbose,
        file=written.file,
        folder=written.folder,
        csv=csv,
        timezone=chosen.timezone,
    )


def _require_one_source(written: _Written, intervals: tuple[str, ...]) -> None:
    """BadInput for options about files that do not go together."""
    if written.file is None:
        return
    if written.folder is not None:
        raise BadInput("Give --file or --data-dir, not both.", field="file", value=written.file, fix="Leave one out.")
    if written.download:
        raise BadInput(
            "--download-latest cannot tell what --file is.",
            field="download_latest",
            fix="Give the folder of files such as btc_usdt_60m_pionex.csv with --data-dir, or leave it out.",
        )
    if len(intervals) > 1:
        raise BadInput(
            "One file has candles of one timeframe.",
            field="timeframes",
            value=written.timeframes,
            fix="Give one with --file.",
        )


def _rules(written: _Written, chosen: Gaps) -> Rules:
    from trading.candles import to_units
    from trading.gaps.detector import GapType
    from trading.gaps.passes import Rules, rules_of

    configured = rules_of(chosen)
    if written.type not in (None, "both", "up", "down"):
        raise BadInput(
            f"Gap type {written.type!r} is not known.", field="type", value=written.type, fix="Use up, down or both."
        )
    only = configured.only if written.type is None else None if written.type == "both" else GapType(written.type)
    size = configured.min_size if written.min_size is None else to_units(written.min_size, "min_size")
    return Rules(size, only)


def _intervals(text: str) -> tuple[str, ...]:
    from trading.intervals import parse_interval

    names = tuple(dict.fromkeys(parse_interval(part.strip()).name for part in text.split(",") if part.strip()))
    if not names:
        raise BadInput("No timeframe is given.", field="timeframes", value=text, fix="Write it like 60M,4H.")
    return names


def _market(given: str | None, configured: tuple[str, ...], *, from_files: bool) -> str:
    from trading.markets import split_market

    if given is not None:
        split_market(given)
        return given
    if from_files:
        return "pionex:BTC_USDT"
    if len(configured) == 1:
        return configured[0]
    raise BadInput("Which market?", field="market", fix=f"Give --market, such as one of: {', '.join(configured)}.")


def _append(path: Path, lines: list[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"# {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n" + "\n".join(lines) + "\n")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.", field="output_file", value=str(path), fix="Give another."
        ) from error
