"""``manta verify parity``: the same candles through the live pipeline and through the reference backtest, compared."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.crash import CrashPoint
from backtest.causes import all_differences
from backtest.compare import compare
from backtest.reference import RunRecords, run_reference
from manta.output import console
from manta.parity_strategies import EVERY, every_instance
from manta.progress import candle_bar
from manta.replay import Replay, ReplayOptions
from trading.accounts.trades import trades_from_fills
from trading.candle_files import load_candles
from trading.candles import Candle
from trading.config.model import Config
from trading.errors import BadInput
from trading.instances import Instance, history_ms, resolve_instances
from trading.intervals import DAY_MS, MINUTE_MS, parse_interval
from trading.markets import Market
from trading.storage import markets, quality, records
from trading.storage.candles import read_candles
from trading.storage.database import Connection
from trading.storage.natives import read_all_natives
from trading.strategies.check.apart import require_honest
from trading.venues.paper.faults import BrokerFault
from trading.venues.simulator.dialects import dialect_of
from trading.venues.simulator.sample import SAMPLE_MARKET, sample_currency, sample_symbol

__all__ = ["ParityOptions", "compare_session", "parity_config", "parity_words", "run_parity"]

_COUNTS = ("decisions", "holds", "fills", "features", "explained", "mismatches")


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """``venue`` is whose protocol the file is replayed in. ``days`` None replays the whole file after the warm-up;
    ``start_ms`` None begins right after it.

    ``strategy`` may be ``all``: every built-in one is an instance of the same session. ``interval`` and ``profile``
    None are 37m and perp, or with ``all`` what suits each.

    A strategy whose text ``instance`` gives as ``source`` is checked for looking ahead before anything is replayed.
    ``crash_points``, ``broker_faults`` and ``faults`` (orders to the simulator) hurt the run on purpose; the comparison
    stays the same. ``instance`` is what the configuration says of the instance besides, ``costs`` of the book's costs.
    """

    file: Path
    venue: str = "binance"
    strategy: str = "ma44"
    interval: str | None = None
    days: float | None = None
    start_ms: int | None = None
    profile: str | None = None
    lead: int = 500
    quiet: bool = False
    crash_points: tuple[CrashPoint, ...] = ()
    broker_faults: tuple[BrokerFault, ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    instance: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)


def parity_config(
    strategy: str,
    intervals: Iterable[str],
    profile: str,
    *,
    market: str = SAMPLE_MARKET,
    costs: Mapping[str, Any] | None = None,
    **instance: Any,
) -> Config:
    """One instance on one market, with a feature of the same kind shown beside it."""
    names = list(intervals)
    instances = [{"name": strategy, "strategy": strategy, "intervals": names, "profile": profile, **instance}]
    return _config(market, names, 44 if strategy == "ma44" else 125, instances, costs or {})


def _config(
    market: str, names: list[str], period: int, instances: list[dict[str, Any]], costs: Mapping[str, Any]
) -> Config:
    return Config.model_validate(
        {
            "markets": [market],
            "intervals": names,
            "books": {"paper": {"currency": sample_currency(market), "costs": dict(costs)}},
            "history": {"min_days": 0},
            "nightly": {"enabled": False},
            "features": [{"name": "shown", "kind": "sma", "params": {"period": period}, "intervals": names}],
            "strategies": instances,
        }
    )


async def run_parity(options: ParityOptions) -> dict[str, Any]:
    """Replay, run the reference, compare; raises BadInput for a file or range that cannot be replayed."""
    symbol = sample_symbol(options.venue)
    market = f"{options.venue}:{symbol}"
    config = _session_config(options, market)
    resolve_instances(config, 0)
    checked = await _checked(config)
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
        **({"strategy_check": checked} if checked is not None else {}),
        "file": options.file.name,
        "market": market,
        "strategy": options.strategy,
        "interval": config.intervals[0] if len(config.intervals) == 1 else None,
        "days": round((end_ms - start_ms) / DAY_MS, 3),
        "start": start_ms,
        "end": end_ms,
        "candles": replayed,
        "absent_minutes": (end_ms - start_ms) // MINUTE_MS - replayed,
        "seconds": round(time.monotonic() - began, 1),
        "replay_seconds": round(seconds, 1),
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
        "strategies": [],
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
        instances = [item for item in resolve_instances(config, start_ms) if item.book == book]
        reference = run_reference(
            candles,
            instances=instances,
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
        total["strategies"] += _rows(instances, live, reference.records if found.mismatches else None)
    return total


def _rows(instances: Iterable[Instance], live: RunRecords, reference: RunRecords | None) -> list[dict[str, Any]]:
    """What each instance did; ``trades`` are closed ones. Without a ``reference`` nothing differed."""
    differences = [] if reference is None else all_differences(live, reference)
    decided = Counter(item.instance_id for item in live.decisions)
    acted = Counter(item.instance_id for item in live.decisions if item.actions)
    trades = Counter(item.instance_id for item in trades_from_fills(live.fills) if item.exit_ms is not None)
    differing = Counter(item.sleeve[0] for item in differences if item.sleeve is not None)
    return [
        {
            "name": item.name,
            "intervals": list(item.intervals),
            "decisions": acted[item.instance_id],
            "holds": decided[item.instance_id] - acted[item.instance_id],
            "trades": trades[item.instance_id],
            "mismatches": differing[item.instance_id],
        }
        for item in instances
    ]


async def _checked(config: Config) -> dict[str, Any] | None:
    """What the check says of a strategy of the user's own, None without one; BadInput if one does not pass."""
    notes: list[str] = []
    own = [item for item in config.strategies if item.source]
    for item in own:
        answer = await asyncio.to_thread(require_honest, item.strategy, item.params, item.source, item.intervals[0])
        notes += answer["notes"]
    return {"passed": True, "notes": notes} if own else None


def parity_words(result: dict[str, Any]) -> str:
    verdict = "identical" if not result["mismatches"] else f"{result['mismatches']} MISMATCHES"
    lines = [
        f"{verdict}: {result['candles']} candles, {result['features']} feature values, "
        f"{result['decisions']} decisions, {result['fills']} fills, {result['explained']} explained "
        f"({result['candles_per_s']} candles/s)"
    ]
    if len(result["strategies"]) > 1:
        lines += _table(result["strategies"])
    if result["first_difference"]:
        lines.append(f"first difference: {result['first_difference']}")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'strategy':<16}{'interval':<10}{'decisions':>10}{'holds':>8}{'trades':>8}{'mismatches':>12}"]
    lines += [
        f"{row['name']:<16}{','.join(row['intervals']):<10}{row['decisions']:>10}{row['holds']:>8}{row['trades']:>8}"
        f"{row['mismatches']:>12}"
        for row in rows
    ]
    return lines


def _session_config(options: ParityOptions, market: str) -> Config:
    if options.strategy != EVERY:
        names = [parse_interval(options.interval or "37m").name]
        profile = options.profile or "perp"
        return parity_config(options.strategy, names, profile, market=market, costs=options.costs, **options.instance)
    interval = parse_interval(options.interval).name if options.interval else None
    instances = [{**item, **options.instance} for item in every_instance(interval, options.profile)]
    names = list(dict.fromkeys(name for item in instances for name in item["intervals"]))
    return _config(market, names, 44, instances, options.costs)


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
            f"warm-up of {options.strategy} on {', '.join(config.intervals)} takes {history_ms(config) / DAY_MS:.1f}.",
            field="file",
            value=options.file.name,
            fix="Give a longer file, a shorter interval, or --start.",
        )
    return start_ms, inside[-1]
