"""One trial: a strategy at work on candles that lie in memory as a whole, as in a backtest, and all that it said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading.brain import BrainState
from trading.candles import Candle
from trading.events import Signal
from trading.instances import Instance
from trading.strategies.check.lines import Step, tracing
from trading.strategies.check.series import Series
from trading.strategies.contract import Strategy

__all__ = ["Difference", "difference", "interleaved", "restarted", "run", "traced"]

_NAME = "trial"


@dataclass(frozen=True, slots=True)
class _Trial(Instance):
    """An instance whose strategy is given, so that one trial can share it with the next, or not."""

    made: Callable[[], Strategy] | None = None

    def load(self) -> Strategy:
        assert self.made is not None  # noqa: S101 - never made without
        return self.made()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs over the same past begin to differ: candle number, what (a feature or a part), and both values."""

    number: int
    close_time_ms: int
    feature: str
    part: str
    one: str
    other: str


def run(strategy: Strategy, series: Series, upto: int | None = None) -> list[Signal]:
    """What ``strategy`` says of ``series``, which lies in memory as a whole, up to and with its candle ``upto``."""
    brain = _brain(strategy, series)
    found: list[Signal] = []
    # In a variable, as in a backtest: whoever looks for candles in memory is to find them all.
    candles = series.every
    for candle in candles if upto is None else candles[: series.upto(upto)]:
        found += _signals(brain, candle)
    return found


def interleaved(strategy: Strategy, series: Series, other: Series) -> list[Signal]:
    """What it says of ``series`` while it works on another market, too, candle by candle at the same times."""
    mine, theirs = _brain(strategy, series), _brain(strategy, other)
    found: list[Signal] = []
    candles = series.every
    for candle, beside in zip(candles, other.every, strict=True):
        _signals(theirs, beside)
        found += _signals(mine, candle)
    return found


def restarted(before: Strategy, after: Strategy, series: Series, at: int) -> list[Signal]:
    """What is said from candle ``at`` on when the process ended before it, and began anew as Manta does."""
    first = _brain(before, series)
    candles = series.every
    past = candles[: series.upto(at - 1)]
    for candle in past:
        first.handle(candle)
    market = series.own[0].market
    brain = _brain(after, series, {market: past[-1].close_time_ms})
    for need in brain.needs(market):
        known = [candle for candle in past if candle.interval == need.interval]
        brain.seed(market, need.interval, known[max(0, len(known) - need.candles) :])
    brain.resume(first.plans(market))
    found: list[Signal] = []
    for candle in candles[len(past) :]:
        found += _signals(brain, candle)
    return found


def traced(strategy: Strategy, series: Series, number: int) -> list[Step]:
    """The lines of the strategy's file that are run for candle ``number``."""
    brain = _brain(strategy, series)
    candles, start = series.every, series.upto(number - 1)
    for candle in candles[:start]:
        brain.handle(candle)
    with tracing(strategy.name) as found:
        for candle in candles[start : series.upto(number)]:
            brain.handle(candle)
    return found


def difference(one: Sequence[Signal], other: Sequence[Signal], offset: int = 0) -> Difference | None:
    """The first signal of ``other`` that is not that of ``one``; ``offset`` is the number of its first candle.

    What a feature says comes before what a rule makes of it.
    """
    for number, (left, right) in enumerate(zip(one, other, strict=False)):
        if left == right and all(map(_is_plain, right.features.values())):
            continue
        for name, value in left.features.items():
            theirs = right.features.get(name)
            if value != theirs or not _is_plain(theirs):
                return _told(offset + number, left, name, "feature", value, theirs)
        for part in ("status", "target", "confidence"):
            if getattr(left, part) != getattr(right, part):
                return _told(offset + number, left, "", part, getattr(left, part), getattr(right, part))
        for part in left.plan._fields:
            if getattr(left.plan, part) != getattr(right.plan, part):
                return _told(offset + number, left, "", part, getattr(left.plan, part), getattr(right.plan, part))
    return None


def _told(number: int, signal: Signal, feature: str, part: str, one: object, other: object) -> Difference:
    return Difference(number, signal.close_time_ms, feature, part, repr(one), repr(other))


def _is_plain(value: object) -> bool:
    """A number that cannot change later."""
    return value is None or type(value) in (float, int) or type(value).__module__ == "numpy"


def _signals(brain: BrainState, candle: Candle) -> list[Signal]:
    return [out for out in brain.handle(candle) if isinstance(out, Signal)]


def _brain(strategy: Strategy, series: Series, positions: Mapping[str, int] | None = None) -> BrainState:
    first = series.own[0]
    one = Decimal(1)
    fixed: dict[str, Any] = {"profile": "perp", "book": "paper", "leverage": one, "size": one, "share": one}
    trial = _Trial(
        instance_id=_NAME, name=_NAME, strategy=strategy.name, params=strategy.params_dict(), markets=(first.market,),
        intervals=(first.interval,), live_from_ms=-1, made=lambda: strategy, **fixed,
    )  # fmt: skip
    return BrainState([trial], (), [first.market], positions)
