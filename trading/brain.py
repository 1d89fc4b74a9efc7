"""Turns closed candles into feature values and signals. Knows nothing of positions, money or time of day.

A *lane* is one (market, interval): its features, each computed once, and the instances that run on it. After a missing
minute the lane's features start over, because no number may be computed across it; its instances then hold, with status
``hole``, until the candles are rebuilt after a heal, or until a full warm-up of complete candles has passed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from trading.candles import Candle, Hole, HoleReason
from trading.config.model import FeatureSpec
from trading.events import Rebuild, Signal, StreamItem
from trading.features.registry import load_feature
from trading.instances import Instance
from trading.invariants import require
from trading.lanes import FAILED, Lane, Run
from trading.natives import is_native
from trading.plan import Plan
from trading.strategies.contract import StrategyFailed

__all__ = ["FAILED", "BrainState", "FeatureValue", "Reseed", "SeedNeed", "warm_text"]

_MISSING = HoleReason.MISSING.value


class FeatureValue(NamedTuple):
    """A configured feature at the close of one candle. ``value`` is None while ``have`` is below ``need`` candles."""

    market: str
    interval: str
    name: str
    open_time_ms: int
    close_time_ms: int
    value: float | None
    params: dict[str, int | float | str]
    have: int
    need: int


class SeedNeed(NamedTuple):
    """A lane wants the newest ``candles`` candles of ``interval`` before it can go on as if it had never stopped."""

    interval: str
    candles: int


class Reseed(NamedTuple):
    """Load the lanes of ``market`` anew: ``seed`` each need with its newest candles that close by ``upto_ms``."""

    market: str
    upto_ms: int
    needs: tuple[SeedNeed, ...]


def warm_text(have: int, need: int) -> str:
    """What is shown where a value is not there yet, such as ``warming 37/125``; empty when it is."""
    return f"warming {have}/{need}" if have < need else ""


class BrainState:
    """The lanes of the given markets. Pure: no clock, no I/O.

    Guarantees: the same candles give the same signals, bit for bit, wherever the run was cut and seeded again; nothing
    depends on a later candle; a candle that was handled is ignored when it comes again. Nothing here is durable: after
    a restart give the committed ``positions`` (close time by market), ``seed`` every lane that ``needs`` names, and
    ``resume`` from the newest committed signals.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        features: Sequence[FeatureSpec] = (),
        markets: Sequence[str] = (),
        positions: Mapping[str, int] | None = None,
        on_failure: Callable[[StrategyFailed], None] | None = None,
    ) -> None:
        """``on_failure`` is told of a strategy that failed on a candle, which then holds; without it that is raised."""
        self._positions: dict[str, int] = dict(positions or {})
        self._lanes: dict[str, dict[str, Lane]] = {market: {} for market in markets}
        # Candles that wait for a longer one that closes at the same time; markets seeded and not asked since.
        self._waiting: dict[str, list[Candle]] = {market: [] for market in markets}
        self._unsettled: set[str] = set()
        for spec in features:
            feature = load_feature(spec.kind, spec.params, spec.output)
            for market in self._lanes:
                for interval in spec.intervals:
                    lane = self._lane(market, interval)
                    lane.shown.append((spec.name, lane.track(feature), feature.params_dict()))
        for instance in instances:
            for market in instance.markets:
                for interval in instance.intervals if market in self._lanes else ():
                    lane = self._lane(market, interval)
                    lane.add(Run(instance, lane, partial(self._lane, market), on_failure))

    @property
    def markets(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    def position_ms(self, market: str) -> int | None:
        """Close time up to which every minute of ``market`` is handled; None before the first."""
        return self._positions.get(market)

    def is_waiting(self, market: str) -> bool:
        """Whether a candle waits for a longer one of the same close: a later minute ends that."""
        return bool(self._waiting[market])

    def needs(self, market: str) -> tuple[SeedNeed, ...]:
        """How many of the newest candles each lane of ``market`` wants after a restart."""
        return tuple(SeedNeed(lane.interval, lane.history) for lane in self._lanes[market].values())

    def runs(self, market: str) -> list[tuple[str, str, str]]:
        """(instance, market, interval) of everything that decides on ``market``."""
        return [
            (run.instance_id, market, interval) for interval, lane in self._lanes[market].items() for run in lane.runs
        ]

    def plans(self, market: str) -> dict[tuple[str, str, str], Plan]:
        """Of each instance with a state of its own on ``market``, by (instance, market, interval), what it is now."""
        return {
            (run.instance_id, market, interval): run.evaluator.idle
            for interval, lane in self._lanes[market].items()
            for run in lane.runs
            if run.evaluator.idle.state is not None
        }

    @property
    def failures(self) -> dict[tuple[str, str, str], StrategyFailed]:
        """By (instance, market, interval), what a strategy failed with on the newest candle that it was asked about."""
        return {
            (run.instance_id, market, interval): run.failure
            for market, lanes in self._lanes.items()
            for interval, lane in lanes.items()
            for run in lane.runs
            if run.failure is not None
        }

    def resume(self, plans: Mapping[tuple[str, str, str], Plan]) -> None:
        """Let instances go on from the plans of their newest committed signals, by the names of ``runs``."""
        for (identity, market, interval), plan in plans.items():
            lane = self._lanes.get(market, {}).get(interval)
            for run in lane.runs if lane is not None else ():
                if run.instance_id == identity:
                    run.resume(plan)

    def seed(self, market: str, interval: str, candles: Iterable[Candle], holes: Iterable[Hole] = ()) -> None:
        """Warm one lane up, from nothing and silently, with candles in order that were handled before.

        ``holes`` are the missing minutes of the market that are not healed yet, for every lane: a derived candle none
        of whose minutes is present is not there to say that it is incomplete.
        """
        lane = self._lanes[market][interval]
        lane.seed(_in_order(candles, holes, self._positions.get(market, 0)))
        lane.closed_ms = max(lane.closed_ms, self._positions.get(market, 0))
        self._unsettled.add(market)

    def handle(self, item: StreamItem) -> list[Candle | FeatureValue | Signal | Reseed]:
        """What follows from one Candle, Hole or Rebuild: the 1m candle itself, then feature values, then signals.

        After a ``Reseed`` the lanes it names hold until ``seed`` was called for them.
        """
        if isinstance(item, Candle):
            if item.market in self._unsettled:
                self._settle(item.market)
            if self._waiting[item.market] and item.close_time_ms > self._positions[item.market]:
                return [*self._release(item.market), *self._candle(item)]
            return self._candle(item)
        if isinstance(item, Hole):
            out = self._release(item.market)
            if item.reason == _MISSING and item.to_ms > self._positions.get(item.market, 0):
                for lane in self._lanes[item.market].values():
                    lane.forget(hole=True)
            return out
        if isinstance(item, Rebuild):
            out = self._release(item.market)
            for lane in self._lanes[item.market].values():
                lane.forget(hole=True)
            return [*out, Reseed(item.market, self._positions.get(item.market, 0), self.needs(item.market))]
        raise TypeError(f"a brain takes no {type(item).__name__}")

    def advance(self, market: str, upto_ms: int) -> list[FeatureValue | Signal]:
        """Everything of ``market`` up to ``upto_ms`` was handled, absent minutes too: call it after each batch.

        Returns what had still waited for a longer candle that did not come.
        """
        out = self._release(market)
        self._positions[market] = max(upto_ms, self._positions.get(market, 0))
        for lane in self._lanes[market].values():
            lane.closed_ms = max(lane.closed_ms, upto_ms)
        return out

    def validate(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        for market, lanes in self._lanes.items():
            for interval, lane in lanes.items():
                require((lane.market, lane.interval) == (market, interval), market, interval)
                for track in lane.tracks.values():
                    track.validate()
                    require(track.have == min(lane.have, track.need), market, interval, track.feature)

    def _lane(self, market: str, interval: str) -> Lane:
        lanes = self._lanes[market]
        if interval not in lanes:
            lanes[interval] = Lane(market, interval, self._positions.get(market, 0))
        return lanes[interval]

    def _candle(self, candle: Candle) -> list[Candle | FeatureValue | Signal | Reseed]:
        market = candle.market
        close_ms = candle.close_time_ms
        out: list[Candle | FeatureValue | Signal | Reseed] = []
        position_ms = self._positions.get(market, 0)
        if candle.interval == "1m":
            if close_ms <= position_ms:
                return out
            self._positions[market] = position_ms = close_ms
            out.append(candle)
        lane = self._lanes[market].get(candle.interval)
        # A revised candle closes before the position, also where its first version had no minute and was never told.
        if lane is None or close_ms <= lane.closed_ms or close_ms < position_ms:
            return out
        self._positions[market] = close_ms
        if lane.waits(close_ms):
            lane.closed_ms = close_ms
            self._waiting[market].append(candle)
            return out
        out += self._step(lane, candle)
        if self._waiting[market]:
            out += self._release(market, ready=True)
        return out

    def _release(self, market: str, *, ready: bool = False) -> list[Any]:
        """Handle the candles that waited: those that need not wait any longer, or all."""
        out: list[Any] = []
        waiting, self._waiting[market] = self._waiting[market], []
        for candle in waiting:
            lane = self._lanes[market][candle.interval]
            if ready and lane.waits(candle.close_time_ms):
                self._waiting[market].append(candle)
            else:
                out += self._step(lane, candle)
        return out

    def _settle(self, market: str) -> None:
        lanes = self._lanes[market].values()
        for lane in lanes:
            lane.settle()
        for lane in lanes:
            lane.trail.clear()
        self._unsettled.discard(market)

    def _step(self, lane: Lane, candle: Candle) -> list[FeatureValue | Signal]:
        out: list[FeatureValue | Signal] = []
        lane.step(candle)
        if is_native(candle):
            lane.see(candle)
            return out
        for name, track, params in lane.shown:
            out.append(
                FeatureValue(
                    candle.market,
                    candle.interval,
                    name,
                    candle.open_time_ms,
                    candle.close_time_ms,
                    track.value,
                    params,
                    track.have,
                    track.need,
                )
            )
        for run, prev in zip(lane.runs, lane.see(candle), strict=True):
            if candle.close_time_ms > run.live_from_ms:
                out.append(run.signal(candle, lane, prev))
        return out


def _in_order(candles: Iterable[Candle], holes: Iterable[Hole], position_ms: int) -> Iterator[Candle | int]:
    """The candles, and before each the ends of the missing minutes that began before its close."""
    # What begins at the position is still waited for.
    missing = sorted(
        (hole for hole in holes if hole.reason == _MISSING and hole.from_ms < position_ms),
        key=lambda hole: hole.from_ms,
        reverse=True,
    )
    for candle in candles:
        while missing and missing[-1].from_ms < candle.close_time_ms:
            yield missing.pop().to_ms
        yield candle
    yield from (hole.to_ms for hole in reversed(missing))
