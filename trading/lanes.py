"""One (market, interval) of a brain: its features, each computed once, and the instances that decide on its candles.

An instance may also read features of other intervals. What it sees of them at the close of a candle is what was known
then: the value at the newest candle of the other interval that had closed by that time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from math import nan
from typing import Any

from trading.candles import UNIT, Candle
from trading.events import Signal, SignalStatus
from trading.features.contract import Feature, FeatureTrack, Output
from trading.features.ranges import atr
from trading.instances import Instance
from trading.intervals import parse_interval
from trading.plan import Plan
from trading.strategies.contract import HOLD, TARGETS, StrategyFailed
from trading.strategies.evaluator import Evaluator

__all__ = ["FAILED", "Lane", "Run"]

FAILED = "failed"
"""Tag of a signal whose strategy raised, or answered what no strategy may: it holds, and its reason is the error."""

_READY = SignalStatus.READY.value
_WARMING = SignalStatus.WARMING.value
_HOLE = SignalStatus.HOLE.value
_HOLD = TARGETS[HOLD]


class _Elsewhere:
    """Reads a feature of another lane as of the close of a candle of one's own lane."""

    __slots__ = ("_place", "_reading", "lane", "value")

    def __init__(self, lane: Lane, feature: Feature) -> None:
        self.lane = lane
        self._reading = lane.track(feature)
        self._place = len(lane.readings)
        lane.readings.append(self._reading)
        self.value: float | None = None

    @property
    def have(self) -> int:
        return self._reading.have

    @property
    def need(self) -> int:
        return self._reading.need

    def look(self, close_ms: int) -> None:
        trail = self.lane.trail
        if not trail:
            self.value = self._reading.value
            return
        at = bisect_right(trail, close_ms, key=_time)
        self.value = trail[at - 1][1][self._place] if at else None


def _time(entry: tuple[int, tuple[float | None, ...]]) -> int:
    return entry[0]


class Run:
    """One instance on one lane."""

    __slots__ = (
        "atr", "elsewhere", "evaluator", "failure", "instance_id", "known", "live_from_ms", "names", "need", "now",
        "row", "tell", "tracks", "unknown",
    )  # fmt: skip

    def __init__(
        self,
        instance: Instance,
        lane: Lane,
        lane_of: Callable[[str], Lane],
        tell: Callable[[StrategyFailed], None] | None,
    ) -> None:
        # What the strategy failed with on the candle that it was asked about last; None: it answered.
        self.failure: StrategyFailed | None = None
        strategy = instance.load()
        self.instance_id = instance.instance_id
        self.live_from_ms = instance.live_from_ms
        self.evaluator = Evaluator(strategy, spot=instance.profile == "spot")
        self.tell = tell
        # Exits in ATR need it at every decision, whatever the strategy itself looks at.
        self.atr = lane.track(atr(instance.exits.atr_period)) if instance.exits.in_atr else None
        self.need = max(strategy.warmup, 0 if self.atr is None else self.atr.need)
        self.names = tuple(strategy.features)
        self.tracks = tuple(
            _Elsewhere(lane_of(feature.interval), feature.here) if feature.interval else lane.track(feature)
            for feature in strategy.features_on(lane.interval).values()
        )
        self.elsewhere = tuple(track for track in self.tracks if isinstance(track, _Elsewhere))
        self.row: Any = strategy.row
        self.unknown = strategy.row(*(nan for _ in strategy.row._fields))
        self.now = self.unknown
        self.known = False
        lane.history = max(lane.history, strategy.history_of(lane.interval))

    def resume(self, plan: Plan) -> None:
        """Go on from the plan of the newest committed signal."""
        if plan.tag == FAILED:
            self.failure = StrategyFailed(" ".join(plan.reasons))
        if self.evaluator.idle.state is not None:
            self.evaluator.resume(plan)

    def look(self, close_ms: int) -> None:
        """Read what features of other intervals were at ``close_ms``."""
        for track in self.elsewhere:
            track.look(close_ms)

    def see(self, candle: Candle) -> Any:
        """Make the row of the candle just closed; returns the row before it."""
        prev = self.now
        self.look(candle.close_time_ms)
        values = [track.value for track in self.tracks]
        complete = None not in values
        self.known = complete and (self.atr is None or self.atr.value is not None)
        self.now = self.row(
            candle.close / UNIT, *(values if complete else (nan if value is None else value for value in values))
        )
        return prev

    def signal(self, candle: Candle, lane: Lane, prev: Any) -> Signal:
        """What the instance wants at the close of ``candle``, after ``see`` returned ``prev``."""
        status, have, need = lane.status(self)
        target, confidence, plan = _HOLD, 0.0, self.evaluator.idle
        if status == _READY:
            try:
                code, confidence, plan = self.evaluator.ask(candle, self.now, prev)
                target, self.failure = TARGETS[code], None
                if self.atr is not None:
                    plan = plan._replace(atr=self.atr.value)
            except StrategyFailed as error:
                self.failure = error
                if self.tell is None:
                    raise
                # Whatever is held stays as it is, and no other instance suffers.
                self.tell(error)
                plan = plan._replace(tag=FAILED, reasons=(str(error),))
        return Signal(
            self.instance_id,
            candle.market,
            candle.interval,
            candle.open_time_ms,
            candle.close_time_ms,
            target,
            confidence,
            status,
            have,
            need,
            candle.close,
            {name: track.value for name, track in zip(self.names, self.tracks, strict=True)},
            candle.revision,
            candle.received_ns,
            plan,
        )


class Lane:
    """One (market, interval). ``have`` counts complete candles since the start or the last missing minute."""

    def __init__(self, market: str, interval: str, closed_ms: int) -> None:
        self.market = market
        self.interval = interval
        self.width = parse_interval(interval)
        self.closed_ms = closed_ms
        self.history = 0
        self.have = 0
        self.hole = False
        self.tracks: dict[Feature, FeatureTrack] = {}
        self.shown: list[tuple[str, FeatureTrack | Output, dict[str, int | float | str]]] = []
        self.runs: list[Run] = []
        # What instances of other lanes read here, and, between seeding and settling, what it was at which time.
        self.readings: list[FeatureTrack | Output] = []
        self.trail: list[tuple[int, tuple[float | None, ...]]] = []
        self.newest: Candle | None = None
        # Other intervals whose candles that close with ours come after ours, and must be seen first.
        self.waits_for: tuple[Lane, ...] = ()

    def track(self, feature: Feature) -> FeatureTrack | Output:
        """Where the feature's value is read; features that differ in the output alone are computed once."""
        self.history = max(self.history, feature.history_of(self.width.typical_ms))
        whole = feature.whole
        if whole not in self.tracks:
            self.tracks[whole] = FeatureTrack(whole)
        track = self.tracks[whole]
        return Output(feature, track) if feature.output else track

    def add(self, run: Run) -> None:
        self.runs.append(run)
        later = [track.lane for track in run.elsewhere if track.lane.width.typical_ms > self.width.typical_ms]
        self.waits_for = tuple(dict.fromkeys((*self.waits_for, *later)))

    def waits(self, close_ms: int) -> bool:
        """Whether a longer candle that is read here closes at the same time and was not seen yet."""
        return bool(self.waits_for) and any(
            lane.closed_ms < close_ms and lane.width.close_of(lane.width.open_of(close_ms - 1)) == close_ms
            for lane in self.waits_for
        )

    def forget(self, *, hole: bool) -> None:
        self.hole = hole
        self.have = 0
        for track in self.tracks.values():
            track.reset()
        for run in self.runs:
            run.now, run.known = run.unknown, False

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
            for run in self.runs:
                run.look(candle.close_time_ms)
            return [run.unknown for run in self.runs]
        return [run.see(candle) for run in self.runs]

    def status(self, run: Run) -> tuple[str, int, int]:
        """Whether the run can decide, and the candles that it has of those that it needs, where it lacks most."""
        if self.have < run.need:
            return _HOLE if self.hole else _WARMING, self.have, run.need
        for track in run.elsewhere:
            if track.have < track.need:
                return _HOLE if track.lane.hole else _WARMING, track.have, track.need
        # A feature may be unknown when it is warm, such as a session's average before the session's first volume.
        return _READY if run.known else _WARMING, run.need, run.need

    def seed(self, items: Iterable[Candle | int]) -> None:
        """Warm up from nothing with candles, and with the ends of missing minutes, in order."""
        self.forget(hole=False)
        self.trail.clear()
        self.newest = None
        for item in items:
            if isinstance(item, Candle):
                self.step(item)
                self.newest = item if item.complete else None
            else:
                self.forget(hole=True)
                self.newest = None
            self._leave_trail(item.close_time_ms if isinstance(item, Candle) else item)

    def settle(self) -> None:
        """Once every lane is seeded: make the rows of the newest candle, which the next ones are compared with."""
        if self.newest is not None:
            self.see(self.newest)
            self.newest = None

    def _leave_trail(self, time_ms: int) -> None:
        if self.readings:
            after = self.trail[-1][0] if self.trail else 0
            self.trail.append((max(time_ms, after), tuple(reading.value for reading in self.readings)))
