"""One trial: a strategy at work on candles that lie in memory as a whole, as in a backtest, and all that it said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading.brain import BrainState
from trading.candles import Candle
from trading.events import Signal
from trading.fold import fold
from trading.instances import Instance
from trading.intervals import parse_interval
from trading.strategies.check.lines import Step, tracing
from trading.strategies.contract import Strategy

__all__ = ["Difference", "difference", "interleaved", "restarted", "run", "traced", "tried_with"]

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


def run(strategy: Strategy, candles: Sequence[Candle], upto: int | None = None) -> list[Signal]:
    """What ``strategy`` says of ``candles``, which all lie in memory, up to and with number ``upto``."""
    brain = _brain(strategy, candles)
    found: list[Signal] = []
    for closing in _closings(strategy, candles)[: None if upto is None else upto + 1]:
        found += _signals(brain, closing)
    return found


def interleaved(strategy: Strategy, candles: Sequence[Candle], others: Sequence[Candle]) -> list[Signal]:
    """What it says of ``candles`` while it works on another market, too, candle by candle."""
    mine, theirs = _brain(strategy, candles), _brain(strategy, others)
    found: list[Signal] = []
    for closing, other in zip(_closings(strategy, candles), _closings(strategy, others), strict=True):
        _signals(theirs, other)
        found += _signals(mine, closing)
    return found


def restarted(before: Strategy, after: Strategy, candles: Sequence[Candle], at: int) -> list[Signal]:
    """What is said from candle ``at`` on when the process ended before it, and began anew as Manta does."""
    first = _brain(before, candles)
    closings = _closings(before, candles)
    for closing in closings[:at]:
        _signals(first, closing)
    market = candles[0].market
    brain = _brain(after, candles, {market: candles[at - 1].close_time_ms})
    handled = [candle for closing in closings[:at] for candle in closing]
    for need in brain.needs(market):
        own = [candle for candle in handled if candle.interval == need.interval]
        brain.seed(market, need.interval, own[max(0, len(own) - need.candles) :])
    brain.resume(first.plans(market))
    found: list[Signal] = []
    for closing in closings[at:]:
        found += _signals(brain, closing)
    return found


def traced(strategy: Strategy, candles: Sequence[Candle], number: int) -> list[Step]:
    """The lines of the strategy's file that are run at candle ``number``."""
    brain = _brain(strategy, candles)
    closings = _closings(strategy, candles)
    for closing in closings[:number]:
        _signals(brain, closing)
    with tracing(strategy.name) as found:
        _signals(brain, closings[number])
    return found


def tried_with(strategy: Strategy, interval: str) -> list[str]:
    """The other intervals that it reads whose candles a trial on ``interval`` makes: whole multiples of it."""
    width_ms = parse_interval(interval).typical_ms
    return [name for name in strategy.other_intervals([interval]) if parse_interval(name).typical_ms % width_ms == 0]


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


def _closings(strategy: Strategy, candles: Sequence[Candle]) -> list[tuple[Candle, ...]]:
    """Each of ``candles`` with the longer ones that the strategy reads and that close with it."""
    longer: dict[int, list[Candle]] = {}
    for name in tried_with(strategy, candles[0].interval):
        for candle in fold(candles, name):
            longer.setdefault(candle.close_time_ms, []).append(candle)
    return [(candle, *longer.get(candle.close_time_ms, ())) for candle in candles]


def _signals(brain: BrainState, closing: Iterable[Candle]) -> list[Signal]:
    return [out for candle in closing for out in brain.handle(candle) if isinstance(out, Signal)]


def _brain(strategy: Strategy, candles: Sequence[Candle], positions: Mapping[str, int] | None = None) -> BrainState:
    first = candles[0]
    one = Decimal(1)
    fixed: dict[str, Any] = {"profile": "perp", "book": "paper", "leverage": one, "size": one, "share": one}
    trial = _Trial(
        instance_id=_NAME, name=_NAME, strategy=strategy.name, params=strategy.params_dict(), markets=(first.market,),
        intervals=(first.interval,), live_from_ms=-1, made=lambda: strategy, **fixed,
    )  # fmt: skip
    return BrainState([trial], (), [first.market], positions)
