"""The work of ``manta data schedule``."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from manta.output import console, error_body
from manta.progress import bar
from manta.shared_limits import running_limits
from trading.clock import SystemClock
from trading.config.loading import load_config
from trading.config.model import VenueSettings
from trading.downloads import (
    HISTORICAL_DAYS,
    ONCE_BARS,
    CandleFiles,
    ScheduledDownloads,
    check_intervals,
    log_failure,
    log_success,
    logging_to,
)
from trading.errors import BadInput, MantaError, VenueRetryable
from trading.intervals import DAY_MS, parse_interval
from trading.seed_files import seed_time
from trading.venues.adapter import History, adapter
from trading.venues.limits import WeightLimiter
from trading.venues.origin import Origin, is_loopback

__all__ = ["Request", "result_words", "run_request"]


_LONGEST_SLEEP_S = 30.0
"""The longest time until the clock is looked at again: it may have been set, or the machine may have slept."""


_DEAREST_WEIGHT = 5
"""No question that is asked here costs more, where the whole allowance is small."""


class Request(NamedTuple):
    """What is to be downloaded. ``mode`` is schedule (for ever), historical (``days`` back) or once (the newest)."""

    mode: str
    days: int | None
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    data_dir: Path
    venue: str


async def run_request(request: Request, config_path: Path | None, *, quiet: bool) -> list[dict[str, Any]]:
    """Do what was asked; for ever in mode schedule. A timeframe that fails stops no other: its result says why."""
    if request.days is not None and request.mode != "historical":
        raise BadInput("--days goes with --mode historical.", field="days", value=request.days, fix="Leave one out.")
    intervals = check_intervals(request.venue, request.timeframes)
    config = load_config(config_path, os.environ)
    settings = config.venues.of(request.venue)
    origin: Origin = "simulator" if is_loopback(urlsplit(settings.rest_url).hostname or "") else "venue"
    if origin == "simulator" and not quiet:
        console.print(f"candles come from {settings.rest_url} on this machine, not from a real venue", markup=False)
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_to(request.data_dir, request.venue))
        limits = running_limits(config, config_path)
        if limits is not None:
            await stack.enter_async_context(limits)
        limiter = limits.of(request.venue) if limits is not None else _modest_limiter(request.venue, settings)
        parts = adapter(request.venue)
        history = await stack.enter_async_context(parts.history(settings, origin=origin, limiter=limiter))
        markets = [
            CandleFiles(history, f"{request.venue}:{symbol}", request.data_dir)
            for symbol in dict.fromkeys(request.symbols)
        ]
        for files in markets:
            await _resolve(files)
        if request.mode == "schedule":
            due = [ScheduledDownloads(files.market, request.data_dir, intervals) for files in markets]
            await _for_ever(history, due, quiet=quiet)
        return [
            await _download(files, name, _bars(request, name), quiet=quiet) for files in markets for name in intervals
        ]


def _modest_limiter(venue: str, settings: VenueSettings) -> WeightLimiter:
    """Half of what the address may ask: a Manta elsewhere, or the next run of this command, may need the rest."""
    budget = adapter(venue).budget(settings)
    return WeightLimiter(budget._replace(weight=max(_DEAREST_WEIGHT, budget.weight // 2)), SystemClock().monotonic)


async def _resolve(files: CandleFiles) -> None:
    """Refuse a symbol that the venue does not know; a venue that cannot be asked now is asked again later."""
    try:
        await files.resolve()
    except MantaError as error:
        log_failure(files.market, "symbol", error)
        if not isinstance(error, VenueRetryable):
            raise


def _bars(request: Request, interval: str) -> int:
    if request.mode == "once":
        return ONCE_BARS
    return -(-(request.days or HISTORICAL_DAYS) * DAY_MS // parse_interval(interval).typical_ms)


async def _download(files: CandleFiles, interval: str, bars: int, *, quiet: bool) -> dict[str, Any]:
    with bar(f"{files.market} {interval}", bars, quiet=quiet) as tell:
        width_ms = parse_interval(interval).typical_ms
        try:
            done = await files.bring_up(
                interval, bars=bars, tell=lambda _from_ms, at_ms, to_ms: tell(bars - (to_ms - at_ms) // width_ms)
            )
        except (MantaError, OSError) as error:
            log_failure(files.market, interval, error)
            told = error if isinstance(error, MantaError) else MantaError(str(error))
            if isinstance(told, VenueRetryable):
                venue = files.market.partition(":")[0]
                told.fix = told.fix or f"Check the network, HTTPS_PROXY and venues.{venue}.rest_url; then repeat this."
            body = {"market": files.market, "interval": interval, "exit_code": told.exit_code}
            return body | error_body(told)
        log_success(done)
        return done._asdict()


async def _for_ever(history: History, markets: list[ScheduledDownloads], *, quiet: bool) -> None:
    clock = SystemClock()
    while True:
        now_ms = clock.time_ns() // 1_000_000
        for downloads in markets:
            for done in await downloads.work(history, now_ms):
                if not quiet:
                    console.print(result_words(done._asdict()), soft_wrap=True, markup=False)
        left_ms = min(downloads.schedule.next_ms(now_ms) for downloads in markets) - clock.time_ns() // 1_000_000
        await asyncio.sleep(min(_LONGEST_SLEEP_S, max(0.05, left_ms / 1000)))


def result_words(result: dict[str, Any]) -> str:
    name = f"{result['market']} {result['interval']}"
    if "error" in result:
        return f"{name}: {result['message']}" + (f" {result['fix']}" if result["fix"] else "")
    new = result["rows_after"] - result["rows_before"]
    told = f"{name}: {new} new rows, {result['rows_after']} in {result['path']}"
    told += f"; {result['unusable']} candles could not be used" if result["unusable"] else ""
    if result["is_cut"]:
        told += f"; the venue goes back to {seed_time(result['from_ms'])} UTC only"
    return told
