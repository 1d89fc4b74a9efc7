"""The reference backtest: processor time for each minute that it passes over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from backtest.reference import run_reference
from bench.figures import Effort, Figure, Report, Table
from bench.history import SAMPLE
from bench.samples import spread
from trading.candle_files import load_columns
from trading.candle_series import CandleSeries
from trading.candles import Candle, Source
from trading.config.model import Book, Config
from trading.instances import resolve_instances
from trading.venues.simulator.sample import SAMPLE_FILE

__all__ = ["measure"]

INTERVALS = ("37m", "5m", "1h")
_REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "candles_1m"
_REAL_FILE = _REAL / "binance_spot_BTCUSDT_1m_20250520-20250818.csv.gz"


async def measure(effort: Effort) -> Report:
    """Run ma44 on each interval ``runs`` times: passing over calm minutes, and minute by minute."""
    words, path = ("real minutes", _REAL_FILE) if _REAL_FILE.is_file() else ("the sample's minutes", SAMPLE_FILE)
    candles = CandleSeries.from_columns(load_columns(path, SAMPLE.key, interval="1m"), Source.IMPORT.value)
    count = len(candles)
    # Reading the file is no part of a run, which may have its candles from the database.
    loads = [_micros(lambda: load_columns(path, SAMPLE.key, interval="1m"), count) for _ in range(effort.runs)]
    passed: dict[str, list[float]] = {name: [] for name in INTERVALS}
    # What it is compared with takes long, and is not what is measured: once.
    stepped = {name: _run(candles, name, by_minute=True) for name in INTERVALS}
    dear = Book().costs.model_copy(update={"taker_fee": Decimal("0.002"), "slippage": Decimal("0.0004")})
    twins: list[float] = []
    for _ in range(effort.runs):
        for name in INTERVALS:
            passed[name].append(_run(candles, name))
        twins.append(_run(candles, INTERVALS[0], twin_costs=dear))
    return Report(
        "reference",
        f"{count:,} {words} of BTCUSDT in memory through the reference backtest: `ma44` as perp on one interval, from "
        "the columns that files and the database give to trades, equity and score. Processor time of the process, "
        "over the minutes.",
        [
            Figure("ma44 on 37m", median(passed["37m"]), "µs/bar", 3),
            Figure("ma44 on 5m", median(passed["5m"]), "µs/bar"),
            Figure("ma44 on 1h", median(passed["1h"]), "µs/bar"),
            Figure("ma44 on 37m with a twin at other costs", median(twins), "µs/bar"),
            Figure("reading the file of candles, on top", median(loads), "µs/bar"),
        ],
        [
            Table(
                "Against minute by minute, as parity runs it, µs a bar",
                ("interval", "by minute", "calm passed over", "times"),
                [_compared(name, stepped[name], median(passed[name])) for name in INTERVALS],
            )
        ],
        [f"{name}: {spread(passed[name], 'µs/bar')}" for name in INTERVALS],
    )


def _compared(name: str, stepped: float, passed: float) -> Sequence[str | float]:
    return name, stepped, passed, stepped / passed


def _run(candles: Sequence[Candle], interval: str, **more: Any) -> float:
    strategy = {"name": "bench", "strategy": "ma44", "intervals": [interval], "profile": "perp"}
    start_ms = candles[0].open_time_ms
    instances = resolve_instances(Config.model_validate({"strategies": [strategy]}), start_ms)
    return _micros(
        lambda: run_reference(
            candles,
            instances=instances,
            book_id="paper",
            book=Book(capital=Decimal(10_000)),
            markets=[SAMPLE],
            live_from_ms=start_ms,
            every_mark=False,
            stop_when_ruined=True,
            **more,
        ),
        len(candles),
    )


def _micros(work: Callable[[], object], bars: int) -> float:
    """Processor time of ``work`` for each bar, in microseconds."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / bars * 1e6
