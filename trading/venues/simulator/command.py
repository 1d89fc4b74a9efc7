"""What ``manta sim serve`` runs."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from trading.candle_columns import CandleColumns
from trading.candle_files import load_columns
from trading.errors import BadInput
from trading.venues.simulator.dialect import VenueLimits
from trading.venues.simulator.dialects import dialect_of
from trading.venues.simulator.sample import SAMPLE_FILE, SAMPLE_SYMBOLS, SESSION_START_MS
from trading.venues.simulator.server import DEFAULT_LEAD, Simulator

__all__ = ["ServeOptions", "run"]


_UNLIMITED = 10**9


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to play and how. ``files`` maps the venue's symbols to candle files; none means the sample.

    ``start_ms`` is where the replay begins, with everything before it as history; None means the first candle, or day
    15 of the sample. Minutes before ``from_ms`` or from ``until_ms`` on do not exist. ``speed`` None is lockstep.
    ``limited`` False lets a client ask as often as it likes.
    """

    venue: str = "binance"
    files: dict[str, Path] = field(default_factory=dict)
    start_ms: int | None = None
    from_ms: int | None = None
    until_ms: int | None = None
    speed: float | None = 60.0
    lead: int = DEFAULT_LEAD
    paused: bool = False
    port: int = 0
    control_port: int = 0
    limited: bool = True


async def run(options: ServeOptions) -> None:
    """Serve until SIGTERM, SIGINT or an order to stop; print one JSON line with the URLs when ready.

    Raises BadInput when a file, a time or a port cannot be used; nothing is left running then.
    """
    start_ms = options.start_ms
    if not options.files and start_ms is None:
        start_ms = SESSION_START_MS
    simulator = Simulator(
        _load(options),
        venue=options.venue,
        start_ms=start_ms,
        speed=options.speed,
        lead=options.lead,
        port=options.port,
        control_port=options.control_port,
        limits=None if options.limited else VenueLimits(weight=_UNLIMITED),
    )
    if options.paused:
        simulator.session.pause()
    async with simulator:
        loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(simulator.wait_stopped())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.cancel)
        try:
            ready = {
                "rest_url": simulator.rest_url,
                "stream_url": simulator.stream_url,
                "control_url": simulator.control_url,
                "venue": options.venue,
                "symbols": list(simulator.session.tapes),
                "start_ms": simulator.session.start_ms,
                "end_ms": simulator.session.end_ms,
            }
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            await asyncio.wait([stopping])
            if not stopping.cancelled():
                stopping.result()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _load(options: ServeOptions) -> dict[str, CandleColumns]:
    dialect = dialect_of(options.venue)
    files = options.files or {SAMPLE_SYMBOLS[options.venue]: SAMPLE_FILE}
    for symbol in files:
        if not re.fullmatch(dialect.symbol_pattern, symbol):
            like = SAMPLE_SYMBOLS[options.venue]
            raise BadInput(f"Symbol {symbol!r} is not one.", field="symbol", value=symbol, fix=f"Write it like {like}.")
    market = f"{options.venue}:any"
    # Many symbols may replay one file: it is read once.
    read = {
        path: load_columns(path, market, interval="1m", start_ms=options.from_ms, end_ms=options.until_ms)
        for path in set(files.values())
    }
    return {symbol: replace(read[path], market=f"{options.venue}:{symbol}") for symbol, path in files.items()}
