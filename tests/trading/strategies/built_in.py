"""Runs a strategy over candles made by hand, as a brain does."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from tests.trading.strategies.own import MARKET
from trading.brain import BrainState
from trading.candles import UNIT, Candle
from trading.config.model import Config
from trading.events import Signal
from trading.fold import fold
from trading.instances import resolve_instances
from trading.intervals import parse_interval

SHORT_NAMES = {"LONG": "L", "SHORT": "S", "FLAT": "f", "HOLD": "."}


def bars(closes: Iterable[float | tuple[float, ...]], *, interval: str = "1h", start_ms: int = 0) -> list[Candle]:
    """Candles from closes, or from (open, high, low, close) or (open, high, low, close, volume)."""
    width = parse_interval(interval).typical_ms
    made = []
    for number, given in enumerate(closes):
        values = given if isinstance(given, tuple) else (given,) * 4
        open_, high, low, close, volume = (round(value * UNIT) for value in (*values, 1.0)[:5])
        open_ms = start_ms + number * width
        made.append(Candle(MARKET, interval, open_ms, open_ms + width, open_, high, low, close, volume))
    return made


def signals(
    strategy: str,
    candles: Sequence[Candle],
    params: Mapping[str, int | float] | None = None,
    *,
    source: str = "",
    profile: str = "perp",
) -> list[Signal]:
    """What the strategy says at each candle; longer candles that it reads are made of these."""
    instance = {
        "name": "it", "strategy": strategy, "params": dict(params or {}), "source": source, "profile": profile,
        "intervals": [candles[0].interval],
    }  # fmt: skip
    config = Config.model_validate({"markets": [MARKET], "strategies": [instance]})
    instances = resolve_instances(config, -1)
    brain = BrainState(instances, (), [MARKET])
    longer = [fold(candles, name) for name in instances[0].load().other_intervals([candles[0].interval])]
    told = heapq.merge(candles, *longer, key=lambda candle: candle.close_time_ms)
    return [out for candle in told for out in brain.handle(candle) if isinstance(out, Signal)]


def line(found: Sequence[Signal]) -> str:
    """The targets, a letter each: L, S, f for FLAT, . for HOLD, - before warm-up."""
    return "".join("-" if item.status != "ready" else SHORT_NAMES[item.target] for item in found)
