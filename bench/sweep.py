"""Sweeps in compiled code: processor time for each minute of each combination, beside reading one column of prices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from itertools import product, takewhile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from backtest.requests import BacktestRequest
from backtest.run import simulate
from backtest.sources import Source
from backtest.sweep.evaluator import Number
from backtest.sweep.kernel import KernelEvaluator
from backtest.sweep.kernel.evaluate import KernelTrade, Spent
from bench.figures import Effort, Figure, Report, Table
from bench.history import SAMPLE, carried, history_pieces
from bench.rivals import Contest, Outcome, rival_outcomes
from bench.samples import spread
from trading.config.costs import Costs
from trading.errors import MantaError
from trading.strategies.registry import load_strategy

__all__ = ["measure"]

TOGETHER = 125
# The trades of one combination are compared with the reference engine's over this many minutes.
COMPARED = 20_000
_COSTS = Costs(taker_fee=Decimal("0.001"), maker_fee=Decimal("0.001"), slippage=Decimal("0.0002"))
# Columns read one after another: none is in the cache any more when its turn comes again.
_COLUMNS = 16


# Of each work so many combinations are given to the rival, who takes tenths of a second for one.
_CONTESTS = 3


class Work(NamedTuple):
    """What is swept. ``most`` is the budget of long or flat, as a multiple of the cold read, ``least`` that of how many
    times the rival's processor time is ours; without it the rival does not do it. ``source`` is the text of a strategy
    that is not built in.
    """

    letter: str
    name: str
    strategy: str
    combos: Sequence[dict[str, Number]]
    most: float
    least: float | None
    source: str = ""


class Parts(NamedTuple):
    """Where our nanoseconds go: ``alike`` is all of it when every combination is the same, so features are made once;
    of all, ``deciding`` and ``trading`` are those of ``Spent``.
    """

    alike: float
    deciding: float
    trading: float


class Found(NamedTuple):
    """Of one work and profile: our nanoseconds, trades of each combination, how many were compared, and contests."""

    work: Work
    shorts: bool
    ns: float
    parts: Parts
    trades: float
    minutes: int
    compared: int
    contests: list[Contest]

    @property
    def name(self) -> str:
        return f"{self.work.name}, {'long or short' if self.shorts else 'long or flat'}"


_BRACKETS = Path(__file__).with_name("ema_rsi_atr.py").read_text(encoding="utf-8")
WORK = (
    Work(
        "a",
        "SMA cross",
        "sma_cross",
        [{"fast": fast, "slow": slow} for fast in range(5, 55, 5) for slow in range(60, 580, 40)][:TOGETHER],
        0.9,
        300,
    ),
    Work("b", "close against SMA", "ma44", [{"period": 2 + 8 * place} for place in range(TOGETHER)], 1.8, 120),
    Work(
        "c",
        "EMA cross, RSI, stop and target in ATR",
        "ema_rsi_atr",
        [
            {"fast": fast, "slow": slow, "rsi_least": least, "stop": stop, "target": target}
            for fast, slow, least, stop, target in product(
                (8, 12, 16, 20, 24), (50,), (45.0, 50.0, 55.0, 60.0, 65.0), (1.0, 1.5, 2.0, 2.5, 3.0), (3.0,)
            )
        ],
        1.8,
        150,
        _BRACKETS,
    ),
    Work(
        "c_periods",
        "the same, every period different",
        "ema_rsi_atr",
        [
            {"fast": 5 + place, "slow": 140 + place, "rsi_period": 5 + place, "atr_period": 5 + place}
            for place in range(TOGETHER)
        ],
        2.6,
        None,
        _BRACKETS,
    ),
)


async def measure(effort: Effort) -> Report:
    """Score 125 combinations a call, warm, on one core: long or flat, and long or short; then let the rival do some."""
    words, pieces = history_pieces()
    candles = carried(pieces)
    source = Source(candles, [], SAMPLE, known_market=True)
    reads = [_cold_read(len(candles)) for _ in range(effort.runs)]
    read = median(reads)
    notes = [f"cold read: {spread(reads, 'ns')}"]
    found = [_measured(work, source, effort, shorts, notes) for work in WORK for shorts in (False, True)]
    rival, outcomes = _rival(source, found, effort, notes)
    figures, rows, values = [], [], dict[str, Any]()
    for item, own in zip(found, outcomes, strict=True):
        times = sum(each.ns for each in own) / len(own) / item.ns if own else None
        equal = (
            all(each.equal == len(contest.ours) for each, contest in zip(own, item.contests, strict=True))
            if own
            else None
        )
        figures.append(
            Figure(
                f"{item.name}, times the cold read", item.ns / read, "×", item.work.most * (1.8 if item.shorts else 1)
            )
        )
        if times is not None:
            least = None if item.shorts else item.work.least
            figures.append(Figure(f"{item.name}, faster than {rival}", times, "×", least, at_least=True))
        rows.append(
            (item.name, item.ns, item.ns / read, times or "–", item.trades, f"{item.compared:,}", _agreed(item, own))
        )
        told = {"ns": item.ns, "ratio_vectorbt": times, "ratio_read": item.ns / read, "trades_equal": equal}
        if item.shorts:
            values[item.work.letter]["flip"] = told
        else:
            values[item.work.letter] = told
    return Report(
        "sweep",
        f"{len(candles):,} minutes ({words}, absent ones carried), {TOGETHER} combinations a call on one core, warm: "
        "decided at the close, filled at the next open, fee 0.1 %, slippage 0.02 %, all in, every figure of a score "
        "and the daily returns. Processor time for each minute of each combination. The cold read sums one column of "
        f"as many floats: {read:.3f} ns each. The rival is given the decisions, and simulates and computes eight "
        f"metrics of {_CONTESTS} combinations, one a call, which is its fastest way.",
        figures,
        [
            Table(
                "Processor time a minute and combination",
                ("work", "ns", "cold reads", "faster than the rival", "trades each", "equal to the reference's",
                 "of ours, equal to the rival's"),
                rows,
            ),
            Table(
                "Where that time goes",
                ("work", "features and rules", "trades", "the rest", "trades, ns each", "saved where all are alike"),
                [_parts(item) for item in found],
            ),
        ],
        notes,
        values,
    )  # fmt: skip


def _measured(work: Work, source: Source, effort: Effort, shorts: bool, notes: list[str]) -> Found:
    request = BacktestRequest(
        strategy=work.strategy, source=work.source, market=SAMPLE.key, intervals=("1m",),
        profile=("spot", "perp")[shorts], costs=_COSTS, params=work.combos[0],
    )  # fmt: skip
    compared = _compare(request, source, work.combos[-1])
    kernel = KernelEvaluator(request, source)
    # The first call loads or compiles.
    scores = kernel.evaluate(work.combos)
    again = partial(kernel.evaluate, work.combos)
    alike = partial(kernel.evaluate, work.combos[:1] * TOGETHER)
    units = len(source.candles) * TOGETHER
    each, parts = [], []
    for _ in range(effort.runs):
        kernel.spent = Spent()
        each.append(_nanos(again, units))
        deciding, trading = kernel.spent.deciding / units, kernel.spent.trading / units
        parts.append(Parts(_nanos(alike, units), deciding, trading))
    contests = []
    # One order a candle is all that the rival does: what turns and is stopped is not its own any more.
    if work.least is not None and not (shorts and work.source):
        contests = [
            Contest(
                load_strategy(work.strategy, combo, work.source),
                shorts,
                list(takewhile(_is_large, kernel.trades(combo))),
            )
            for combo in work.combos[TOGETHER // (2 * _CONTESTS) :: TOGETHER // _CONTESTS][:_CONTESTS]
        ]
    middle = Parts(*(median(values) for values in zip(*parts, strict=True)))
    found = Found(
        work,
        shorts,
        median(each),
        middle,
        sum(score.trades for score in scores) / TOGETHER,
        len(source.candles),
        compared,
        contests,
    )
    notes.append(f"{found.name}: {spread(each, 'ns')}")
    return found


def _parts(item: Found) -> tuple[str | float, ...]:
    """A row of where time goes; trades that exits end are not apart from what decides."""
    parts = item.parts
    rest = item.ns - parts.deciding - parts.trading
    each = parts.trading * item.minutes / item.trades if parts.deciding and item.trades else "–"
    return item.name, parts.deciding or "–", parts.trading, rest, each, item.ns - parts.alike


def _rival(source: Source, found: Sequence[Found], effort: Effort, notes: list[str]) -> tuple[str, list[list[Outcome]]]:
    """What the rival is, and its outcomes of the contests of each item; none of any when it cannot be had."""
    contests = [contest for item in found for contest in item.contests]
    try:
        rival, outcomes = rival_outcomes(source, _COSTS, contests, effort.runs)
    except MantaError as error:
        notes.append(f"No rival was measured: {error}")
        return "", [[] for _ in found]
    notes.append(
        "The rival knows no least value of an order and no ruin: trades are compared while they are worth twice that. "
        "In its favour, neither indicators nor decisions are in its time."
    )
    each = iter(outcomes)
    return rival, [[next(each) for _ in item.contests] for item in found]


def _is_large(trade: KernelTrade) -> bool:
    """Whether the money left is far from what the venue refuses; False from the first such trade on."""
    return trade.quantity * trade.entry_price >= 2 * SAMPLE.min_notional


def _agreed(item: Found, own: Sequence[Outcome]) -> str:
    if not own:
        return "–"
    ours, equal = sum(len(contest.ours) for contest in item.contests), sum(each.equal for each in own)
    return f"{equal:,} of {ours:,}; it makes {sum(each.trades for each in own):,}"


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
