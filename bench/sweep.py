"""Sweeps in compiled code: processor time for each minute of each combination, beside reading one column of prices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np

from backtest.requests import BacktestRequest
from backtest.run import simulate
from backtest.sources import Source
from backtest.sweep.evaluator import Number
from backtest.sweep.kernel import KernelEvaluator
from bench.figures import Effort, Figure, Report, Table
from bench.history import SAMPLE, history_pieces
from bench.samples import spread
from trading.config.costs import Costs
from trading.errors import MantaError

__all__ = ["measure"]

TOGETHER = 125
# The trades of one combination are compared with the reference engine's over this many minutes.
COMPARED = 20_000
_COSTS = Costs(taker_fee=Decimal("0.001"), slippage=Decimal("0.0002"))
# Columns read one after another: none is in the cache any more when its turn comes again.
_COLUMNS = 16


class Work(NamedTuple):
    """What is swept. ``most`` is the budget of long or flat, as a multiple of the cold read."""

    name: str
    strategy: str
    combos: Sequence[dict[str, Number]]
    most: float


WORK = (
    Work(
        "SMA cross",
        "sma_cross",
        [{"fast": fast, "slow": slow} for fast in range(5, 55, 5) for slow in range(60, 580, 40)][:TOGETHER],
        0.9,
    ),
    Work("close against SMA", "ma44", [{"period": 2 + 8 * place} for place in range(TOGETHER)], 1.8),
)


async def measure(effort: Effort) -> Report:
    """Score 125 combinations a call, warm, on one core: long or flat, and long or short."""
    words, pieces = history_pieces()
    candles = [candle for piece in pieces for candle in piece.candles()]
    source = Source(candles, [], SAMPLE, known_market=True)
    reads = [_cold_read(len(candles)) for _ in range(effort.runs)]
    read = median(reads)
    figures, rows, notes = [], [], [f"cold read: {spread(reads, 'ns')}"]
    for work in WORK:
        for profile, what in (("spot", "long or flat"), ("perp", "long or short")):
            request = BacktestRequest(
                strategy=work.strategy, market=SAMPLE.key, intervals=("1m",), profile=profile, costs=_COSTS,
                params=work.combos[0],
            )  # fmt: skip
            trades = _compare(request, source, work.combos[-1])
            kernel = KernelEvaluator(request, source)
            # The first call loads or compiles.
            scores = kernel.evaluate(work.combos)
            again = partial(kernel.evaluate, work.combos)
            each = [_nanos(again, len(candles) * TOGETHER) for _ in range(effort.runs)]
            found = median(each)
            name = f"{work.name}, {what}"
            figures.append(
                Figure(f"{name}, times the cold read", found / read, "×", work.most * (1, 1.8)[profile == "perp"])
            )
            rows.append((name, found, found / read, sum(score.trades for score in scores) / TOGETHER, trades))
            notes.append(f"{name}: {spread(each, 'ns')}")
    return Report(
        "sweep",
        f"{len(candles):,} minutes ({words}), {TOGETHER} combinations a call on one core, warm: decided at the close, "
        "filled at the next open, fee 0.1 %, slippage 0.02 %, all in, every figure of a score and the daily returns. "
        "Processor time for each minute of each combination. The cold read sums one column of as many floats: "
        f"{read:.3f} ns each.",
        figures,
        [
            Table(
                "Processor time a minute and combination",
                ("work", "ns", "cold reads", "trades each", "trades equal to the reference's"),
                rows,
            )
        ],
        notes,
    )


def _compare(request: BacktestRequest, source: Source, combo: dict[str, Number]) -> int:
    """How many trades the kernel makes of the first minutes, once they are the reference's; MantaError if not."""
    part = replace(source, candles=source.candles[:COMPARED])
    asked = request.model_copy(update={"params": combo})
    wanted = [
        (trade.direction, trade.entry_ms, trade.entry_price, trade.quantity, trade.exit_ms, trade.exit_price)
        for trade in simulate(asked, [part], "bench", twin=False).trades
    ]
    found = [tuple(trade) for trade in KernelEvaluator(request, part).trades(combo)]
    if found != wanted:
        raise MantaError(
            f"The kernel makes other trades of {request.strategy} {combo} than the reference engine.",
            fix="Do not trust sweeps of this version; tell the project.",
        )
    return len(found)


def _cold_read(count: int) -> float:
    columns = np.random.default_rng(1).random((_COLUMNS, count))
    total = np.empty(_COLUMNS)
    return _nanos(lambda: np.sum(columns, axis=1, out=total), count * _COLUMNS)


def _nanos(work: Callable[[], object], units: int) -> float:
    """Processor time of ``work`` for each unit, in nanoseconds."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / units * 1e9
