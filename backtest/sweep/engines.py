"""Which engine a sweep runs on, tried on its own first minutes: what Numba refuses is told before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from backtest.requests import BacktestRequest
from backtest.sources import Source, cut_for, span_of
from backtest.sweep.evaluator import Number, ReferenceEvaluator, engine_of
from trading.config.rules import NO_ENTRIES, NO_EXITS
from trading.errors import DataHole
from trading.intervals import MINUTE_MS

__all__ = ["engine_on"]

_MINUTES = 5_000
# What compiled code is measured with: a rule that all of it is known of, and as many sets as a batch has.
_COMPILED = "ma44"
_SETS = 96


def engine_on(request: BacktestRequest, source: Source) -> tuple[str, str]:
    """As ``engine_of``, from the candles that are swept: ``reference`` also where Numba does not take the strategy.

    How much slower the reference is was measured then, in processor time, over the first minutes of the range. It also
    compiles the strategy, once for all processes that share the cache.
    """
    engine, why = engine_of(request)
    from backtest.sweep.kernel import KernelEvaluator

    from_ms = span_of(request, [source]).from_ms
    short = request.model_copy(update={"end_ms": min(from_ms + _MINUTES * MINUTE_MS, request.end_ms or 2**62)})
    part = cut_for(short, source)
    try:
        if engine == "kernel":
            kernel = KernelEvaluator(short, part)
            kernel.evaluate([{}])
            if kernel.refusal is None:
                return engine, why
            why = f"Numba does not compile this strategy ({kernel.refusal})"
        else:
            why = why.partition(": ")[2]
        slow_s = _seconds(lambda: ReferenceEvaluator(short, part).evaluate([request.params]))
        plain = short.model_copy(
            update={"strategy": _COMPILED, "source": "", "params": {}, "exits": NO_EXITS, "entries": NO_ENTRIES,
                    "intervals": request.intervals[:1]}
        )  # fmt: skip
        compiled = KernelEvaluator(plain, part)
        sets: list[Mapping[str, Number]] = [{"period": 2 + place} for place in range(_SETS)]
        compiled.evaluate(sets)
        fast_s = _seconds(lambda: compiled.evaluate(sets)) / _SETS
    except DataHole:
        # Too little to decide on: the sweep itself says so, or has enough of it later.
        return engine, why
    times = f"{slow_s / max(fast_s, 1e-9):,.0f}"
    return "reference", f"the reference engine, here {times} times slower than compiled code: {why}"


def _seconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
