"""Turns closed candles into feature values and signals. Knows nothing of positions, money or time of day.

A *lane* is one (market, interval): its features, each computed once, and the instances that run on it. After a missing
minute the lane's features start over, because no number may be computed across it; its instances then hold, with status
``hole``, until the candles are rebuilt after a heal, or until a full warm-up of complete candles has passed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import nan
from typing import Any, NamedTuple

from trading.candles import UNIT, Candle, Hole, HoleReason
from trading.config.model import FeatureSpec
from trading.events import Rebuild, Signal, SignalStatus, StreamItem
from trading.features.contract import Feature, FeatureTrack
from trading.features.registry import load_feature
from trading.instances import Instance
from trading.invariants import require
from trading.strategies.contract import FLAT, HOLD, SHORT, TARGETS

__all__ = ["BrainState", "FeatureValue", "Reseed", "SeedNeed", "warm_text"]

_READY = SignalStatus.READY.value
_WARMING = SignalStatus.WARMING.value
_HOLE = SignalStatus.HOLE.value
_HOLD = TARGETS[HOLD]
_MISSING = HoleReason.MISSING.value


class FeatureValue(NamedTuple):
    """A configured feature at the close of one candle. ``value`` is None while ``have`` is below ``need`` candles."""

    market: str
    interval: str
    name: str
    open_time_ms: int
    close_time_ms: int
    value: float | None
    params: dict[str, int | float]
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


class _Run:
    """One instance on one lane."""

    __slots__ = (
        "confidence", "instance_id", "live_from_ms", "names", "need", "now", "params", "row", "rule", "spot", "tracks",
        "unknown",
    )  # fmt: skip

    def __init__(self, instance: Instance, lane: _Lane) -> None:
        strategy = instance.load()
        self.instance_id = instance.instance_id
        self.live_from_ms = instance.live_from_ms
        self.spot = instance.profile == "spot"
        self.params = strategy.params
        self.rule = strategy.rule
        self.confidence = strategy.confidence
        self.need = strategy.warmup
        self.names = tuple(strategy.features)
        self.tracks = tuple(lane.track(feature) for feature in strategy.features.values())
        self.row: Any = strategy.row
        self.unknown = strategy.row(*(nan for _ in strategy.row._fields))
        self.now = self.unknown
        lane.history = max(lane.history, strategy.history)

    def see(self, close: float) -> Any:
        """Make the row of the candle just closed; returns the row before it."""
        prev = self.now
        self.now = self.row(close, *(nan if track.value is None else track.value for track in self.tracks))
        return prev

    def signal(self, candle: Candle, have: int, status: str, prev: Any) -> Signal:
        target, confidence = _HOLD, 0.0
        if status == _READY:
            now = self.now
            code = self.rule(now, prev, self.params)
            if code != HOLD:
                confidence = 1.0
            if self.confidence is not None:
                confidence = self.confidence(now, self.params)
            # A spot account cannot be short: below its line it holds cash.
            target = TARGETS[FLAT if self.spot and code == SHORT else code]
        return Signal(
            self.instance_id,
            candle.market,
            candle.interval,
            candle.open_time_ms,
            candle.close_time_ms,
            target,
            confidence,
            status,
            have if have < self.need else self.need,
            self.need,
            candle.close,
            {name: track.value for name, track in zip(self.names, self.tracks, strict=True)},
            candle.revision,
            candle.received_ns,
        )


class _Lane:
    """One (market, interval). ``have`` counts complete candles since the start or the last missing minute."""

    def __init__(self, market: str, interval: str, closed_ms: int) -> None:
        self.market = market
        self.interval = interval
        self.closed_ms = closed_ms
        self.history = 0
        self.have = 0
        self.hole = False
        self.tracks: dict[Feature, FeatureTrack] = {}
        self.shown: list[tuple[str, FeatureTrack, dict[str, int | float]]] = []
        self.runs: list[_Run] = []

    def track(self, feature: Feature) -> FeatureTrack:
        self.history = max(self.history, feature.history)
        if feature not in self.tracks:
            self.tracks[feature] = FeatureTrack(feature)
        return self.tracks[feature]

    def forget(self, *, hole: bool) -> None:
        self.hole = hole
        self.have = 0
        for track in self.tracks.values():
            track.reset()
        for run in self.runs:
            run.now = run.unknown

    def step(self, candle: Candle) -> None:
        """Update the features; an incomplete candle makes them start over instead."""
        self.closed_ms = candle.close_time_ms
        if not candle.complete:
            self.forget(hole=True)
            return
        self.have += 1
        for track in self.tracks.values():
            track.update(candle)

    def see(self, candle: Candle) -> list[Any]:
        """After ``step``: make every run's row; returns the rows before."""
        if not candle.complete:
            return [run.unknown for run in self.runs]
        close = candle.close / UNIT
        return [run.see(close) for run in self.runs]

    def status(self, run: _Run) -> str:
        if self.have >= run.need:
            return _READY
        return _HOLE if self.hole else _WARMING


class BrainState:
    """The lanes of the given markets. Pure: no clock, no I/O.

    Guarantees: the same candles give the same signals, bit for bit, wherever the run was cut and seeded again; nothing
    depends on a later candle; a candle that was handled is ignored when it comes again. Nothing here is durable: after
    a restart give the committed ``positions`` (close time by market) and ``seed`` every lane that ``needs`` names.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        features: Sequence[FeatureSpec] = (),
        markets: Sequence[str] = (),
        positions: Mapping[str, int] | None = None,
    ) -> None:
        self._positions: dict[str, int] = dict(positions or {})
        self._lanes: dict[str, dict[str, _Lane]] = {market: {} for market in markets}
        for spec in features:
            feature = load_feature(spec.kind, spec.params)
            for market in self._lanes:
                for interval in spec.intervals:
                    lane = self._lane(market, interval)
                    lane.shown.append((spec.name, lane.track(feature), feature.params_dict()))
        for instance in instances:
            for market in instance.markets:
                for interval in instance.intervals if market in self._lanes else ():
                    lane = self._lane(market, interval)
                    lane.runs.append(_Run(instance, lane))

    @property
    def markets(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    def position_ms(self, market: str) -> int | None:
        """Close time up to which every minute of ``market`` is handled; None before the first."""
        return self._positions.get(market)

    def needs(self, market: str) -> tuple[SeedNeed, ...]:
        """How many of the newest candles each lane of ``market`` wants after a restart."""
        return tuple(SeedNeed(lane.interval, lane.history) for lane in self._lanes[market].values())

    def seed(self, market: str, interval: str, candles: Iterable[Candle], holes: Iterable[Hole] = ()) -> None:
        """Warm one lane up, from nothing and silently, with candles in order that were handled before.

        ``holes`` are the missing minutes of the market that are not healed yet, for every lane: a derived candle none
        of whose minutes is present is not there to say that it is incomplete.
        """
        lane = self._lanes[market][interval]
        lane.forget(hole=False)
        missing = sorted(
            (hole for hole in holes if hole.reason == _MISSING), key=lambda hole: hole.from_ms, reverse=True
        )
        for candle in candles:
            while missing and missing[-1].from_ms < candle.close_time_ms:
                self._break(lane, missing.pop())
            lane.step(candle)
            lane.see(candle)
        for hole in reversed(missing):
            self._break(lane, hole)
        lane.closed_ms = max(lane.closed_ms, self._positions.get(market, 0))

    def handle(self, item: StreamItem) -> list[Candle | FeatureValue | Signal | Reseed]:
        """What follows from one Candle, Hole or Rebuild: the 1m candle itself, then feature values, then signals.

        After a ``Reseed`` the lanes it names hold until ``seed`` was called for them.
        """
        if isinstance(item, Candle):
            return self._candle(item)
        if isinstance(item, Hole):
            if item.reason == _MISSING and item.to_ms > self._positions.get(item.market, 0):
                for lane in self._lanes[item.market].values():
                    lane.forget(hole=True)
            return []
        if isinstance(item, Rebuild):
            for lane in self._lanes[item.market].values():
                lane.forget(hole=True)
            return [Reseed(item.market, self._positions.get(item.market, 0), self.needs(item.market))]
        raise TypeError(f"a brain takes no {type(item).__name__}")

    def advance(self, market: str, upto_ms: int) -> None:
        """Everything of ``market`` up to ``upto_ms`` was handled, absent minutes too: call it after each batch."""
        self._positions[market] = max(upto_ms, self._positions.get(market, 0))
        for lane in self._lanes[market].values():
            lane.closed_ms = max(lane.closed_ms, upto_ms)

    def validate(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        for market, lanes in self._lanes.items():
            for interval, lane in lanes.items():
                require((lane.market, lane.interval) == (market, interval), market, interval)
                for track in chain(lane.tracks.values(), (shown for _, shown, _ in lane.shown)):
                    track.validate()
                    require(track is lane.tracks[track.feature], market, interval, track.feature)
                    require(track.have == min(lane.have, track.need), market, interval, track.feature)

    def _lane(self, market: str, interval: str) -> _Lane:
        lanes = self._lanes[market]
        if interval not in lanes:
            lanes[interval] = _Lane(market, interval, self._positions.get(market, 0))
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
        lane.step(candle)
        for name, track, params in lane.shown:
            out.append(
                FeatureValue(
                    market,
                    candle.interval,
                    name,
                    candle.open_time_ms,
                    close_ms,
                    track.value,
                    params,
                    track.have,
                    track.need,
                )
            )
        for run, prev in zip(lane.runs, lane.see(candle), strict=True):
            if close_ms > run.live_from_ms:
                out.append(run.signal(candle, lane.have, lane.status(run), prev))
        return out

    def _break(self, lane: _Lane, hole: Hole) -> None:
        # What begins at the position is still waited for.
        if hole.from_ms < self._positions.get(lane.market, 0):
            lane.forget(hole=True)
