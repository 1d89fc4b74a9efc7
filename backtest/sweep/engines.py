"""Which engine a sweep runs on, tried on its own first minutes: what Numba refuses is told before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

from backtest.requests import BacktestRequest
from backtest.sources import Source, cut_for, span_of
from backtest.sweep.evaluator import Number, ReferenceEvaluator, engine_of
from trading.errors import MantaError
from trading.intervals import MINUTE_MS

__all__ = ["engine_on"]

_log = structlog.get_logger(__name__)

_MINUTES = 5_000
# What compiled code is measured with: a rule that all of it is known of, and as many sets as a batch has.
_COMPILED = "ma44"
_SETS = 96


def engine_on(request: BacktestRequest, source: Source) -> tuple[str, str]:
    """As ``engine_of``, from the candles that are swept: ``reference`` also where Numba does not take the strategy.

    How much slower that is was measured then, in processor time, over the first minutes of the range. It also compiles
    the strategy, once for all processes that share the cache.
    """
    engine, why = engine_of(request)
    if engine != "kernel":
        return engine, why
    from backtest.sweep.kernel import KernelEvaluator

    from_ms = span_of(request, [source]).from_ms
    short = request.model_copy(update={"end_ms": min(from_ms + _MINUTES * MINUTE_MS, source.candles[-1].close_time_ms)})
    part = cut_for(short, source)
    try:
        kernel = KernelEvaluator(short, part)
        kernel.evaluate([{}])
        if kernel.refusal is None:
            return engine, why
        slow_s = _seconds(lambda: ReferenceEvaluator(short, part).evaluate([request.params]))
        compiled = KernelEvaluator(short.model_copy(update={"strategy": _COMPILED, "source": "", "params": {}}), part)
        sets: list[Mapping[str, Number]] = [{"period": 2 + place} for place in range(_SETS)]
        compiled.evaluate(sets)
        fast_s = _seconds(lambda: compiled.evaluate(sets)) / _SETS
    except MantaError:
        # Too little to decide on, or parameters that are not those searched: the sweep itself says so if it matters.
        return engine, why
    times = f"{slow_s / max(fast_s, 1e-9):,.0f}"
    why = (
        f"the reference engine, here {times} times slower than compiled code: Numba does not compile this strategy"
        f" ({kernel.refusal})"
    )
    _log.warning("no compiled code for this search", scored_by=why)
    return "reference", why


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
