"""``manta verify parity``: the same candles through the live pipeline and through the reference backtest, compared."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.crash import CrashPoint
from backtest.compare import compare
from backtest.reference import RunRecords, run_reference
from manta.output import console
from manta.progress import candle_bar
from manta.replay import Replay, ReplayOptions
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.config.model import Config
from trading.errors import BadInput
from trading.instances import history_ms, resolve_instances
from trading.intervals import DAY_MS, MINUTE_MS, parse_interval
from trading.markets import Market
from trading.storage import markets, quality, records
from trading.storage.candles import read_candles
from trading.storage.database import Connection
from trading.storage.natives import read_all_natives
from trading.venues.paper.faults import BrokerFault
from trading.venues.simulator.dialects import dialect_of
from trading.venues.simulator.sample import SAMPLE_MARKET, sample_currency, sample_symbol

__all__ = ["ParityOptions", "compare_session", "parity_config", "parity_words", "run_parity"]

_COUNTS = ("decisions", "holds", "fills", "features", "explained", "mismatches")


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """``venue`` is whose protocol the file is replayed in. ``days`` None replays the whole file after the warm-up;
    ``start_ms`` None begins right after it.

    ``crash_points``, ``broker_faults`` and ``faults`` (orders to the simulator) hurt the run on purpose; the comparison
    stays the same. ``instance`` is what the configuration says of the instance besides.
    """

    file: Path
    venue: str = "binance"
    strategy: str = "ma44"
    interval: str = "37m"
    days: float | None = None
    start_ms: int | None = None
    profile: str = "perp"
    lead: int = 500
    quiet: bool = False
    crash_points: tuple[CrashPoint, ...] = ()
    broker_faults: tuple[BrokerFault, ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    instance: Mapping[str, Any] = field(default_factory=dict)


def parity_config(
    strategy: str, intervals: Iterable[str], profile: str, *, market: str = SAMPLE_MARKET, **instance: Any
) -> Config:
    """One instance on one market, with a feature of the same kind shown beside it."""
    names = list(intervals)
    period = 44 if strategy == "ma44" else 125
    return Config.model_validate(
        {
            "markets": [market],
            "intervals": names,
            "books": {"paper": {"currency": sample_currency(market)}},
            "history": {"min_days": 0},
            "nightly": {"enabled": False},
            "features": [{"name": "shown", "kind": "sma", "params": {"period": period}, "intervals": names}],
            "strategies": [
                {"name": strategy, "strategy": strategy, "intervals": names, "profile": profile, **instance}
            ],
        }
    )


async def run_parity(options: ParityOptions) -> dict[str, Any]:
    """Replay, run the reference, compare; raises BadInput for a file or range that cannot be replayed."""
    symbol = sample_symbol(options.venue)
    market = f"{options.venue}:{symbol}"
    interval = parse_interval(options.interval).name
    config = parity_config(options.strategy, [interval], options.profile, market=market, **options.instance)
    resolve_instances(config, 0)
    candles = load_candles(options.file, market)
    start_ms, end_ms = _range(options, config, candles)
    candles = [candle for candle in candles if candle.close_time_ms <= end_ms]
    began = time.monotonic()
    replay_options = ReplayOptions(
        config=config,
        venue=options.venue,
        symbol=symbol,
        file=options.file,
        start_ms=start_ms,
        until_ms=end_ms,
        lead=options.lead,
        crash_points=options.crash_points,
        broker_faults=options.broker_faults,
        faults=options.faults,
        progress=(lambda _text: None) if options.quiet else (lambda text: console.print(f"[dim]{text} …[/]")),
    )
    async with Replay(replay_options) as replay:
        started = time.monotonic()
        with candle_bar("replaying", start_ms, end_ms, quiet=options.quiet) as advance:
            await replay.run_to(end_ms, advance)
        seconds = time.monotonic() - started
        result = await compare_session(replay, candles, start_ms, end_ms)
        result["holes"] = len(await replay.query(lambda conn: quality.open_holes(conn, replay.market)))
    replayed = sum(1 for candle in candles if candle.close_time_ms > start_ms)
    return {
        **result,
        "file": options.file.name,
        "market": market,
        "strategy": options.strategy,
        "interval": config.intervals[0],
        "start": start_ms,
        "end": end_ms,
        "candles": replayed,
        "absent_minutes": (end_ms - start_ms) // MINUTE_MS - replayed,
        "seconds": round(time.monotonic() - began, 1),
        "candles_per_s": round(replayed / seconds),
    }


async def compare_session(replay: Replay, candles: list[Candle], start_ms: int, end_ms: int) -> dict[str, Any]:
    """Compare what a replay stored with the reference over the same candles, up to ``end_ms``."""
    config = replay.host.config
    # What the feed asked for, and got: more history would have warmed the reference up earlier.
    first_ms = start_ms - history_ms(config)
    if dialect_of(replay.options.venue).horizon_rows is not None:
        first_ms = max(first_ms, await replay.query(lambda conn: _first_ms(conn, replay.market)))
    candles = [candle for candle in candles if candle.open_time_ms >= first_ms]
    own = await replay.query(lambda conn: read_all_natives(conn, replay.market))
    books = sorted({item.book for item in config.strategies})
    total: dict[str, Any] = {
        **dict.fromkeys(_COUNTS, 0),
        "first_difference": None,
    }

    async def load(conn: Connection, book: str) -> tuple[RunRecords, list[Market]]:
        stored = await records.read_run(conn, book, upto_ms=end_ms)
        run = RunRecords(
            signals=stored.signals,
            features=[item for item in stored.features if _close_ms(item.interval, item.open_time_ms) > start_ms],
            decisions=stored.decisions,
            orders={order.order_id: order for order in stored.orders},
            fills=stored.fills,
            transfers=stored.transfers,
            equity=stored.equity,
            positions=stored.positions,
        )
        return run, await markets.read_markets(conn)

    for book in books:
        live, known = await replay.query(lambda conn, book=book: load(conn, book))
        reference = run_reference(
            candles,
            instances=[item for item in resolve_instances(config, start_ms) if item.book == book],
            features=config.features,
            book_id=book,
            book=config.books[book],
            markets=known,
            live_from_ms=start_ms,
            natives=own,
            suppressed=live.suppressed(),
        )
        found = compare(live, reference.records)
        for name in _COUNTS:
            total[name] += getattr(found, name)
        total["first_difference"] = total["first_difference"] or found.first_difference
    return total


def parity_words(result: dict[str, Any]) -> str:
    verdict = "identical" if not result["mismatches"] else f"{result['mismatches']} MISMATCHES"
    lines = [
        f"{verdict}: {result['candles']} candles, {result['features']} feature values, "
        f"{result['decisions']} decisions, {result['fills']} fills, {result['explained']} explained "
        f"({result['candles_per_s']} candles/s)"
    ]
    if result["first_difference"]:
        lines.append(f"first difference: {result['first_difference']}")
    return "\n".join(lines)


async def _first_ms(conn: Connection, market: str) -> int:
    (first,) = await read_candles(conn, market, "1m", limit=1, newest=False) or [None]
    return first.open_time_ms if first else 0


def _close_ms(interval: str, open_ms: int) -> int:
    return parse_interval(interval).close_of(open_ms)


def _range(options: ParityOptions, config: Config, candles: list[Candle]) -> tuple[int, int]:
    first, last = candles[0].open_time_ms, candles[-1].close_time_ms
    start_ms = options.start_ms if options.start_ms is not None else first + history_ms(config)
    start_ms = -(-start_ms // MINUTE_MS) * MINUTE_MS
    end_ms = min(last, start_ms + round((options.days or 1e6) * DAY_MS) // MINUTE_MS * MINUTE_MS)
    inside = [candle.close_time_ms for candle in candles if start_ms < candle.close_time_ms <= end_ms]
    if not inside:
        raise BadInput(
            f"{options.file.name} has no candle to replay: it holds {(last - first) / DAY_MS:.1f} days, and the "
            f"warm-up of {options.strategy} on {options.interval} takes {history_ms(config) / DAY_MS:.1f}.",
            field="file",
            value=options.file.name,
            fix="Give a longer file, a shorter interval, or --start.",
        )
    return start_ms, inside[-1]
