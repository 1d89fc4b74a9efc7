"""``manta data schedule``: candle files fetched once, far back, or for ever on a schedule."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from manta.options import AsJson, ConfigPath
from manta.output import finish, guarded
from trading.errors import BadInput

__all__ = ["mount"]

Mode = Literal["schedule", "historical", "once"]


def mount(app: typer.Typer) -> None:
    """Give ``app`` the verb ``schedule``."""
    app.command("schedule")(schedule)


def schedule(  # noqa: PLR0913, PLR0917 - one parameter for each option
    mode: Annotated[
        Mode, typer.Option(help="schedule: for ever; historical: --days back; once: the newest.")
    ] = "schedule",
    days: Annotated[
        int | None, typer.Option(min=1, max=4000, help="How far back with historical; default 365.")
    ] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="Default BTC_USDT; may be given several times.")] = None,
    timeframes: Annotated[
        list[str] | None, typer.Option(help="Default 60M 4H 1D; also 1h, daily and others that the venue has.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[TIMEFRAME]...", help="More timeframes.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the files are.")] = Path("data"),
    venue: Annotated[str, typer.Option(help="Where candles come from.")] = "pionex",
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Keep candle files such as data/btc_usdt_60m_pionex.csv up to date; `--mode once` is fit for cron."""

    from manta.candle_downloads import Request, result_words, run_request

    def work() -> list[dict[str, Any]]:
        if more and not timeframes:
            raise BadInput(
                f"{' '.join(more)} belongs to no option.",
                field="timeframes",
                value=" ".join(more),
                fix="Write --timeframes before it.",
            )
        wanted = [name for text in [*(timeframes or ()), *(more or ())] for name in text.replace(",", " ").split()]
        request = Request(
            mode, days, tuple(symbol or ("BTC_USDT",)), tuple(wanted or ("60M", "4H", "1D")), data_dir, venue
        )
        return asyncio.run(run_request(request, config, quiet=as_json))

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words="\n".join(map(result_words, result)))
    if any("error" in each for each in result):
        raise SystemExit(next(each["exit_code"] for each in result if "error" in each))
